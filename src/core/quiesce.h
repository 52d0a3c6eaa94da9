/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * quiesce.h: the stages QUIESCE and THAW of a checkpoint of a running domain: before its instant the user's command
 * runs and the guest's agent freezes the file systems, after it they are thawed and the other command runs. Whoever is
 * killed in between, the guest and what the commands have locked go on: the monitor thaws (hyper.h, freeze), and
 * vmundo-hook, a process that stays between the two commands, runs the second (monitor/hook.c).
 */
#ifndef CORE_QUIESCE_H
#define CORE_QUIESCE_H

#include "core/context.h"
#include "hyper/hyper.h"
#include "util/str.h"

/* What is wanted. Zero-initialised: nothing. */
struct quiesce_wish {
    bool freeze;               /* by the guest's agent */
    struct strv before, after; /* argument vectors, empty: none */
    unsigned timeout_ms;       /* of each step, not 0 */
};
void quiesce_wish_clear(struct quiesce_wish *w);
static inline bool quiesce_is_wanted(const struct quiesce_wish *w)
{
    return w->freeze || w->before.n || w->after.n;
}

/* From the options of a command. Errors: VMUNDO_USAGE, or VMUNDO_FAILED there is no such program. */
int quiesce_parse(bool freeze, const char *before, const char *after, unsigned timeout_ms, struct quiesce_wish *ret,
                  struct vmundo_error *err);

/* What is under way. */
struct quiesce {
    const struct quiesce_wish *wish;
    int frozen; /* hyper_freeze()'s, -1: nothing is frozen */
    int hook;   /* to vmundo-hook, -1: there is none */
    pid_t hook_pid;
};
#define QUIESCE_INIT                                                                                                   \
    {                                                                                                                  \
        .frozen = -1, .hook = -1                                                                                       \
    }

/* Bring it to rest, for keep_ms at most. On failure it goes on as before. Errors: VMUNDO_FAILED a command failed, or no
 * agent answers. */
int quiesce_begin(const struct instance *i, const struct quiesce_wish *w, unsigned keep_ms, struct quiesce *ret,
                  struct vmundo_error *err);

/* Let it go on. Errors: VMUNDO_FAILED it had gone on before, or something does not come back. */
int quiesce_end(const struct instance *i, struct quiesce *q, struct vmundo_error *err);

#endif
