/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * operation.h: the engine. Every changing command is one operation: the step from the record of a domain *before* to
 * the record *after* (either may be missing: run has no before, drop and keep have no after). A command decides what
 * after looks like (verbs.c) and the engine does the rest, the same way for all of them:
 *
 *     PLAN      locks, checks, and the list of actions; a dry run ends here
 *     PREPARE   journal entry; branches that only after has are made; the new instance is started, paused
 *     SWITCH    after takes effect in the store. Up to here a failure or a kill undoes, from here on it is finished.
 *               Then the old instance stops, the new one runs, and the old one is destroyed
 *     COMMIT    keep: the branches' content becomes the origins'
 *     CLEAN     branches and directories that only before has are removed; the journal entry becomes a log line
 *
 * The stages between PREPARE and SWITCH (QUIESCE, PAUSE, SNAPSHOT, RESUME, THAW) belong to operations that take a
 * snapshot of a running domain.
 *
 * Since both records are in the journal before anything is touched, and every callback of a driver is idempotent,
 * undoing and finishing need no more than the journal entry: recover calls the same operation_undo() and
 * operation_finish() that the command itself uses.
 */
#ifndef CORE_OPERATION_H
#define CORE_OPERATION_H

#include "core/checkpoint.h"
#include "core/context.h"
#include "core/lock.h"
#include "core/quiesce.h"
#include "core/record.h"
#include "core/store.h"

enum stage {
    STAGE_PLAN,
    STAGE_PREPARE,
    STAGE_QUIESCE,
    STAGE_PAUSE,
    STAGE_SNAPSHOT,
    STAGE_RESUME,
    STAGE_THAW,
    STAGE_SWITCH,
    STAGE_COMMIT,
    STAGE_CLEAN,
};
const char *stage_name(enum stage s);

struct operation {
    struct vmundo *v;
    const char *verb;
    const char *name; /* of the domain, borrowed */
    struct lock lock;
    struct record *before, *after; /* owned; NULL: no such domain */
    struct checkpoint made;  /* a checkpoint that comes into being; id 0: none. Its branches are copies of before's,
                              * or, left behind by a rollback, before's own */
    const struct checkpoint *from; /* fork: the state of another domain that made becomes a copy of; it stays as it is
                              * for as long as we have that domain's lock. Borrowed, and needed until SWITCH only */
    const struct checkpoint *like; /* of a reserve that comes into being, a checkpoint with disks as its own. Borrowed */
    bool from_reserve;       /* rollback: after runs on the instance that before has in reserve */
    struct checkpoints gone; /* those that go, after SWITCH */
    struct store_move *moved; /* those that were children of such, n_moved of them */
    size_t n_moved;
    struct store_operation journal;
    bool keep;               /* COMMIT merges before's branches into their origins */
    char *to;                /* a new directory that gets images of before's disks, and the domain goes; owned, NULL: none */
    bool old_first;          /* no room for the old and the new branches at once: all of it happens after SWITCH */
    bool shut_down;          /* PREPARE asks the guest to power off, timeout_ms long; with force a no is no failure */
    bool has_shut_down;      /* and it did, which undoing does not undo */
    bool force;
    unsigned timeout_ms;
    unsigned pause_ms;      /* how long the guest may be kept paused for made, 0: some seconds */
    struct quiesce_wish quiesce; /* what is to be done around that; owned */
    unsigned ret_paused_us; /* how long it was */
    int *ret_console;       /* connect the console before the new instance runs */
};
#define OPERATION_INIT                                                                                                 \
    {                                                                                                                  \
        .lock = LOCK_INIT                                                                                              \
    }
#define AUTO_OPERATION CLEANUP(operation_clear)

/* Lock the domain, finish or undo what an earlier operation on it left unfinished, and load op->before (NULL: no such
 * domain). A dry run takes no lock and only looks. Errors: VMUNDO_CONFLICT, or as operation_finish(). */
int operation_begin(struct operation *op, struct vmundo *v, const char *verb, const char *name,
                    struct vmundo_error *err);

/* Those of the domain's checkpoints that go, one flag for each of the rows. What descends from them descends from their
 * parents then: other checkpoints, op->after and op->made, which must be as they will be. */
int operation_give_up(struct operation *op, const struct store_rows *rows, const bool *goes, struct vmundo_error *err);

/* Carry it out, or with dry_run report its actions. On failure before SWITCH everything is undone and the error is the
 * first one; if undoing fails too, or something fails after SWITCH, it is VMUNDO_INTERRUPTED and recover goes on. */
int operation_execute(struct operation *op, struct vmundo_error *err);

/* For recover: op->journal, before and after are loaded. */
int operation_undo(struct operation *op, const char *why, struct vmundo_error *err);
int operation_finish(struct operation *op, const char *outcome, struct vmundo_error *err);

/* Fill op from an unfinished journal entry, which it takes over. */
int operation_load(struct operation *op, struct vmundo *v, struct store_operation *entry, struct vmundo_error *err);
/* operation_finish() or operation_undo(), as the stage that it had reached says. */
int operation_recover(struct operation *op, struct vmundo_error *err);

void operation_clear(struct operation *op);

#endif
