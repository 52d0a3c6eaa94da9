/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keep.h: keeping a domain's state in images of its own, in a new directory, instead of in its origins. The directory
 * is made under another name, op->to with ".part" behind it, before SWITCH, and gets its name after it.
 */
#ifndef CORE_KEEP_H
#define CORE_KEEP_H

#include "core/operation.h"

/* Set op->to from what the user said. Errors: VMUNDO_USAGE; VMUNDO_CONFLICT there is something of that name. */
int keep_to_plan(struct operation *op, const char *to, struct vmundo_error *err);
/* Make the images, and a configuration that has them as disks. What an earlier attempt left goes. */
int keep_to_make(struct operation *op, struct vmundo_error *err);
/* Give the directory its name; success if it has it. */
int keep_to_publish(const struct operation *op, struct vmundo_error *err);
int keep_to_undo(const struct operation *op, struct vmundo_error *err);

/* May op->before, if it is a fork, be kept in its origins? VMUNDO_REFUSED while another domain has them too. */
int keep_check_shared(const struct operation *op, struct vmundo_error *err);

#endif
