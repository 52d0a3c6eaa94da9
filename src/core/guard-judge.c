/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guard-judge.c: see guard-judge.h. */
#include "core/guard-judge.h"

#define FASTEST ((double)(1 << 30)) /* bytes per second: no guest fills a branch faster than that */
#define EXTEND_AHEAD_S 20.0         /* extend what would be full within this time */
#define WANT_S 30.0                 /* and then for as much as is written in this time */
#define PAUSE_AHEAD_S 0.25          /* pause what would be full within this time, or within twice the lag */
#define RESERVE ((double)(16 << 20)) /* what can be under way between the guest and the branch, bytes */
#define RESERVE_SHARE 0.25          /* but of a small branch no more than this */
#define RESUME_SHARE 0.05           /* let it run again when so much more is free than at the pause */
#define RATE_HALF_LIFE_S 5.0
#define SAMPLE_MS 100               /* over less than this, a rate is that of a burst */

static double max(double a, double b)
{
    return a > b ? a : b;
}

static double min(double a, double b)
{
    return a < b ? a : b;
}

/* Bytes, of which s->fill are used up; 0 when it is full. */
static double whole_of(const struct branch_status *s)
{
    return s->fill < 1 ? (double)s->room / (1 - s->fill) : 0;
}

void gauge_note(struct gauge *g, const struct branch_status *s, uint64_t now_ms, bool paused)
{
    double used = whole_of(s) - (double)s->room;
    if (s->fill >= 1)
        return;
    if (!str_eq(g->bound, s->bound)) {
        *g = (struct gauge){0};
        snprintf(g->bound, sizeof(g->bound), "%s", s->bound);
    }
    if (g->looked_ms && now_ms - g->looked_ms < SAMPLE_MS)
        return;
    double seconds = g->looked_ms ? (double)(now_ms - g->looked_ms) / 1e3 : 0;
    g->rate *= 1 - min(seconds / RATE_HALF_LIFE_S / 2, 0.5);
    if (seconds > 0 && !paused)
        g->rate = max(g->rate, (used - g->used) / seconds);
    g->used = used;
    g->looked_ms = now_ms;
}

struct guard_verdict guard_judge(const struct gauge *g, const struct branch_status *s, const struct guard_levels *l,
                                 uint64_t paused_room)
{
    double room = (double)s->room, whole = whole_of(s);
    double reserve = max((1 - l->pause_at) * whole, min(RESERVE, RESERVE_SHARE * whole));
    double left_s = g->rate > 0 ? room / g->rate : 1e9, ahead_s = max(PAUSE_AHEAD_S, 2 * l->lag_s);
    struct guard_verdict v = {.want = (uint64_t)(g->rate * WANT_S)};
    if (paused_room)
        v.crowded = room < max(reserve, (double)paused_room) + RESUME_SHARE * whole || left_s < ahead_s;
    else
        v.crowded = room <= reserve || left_s < ahead_s;
    v.extend = v.crowded || s->fill >= l->extend_at || left_s < EXTEND_AHEAD_S;
    v.next_s = max(min((room - reserve) / FASTEST, (left_s - ahead_s) / 4), 0);
    return v;
}
