/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* verbs.h: what the files with the changing commands share (verbs.c, travel.c). */
#ifndef CORE_VERBS_H
#define CORE_VERBS_H

#include "core/operation.h"

/* As operation_begin(), and the domain must be there. */
int verbs_begin(struct operation *op, struct vmundo *v, const char *verb, const char *name, struct vmundo_error *err);
/* op->after: as op->before. */
int verbs_copy_before(struct operation *op, struct vmundo_error *err);

/* Let another process see to the domain's reserve, now that op is done; gives up op's lock, for which that waits. */
void verbs_keep_reserve(struct operation *op);
/* Is its instance up, running or paused? */
int verbs_is_running(struct operation *op, bool *ret, struct vmundo_error *err);
/* Can there be a domain of r's name? Errors: VMUNDO_CONFLICT. */
int verbs_check_name_free(const struct operation *op, const struct record *r, struct vmundo_error *err);
/* op->made and op->after: a checkpoint of op->before, which is named `label`, or recorded, or else named by its number. */
int verbs_plan_checkpoint(struct operation *op, const char *label, bool recorded, bool ram, struct vmundo_error *err);

#endif
