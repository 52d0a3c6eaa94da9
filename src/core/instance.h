/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * instance.h: from a record to what the hypervisor drivers want, a struct instance: its directory, its configuration
 * with the disks pointing at the branches.
 */
#ifndef CORE_INSTANCE_H
#define CORE_INSTANCE_H

#include "core/context.h"
#include "core/record.h"
#include "hyper/hyper.h"

/* An instance with the strings it borrows. */
struct instance_ctx {
    struct instance i;
    struct domain domain;
    char *dir, *config, *console_log, *saved_of;
};
#define AUTO_INSTANCE CLEANUP(instance_clear)

/* Enough for every callback but start: the names. Nothing is touched. */
int instance_open(const struct vmundo *v, const struct record *r, struct instance_ctx *ret, struct vmundo_error *err);

/* Make the instance's directory anew with the rewritten configuration in it, attach the branches, fill in everything. */
int instance_prepare(const struct vmundo *v, const struct record *r, struct instance_ctx *ret,
                     struct vmundo_error *err);

/* The mark that RAM and saved devices of the checkpoint bear that r starts from. Its strings are v's and r's. */
struct mark instance_base_mark(const struct vmundo *v, const struct record *r);

/* End it, if it runs, and remove its directory. */
int instance_remove(const struct vmundo *v, const struct record *r, struct vmundo_error *err);

/* Is its RAM in a file? Only that file itself tells; when it cannot be asked, that is an error. */
int instance_has_ram(const struct record *r, bool *ret, struct vmundo_error *err);

void instance_clear(struct instance_ctx *c);

#endif
