/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plan.h: from a configuration to the record that a run would make of it. Nothing is touched.
 */
#ifndef CORE_PLAN_H
#define CORE_PLAN_H

#include "core/context.h"
#include "core/record.h"

struct plan {
    struct record record;    /* generation 1, running */
    char *hypervisor_why;
    struct strv ignored, warnings;
};
#define AUTO_PLAN CLEANUP(plan_clear)

int plan_make(const struct vmundo *v, const struct vmundo_run_options *o, struct plan *ret, struct vmundo_error *err);
void plan_clear(struct plan *p);

/* Give the branches of r the names of its generation. Those with a base keep what is known of it. */
int plan_name_branches(const struct vmundo *v, struct record *r, struct vmundo_error *err);

/* One branch of r the name of that generation. */
int plan_name_branch(const struct vmundo *v, struct record *r, size_t branch, uint64_t generation,
                     struct vmundo_error *err);

/* Is every branch of r possible now: space, permission? With gone not NULL: if that record's branches, which stand in the
 * same order, were removed before. */
int plan_preflight(const struct record *r, const struct record *gone, struct vmundo_error *err);

/* Does anything write to the origins of r's branches? Sets the branches' consistency. Errors: VMUNDO_CONFLICT unless
 * allow. */
int plan_check_in_use(const struct vmundo *v, struct record *r, bool allow, struct vmundo_error *err);

/* The same for the disks that run on their origins, before the domain itself is one who does. */
int plan_check_unprotected(const struct vmundo *v, struct record *r, bool allow, struct vmundo_error *err);

#endif
