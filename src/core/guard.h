/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.h: what stands between a running domain and a branch that fills up; see vmundo_guard() in vmundo.h. A domain
 * whose branches are bounded gets a process of its own that does this (vmundo-guard); whoever guards a domain holds
 * domains/NAME/guard.lock.
 *
 *   guard.c         looking at the branches of all wards again and again, and doing what is needed
 *   guard-judge.c   what is needed
 *   guard-file.c    the lock, the note of a pause, and the start of the process
 */
#ifndef CORE_GUARD_H
#define CORE_GUARD_H

#include "core/context.h"
#include "core/record.h"

/* Start vmundo-guard for the domain, if it is missing. That it cannot be started is a warning: the domain runs. */
void guard_spawn(const struct vmundo *v, const struct record *r);

/* One of its branches can fill up, nobody guards it, and that is not as the user wants it. */
int guard_is_missing(const struct vmundo *v, const struct record *r, bool *ret, struct vmundo_error *err);

/* Is anybody guarding the domain? */
bool guard_is_alive(const struct vmundo *v, const char *name);

/* Take the lock that says so; held until *ret_fd is closed. VMUNDO_CONFLICT when somebody has it. */
int guard_lock(const struct vmundo *v, const char *name, int *ret_fd, struct vmundo_error *err);

/* Is `lock`, perhaps handed down to us, that lock, and locked by us? */
bool guard_owns_lock(const struct vmundo *v, const char *name, int lock);
/* As attendant_leave_session(). */
void guard_leave_session(const char *name);

/* Do these levels (per cent, 0: the default) make sense? VMUNDO_USAGE. */
int guard_check_levels(uint64_t extend_at, uint64_t pause_at, struct vmundo_error *err);

/* guard.json: that the guard has paused an instance of the domain. It is there from before the pause until after it. */
struct guard_note {
    char *why;               /* NULL: it has not */
    uint64_t *rooms;         /* for each branch the bytes that were free then, 0: it was not the cause */
    size_t n_rooms;
};
void guard_note_clear(struct guard_note *n);
/* From the text of guard.json; *ret stays as it is when that is of another instance. */
int guard_note_parse(const char *text, uint64_t instance, struct guard_note *ret, struct vmundo_error *err);
int guard_read_note(const struct vmundo *v, const char *name, uint64_t instance, struct guard_note *ret,
                    struct vmundo_error *err);
int guard_write_note(const struct vmundo *v, const char *name, uint64_t instance, const struct guard_note *n,
                     struct vmundo_error *err);
int guard_remove_note(const struct vmundo *v, const char *name, struct vmundo_error *err);

#endif
