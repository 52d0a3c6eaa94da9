/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * merge.h: branches that rest on one another and belong to nobody any more are merged with those above them, while the
 * guest runs. It is no operation: no record changes, and every checkpoint shows what it did, whoever is killed when.
 *
 * What takes long, the hypervisor's copying, is done without the domain's lock. Whoever takes that ends it first (that
 * it is under way stands in domains/NAME/merging), so nobody waits for it; it is begun anew another time.
 */
#ifndef CORE_MERGE_H
#define CORE_MERGE_H

#include "core/context.h"
#include "core/record.h"

/* Merge what there is to be merged, until nothing is left, somebody else works on the domain, or go_on (NULL: always)
 * says no. Errors: VMUNDO_CONFLICT the domain is being worked on; VMUNDO_FAILED the hypervisor could not. */
int merge_all(struct vmundo *v, const char *name, bool (*go_on)(const void *data), const void *data,
              struct vmundo_error *err);

/* By whoever has just taken the domain's lock: end a merge that is under way. What cannot be ended is a warning. */
void merge_give_up(struct vmundo *v, const char *name);

/* Can a domain's checkpoints be made again and again, although they rest on one another? */
bool merge_is_possible(const struct record *r);
/* Has it branches of that kind? */
bool merge_is_needed(const struct record *r);

#endif
