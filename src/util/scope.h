/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scope.h: a systemd scope of one's own (systemd.scope(5)), with a control group of its own: what stays when a command
 * has ended does not go with the session that the command was given in, and can be seen, and limited, by name.
 */
#ifndef UTIL_SCOPE_H
#define UTIL_SCOPE_H

#include "util/error.h"

#include <sys/types.h>

/* Does systemd run here as the system's manager, and are we root, who may ask it? sd_booted(3). */
bool scope_is_possible(void);

/* Put us and one more process (0: none) into the scope "vmundo-KIND-NAME-PID.scope" below machine.slice, PID being that
 * other process, or else ours. Errors: systemd or its bus refuses, or does not answer within two seconds; then
 * everything is where it was. */
int scope_enter(const char *kind, const char *name, pid_t other, struct vmundo_error *err);

#endif
