/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * attendant.h: a process that stays with a domain: vmundo-guard, vmundo-recorder. There is one of each kind at most:
 * whoever attends a domain holds a lock file in its folder.
 *
 * It is an open file description lock (fcntl(2)): it can be asked for without taking it, and whoever starts an
 * attendant takes it and hands it down, so that there is no moment at which the domain seems unattended.
 */
#ifndef CORE_ATTENDANT_H
#define CORE_ATTENDANT_H

#include "core/context.h"

struct attendant {
    const char *program; /* PROGRAM STATE_DIR NAME, with the lock as its standard input */
    const char *lock_file;
    const char *does; /* "guarded" */
};

/* Take the lock; held until *ret_fd is closed. VMUNDO_CONFLICT when somebody has it. */
int attendant_lock(const struct vmundo *v, const struct attendant *a, const char *name, int *ret_fd,
                   struct vmundo_error *err);
/* Does anybody have it? */
bool attendant_is_alive(const struct vmundo *v, const struct attendant *a, const char *name);
/* Is `lock`, perhaps handed down to us, that lock, and locked by us? */
bool attendant_owns_lock(const struct vmundo *v, const struct attendant *a, const char *name, int lock);
/* It goes on when the session ends in which it was started. */
void attendant_leave_session(const struct attendant *a, const char *name);
/* Start one. That there is one already is success. */
int attendant_spawn(const struct vmundo *v, const struct attendant *a, const char *name, struct vmundo_error *err);

#endif
