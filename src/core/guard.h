/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.h: what stands between a running domain and a branch that fills up; see vmundo_guard() in vmundo.h. A domain
 * whose branches are bounded gets a process of its own that does this (vmundo-guard); it holds domains/NAME/guard.lock.
 */
#ifndef CORE_GUARD_H
#define CORE_GUARD_H

#include "core/context.h"
#include "core/record.h"

/* Start vmundo-guard for the domain, if one of its branches can fill up. A second one finds the first and ends. That it
 * cannot be started is a warning: the domain runs. */
void guard_spawn(const struct vmundo *v, const struct record *r);

/* Why the guard has paused the domain: the caller's text, NULL: it has not. */
int guard_reason(const struct vmundo *v, const char *name, char **ret, struct vmundo_error *err);

/* Is such a process at work for the domain? */
bool guard_is_alive(const struct vmundo *v, const char *name);

/* Take the lock that says so; held until *ret_fd is closed. VMUNDO_CONFLICT when there is one already. */
int guard_lock(const struct vmundo *v, const char *name, int *ret_fd, struct vmundo_error *err);

#endif
