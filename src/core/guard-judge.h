/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard-judge.h: what the guard makes of what it sees of one bounded branch; nothing but arithmetic.
 *
 * A writer at full speed fills a small snapshot in less than a second, and making it larger takes longer than that. So
 * there are two decisions, independent of each other: whether to ask for more room, early, and whether the domain must not
 * write on until there is some. The second is made from a reserve that must stay free for what is still under way when
 * the domain is paused, and looks are so frequent that the fastest disk cannot use up what is above it in between.
 */
#ifndef CORE_GUARD_JUDGE_H
#define CORE_GUARD_JUDGE_H

#include "storage/storage.h"

/* Shares of the whole, 0 to 1. */
struct guard_levels {
    double extend_at, pause_at;
    double lag_s;            /* not a share: how late a look or a pause has been lately, on this machine as busy as it is */
};

/* How fast a branch fills up. */
struct gauge {
    double used;             /* bytes */
    double rate;             /* the fastest lately, bytes per second */
    char bound[32];          /* of what */
    uint64_t looked_ms;      /* 0: never */
};

struct guard_verdict {
    bool extend;             /* ask for more room */
    uint64_t want;           /* that many bytes */
    bool crowded;            /* the domain must not write on */
    double next_s;           /* look again within this time */
};

/* A look at now_ms. paused: the domain is, and nothing is learnt of its rate; but what it was is forgotten by and by, so
 * that it is let run again and shows what it is now. */
void gauge_note(struct gauge *g, const struct branch_status *s, uint64_t now_ms, bool paused);

/* paused_room: bytes that were free when the domain was paused because of this branch; 0: it was not. */
struct guard_verdict guard_judge(const struct gauge *g, const struct branch_status *s, const struct guard_levels *l,
                                 uint64_t paused_room);

#endif
