/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reserve.h: an instance that waits beside the running one, with branches and a RAM file of its own, for the rollback
 * to come. It has gone back to the domain's base already, if that has RAM and the domain is not recorded; else what
 * remains to do is to put the checkpoint's content into these files and to load its devices.
 *
 * A domain's record names its reserve by two numbers (record.reserve, reserve_instance; reserve_at: what it has
 * loaded), from which everything else of it follows. It is made and removed by operations like all else, but whether
 * there really is one is asked when it is needed: one that has died in between is no failure, only slower.
 */
#ifndef CORE_RESERVE_H
#define CORE_RESERVE_H

#include "core/operation.h"

/* Can r's reserve be used now to go back to that checkpoint? */
bool reserve_is_ready(const struct vmundo *v, const struct record *r, uint64_t checkpoint);

/* PREPARE of the operation that makes one: op->after names it, op->like is a checkpoint of the domain. */
int reserve_make(struct operation *op, struct vmundo_error *err);

/* PREPARE of a rollback that uses before's: op->after is what becomes of it; it is paused then. On failure it is worth
 * nothing any more. */
int reserve_use(struct operation *op, struct vmundo_error *err);

/* End and remove the reserve that r names, if it does. */
int reserve_remove(const struct vmundo *v, const struct record *r, struct vmundo_error *err);

/* Is the reserve of one record, that is one and that the other does neither name nor run on, to go? */
bool reserve_is_only_in(const struct record *one, const struct record *other);

/* Bring the reserve of the domain, whose lock op has, in line with what is wanted: one if it runs, has a checkpoint
 * with RAM and was asked to keep one, else none. *ret_changed: there was something to do. */
int reserve_tend(struct operation *op, bool *ret_changed, struct vmundo_error *err);

/* Have a process of its own do that. */
void reserve_spawn(const struct vmundo *v, const struct record *r);

/* The number of the next instance of r. */
uint64_t reserve_next_instance(const struct record *r);

#endif
