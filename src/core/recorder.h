/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recorder.h: recording, a checkpoint every now and then while the guest works, which goes when its time has come. That
 * a domain is recorded stands in its record (every_ms); what does it is a process of its own, vmundo-recorder, that
 * lives while the domain runs and holds domains/NAME/recorder.lock.
 *
 *   recording.c   which recorded checkpoints go, how much room they may take, one checkpoint; vmundo_record()
 *   recorder.c    the process: when it is time for the next; what it wants to be known; its start
 */
#ifndef CORE_RECORDER_H
#define CORE_RECORDER_H

#include "core/context.h"
#include "core/record.h"
#include "core/store.h"

/* Of the recorded ones those whose time has come get their flag set: all of the last minute stay, then one of every ten
 * seconds, after ten minutes one of every minute, none after keep_ms. Returns how many. */
size_t recording_thin(const struct store_rows *rows, int64_t now_ms, uint64_t keep_ms, bool *goes);

/* Of those that are to stay, so many flags are set that no more than `stay` are left: the older they are, the farther
 * apart; the oldest and the newest stay. Returns how many. */
size_t recording_spread(const struct store_rows *rows, int64_t now_ms, size_t stay, bool *goes);

/* What one that was not overwritten before the next takes up, remembered from one look to the next. */
struct recording_size {
    uint64_t id, next, bytes;
};

/* What is remembered between two checkpoints, and what came of the last. */
struct recording {
    uint64_t thinned_ms; /* when, sys_monotonic_ms() */
    struct recording_size *sizes;
    size_t n_sizes;
    bool made;          /* one was made */
    bool cleared;       /* none was, but old ones went, to make room */
    bool waits;         /* for room */
    bool crowded;       /* branches rest on one another, and no more than a few can be added until some are merged */
    bool off;           /* there is nothing to record: it is off, or gone, or not to be recorded */
    uint64_t instance;  /* that was seen last */
    unsigned paused_us; /* how long the guest was paused for it, 0: none was made */
    char *why_not;      /* there is no room for more checkpoints, nor old ones that could go; NULL: there is */
};
void recording_clear(struct recording *k);

/* Make one, if the domain runs, and let those go that have to. `as` says how (every_ms and what comes after it); NULL:
 * as the domain's own record says. Errors: VMUNDO_CONFLICT the domain is being worked on. */
int recording_take(struct recording *k, struct vmundo *v, const char *name, const struct record *as,
                   struct vmundo_error *err);

/* Start vmundo-recorder for the domain, if it is to be recorded and is not. That it cannot be started is a warning. */
void recorder_spawn(const struct vmundo *v, const struct record *r);
/* It is to be recorded, and nobody does. Only of a domain that runs. */
bool recorder_is_missing(const struct vmundo *v, const struct record *r);
/* What the recorder of the domain wants to be known. */
struct recorder_note {
    char *text;         /* how recording does not go as it should; NULL: it does */
    uint64_t paused_us; /* how long the guest was paused altogether, */
    uint64_t for_us;    /* in how much time */
};
void recorder_note_clear(struct recorder_note *n);
/* Nothing, where there is no recorder. */
void recorder_read_note(const struct vmundo *v, const char *name, struct recorder_note *ret);

#endif
