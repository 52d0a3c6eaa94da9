/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.c: a dm-snapshot that fills up is lost, and the guest on it with it; a thin pool that fills up stops all its
 * guests. So every bounded branch of a running domain is looked at again and again; guard-judge.c says what is to be done
 * and when to look again. The driver is asked for more room in a thread of its own, since that takes seconds in which a
 * guest can write a lot: the looks go on meanwhile, and where it gets too crowded the guest is paused until there is room.
 *
 * From the top: wards and what is remembered of them; what can be done (extend, pause, resume); one look; the rounds.
 */
#include "core/guard.h"

#include "core/guard-judge.h"
#include "core/instance.h"
#include "core/store.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>

#define EXTEND_AT 70
#define PAUSE_AT 90
#define INTERVAL_MS 1000
#define SHORTEST_MS 20
#define EXTENDING_MS 100     /* while something is being extended */
#define LIST_MS 250          /* how often the database is asked which domains there are */
#define ASK_MS 1000          /* how often the hypervisor is asked whether the domain is off */
#define RETRY_MS 3000        /* after an extension that was refused */
#define QUIET_MS 200         /* the next look is so far away: time for other things */
#define LAG_HALF_LIFE_S 10.0
#define FIRST_LAG_S 0.25     /* before anything is known */

/* A branch that is being made larger. */
struct extension {
    pthread_t thread;
    const struct branch *branch;
    uint64_t want;
    double fill;             /* before it */
    int r;
    struct vmundo_error err;
    atomic_bool done;
};

/* What is remembered of a branch between two looks. */
struct watch {
    struct gauge gauge;
    uint64_t refused_ms, paused_room;
    bool lost;               /* told that it is */
    struct extension *extension;
};

/* What is remembered of a domain. */
struct ward {
    struct record record;
    struct watch *watches;   /* one for each branch */
    int lock;                /* guard.lock; -1: the caller holds it, or it is a dry run */
    bool paused;
    bool seen;
    char *trouble;           /* told last */
};

/* A line for the log. */
struct note {
    char domain[VMUNDO_NAME_SIZE];
    const char *outcome;
    char *text;
};

struct guard {
    struct vmundo *v;
    struct vmundo_guard_options o;
    int lock;                /* of the one domain that is guarded until it is off */
    struct ward *wards;
    size_t n;
    uint64_t listed_ms, asked_ms;
    double next_s;           /* when to look again */
    double lag_s;            /* how late a look or a pause has been lately */
    uint64_t due_ms;         /* when the next look should be; 0: none was planned */
    uint64_t looked_ms;      /* when the last one was */
    struct note *notes;      /* for the log, the oldest first */
    size_t n_notes;
};

/* ---- wards ---------------------------------------------------------------------------------------------------------- */

/* Waits for it: lvm must not be interrupted. */
static void free_extension(struct watch *w)
{
    if (w->extension)
        pthread_join(w->extension->thread, NULL);
    free(w->extension);
    w->extension = NULL;
}

static void ward_clear(struct ward *w)
{
    for (size_t i = 0; w->watches && i < w->record.n_branches; i++)
        free_extension(&w->watches[i]);
    free(w->watches);
    free(w->trouble);
    record_clear(&w->record);
    cleanup_close(&w->lock);
    *w = (struct ward){.lock = -1};
}

/* The log waits for the disk, and that is busy just when things happen that are worth a line. So lines are written when no
 * look is due. */
static void add_note(struct guard *g, const char *domain, const char *outcome, const char *text)
{
    struct note *more = reallocarray(g->notes, g->n_notes + 1, sizeof(*more));
    if (!more)
        return;
    g->notes = more;
    struct note *n = &more[g->n_notes];
    *n = (struct note){.outcome = outcome};
    snprintf(n->domain, sizeof(n->domain), "%s", domain);
    n->text = strdup(text);
    g->n_notes += n->text ? 1 : 0;
}

static void write_notes(struct guard *g)
{
    for (size_t i = 0; i < g->n_notes; i++) {
        store_note(g->v, g->notes[i].domain, "guard", g->notes[i].outcome, g->notes[i].text, NULL);
        free(g->notes[i].text);
    }
    free(g->notes);
    g->notes = NULL;
    g->n_notes = 0;
}

static void guard_clear(struct guard *g)
{
    for (size_t i = 0; i < g->n; i++)
        ward_clear(&g->wards[i]);
    free(g->wards);
    write_notes(g);
    cleanup_close(&g->lock);
}

static struct ward *find_ward(struct guard *g, const char *name)
{
    for (size_t i = 0; i < g->n; i++)
        if (str_eq(g->wards[i].record.name, name))
            return &g->wards[i];
    struct ward *more = reallocarray(g->wards, g->n + 1, sizeof(*more));
    if (!more)
        return NULL;
    g->wards = more;
    more[g->n] = (struct ward){.lock = -1};
    return &more[g->n++];
}

/* What an earlier guard has paused. */
static int load_note(struct guard *g, struct ward *w, struct vmundo_error *err)
{
    CLEANUP(guard_note_clear) struct guard_note n = {0};
    if (guard_read_note(g->v, w->record.name, w->record.instance, &n, err) < 0)
        return -1;
    w->paused = n.why != NULL;
    for (size_t i = 0; i < w->record.n_branches && i < n.n_rooms; i++)
        w->watches[i].paused_room = n.rooms[i];
    return 0;
}

/* Read the record anew when the domain is on other branches than the last time. One that somebody else guards, or that
 * nobody is to guard, is none of ours. */
static int update_ward(struct guard *g, const struct store_domain *row, struct vmundo_error *err)
{
    struct ward *w = find_ward(g, row->name);
    AUTO_FREE char *text = NULL;
    if (!w)
        return error_nomem(err);
    w->seen = true;
    if (w->record.name && w->record.generation == row->generation && w->record.instance == row->instance &&
        w->record.created_ms == row->created_ms)
        return 0;
    ward_clear(w);
    if ((g->lock < 0 && !g->v->dry_run && guard_lock(g->v, row->name, &w->lock, err) < 0) ||
        store_get(g->v, row->name, &text, err) < 0 || !text || record_from_text(text, &w->record, err) < 0)
        return -1;
    w->watches = calloc(w->record.n_branches + 1, sizeof(*w->watches));
    if (!w->watches || load_note(g, w, err) < 0)
        return w->watches ? -1 : error_nomem(err);
    w->seen = !w->record.unguarded || g->o.name;
    return 0;
}

static void forget_unseen(struct guard *g)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (g->wards[i].seen && g->wards[i].record.name)
            g->wards[kept++] = g->wards[i];
        else
            ward_clear(&g->wards[i]);
    }
    g->n = kept;
    for (size_t i = 0; i < g->n; i++)
        g->wards[i].seen = false;
}

static struct guard_levels levels_of(const struct guard *g, const struct record *r)
{
    uint64_t extend_at = g->o.extend_at ? g->o.extend_at : r->extend_at ? r->extend_at : EXTEND_AT;
    uint64_t pause_at = g->o.pause_at ? g->o.pause_at : r->pause_at ? r->pause_at : PAUSE_AT;
    return (struct guard_levels){(double)extend_at / 100, (double)pause_at / 100, g->lag_s};
}

/* ---- what can be done ----------------------------------------------------------------------------------------------- */

static void note_lag(struct guard *g, double seconds)
{
    g->lag_s = seconds > g->lag_s ? seconds : g->lag_s;
}

PRINTF_LIKE(4, 5)
static void tell(struct guard *g, const struct ward *w, const char *outcome, const char *fmt, ...)
{
    char text[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    context_report(g->v, VMUNDO_EVENT_ACTION, w->record.name, text);
    if (!g->v->dry_run)
        add_note(g, w->record.name, outcome, text);
}

static int put_note(struct guard *g, const struct ward *w, const char *why, struct vmundo_error *err)
{
    CLEANUP(guard_note_clear) struct guard_note n = {.n_rooms = w->record.n_branches};
    n.rooms = calloc(n.n_rooms + 1, sizeof(*n.rooms));
    if (!n.rooms)
        return error_nomem(err);
    for (size_t i = 0; i < n.n_rooms; i++)
        n.rooms[i] = w->watches[i].paused_room;
    return str_copy(why, &n.why, err) < 0 ? -1
                                          : guard_write_note(g->v, w->record.name, w->record.instance, &n, err);
}

/* The note is there before the pause and until after it: whoever takes over knows what to undo. */
static int pause_ward(struct guard *g, struct ward *w, const char *why, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    if (g->v->dry_run) {
        tell(g, w, "", "pause it: %s", why);
        return 0;
    }
    if (instance_open(g->v, &w->record, &c, err) < 0 || put_note(g, w, why, err) < 0)
        return -1;
    uint64_t begun = sys_monotonic_ms();
    int r = hyper_pause(&c.i, err);
    note_lag(g, (double)(sys_monotonic_ms() - begun) / 1e3);
    if (r < 0) {
        guard_remove_note(g->v, w->record.name, NULL);
        return -1;
    }
    w->paused = true;
    tell(g, w, "paused", "paused: %s", why);
    return 0;
}

static int resume_ward(struct guard *g, struct ward *w, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    if (g->v->dry_run) {
        tell(g, w, "", "let it run on");
        return 0;
    }
    if (instance_open(g->v, &w->record, &c, err) < 0 || hyper_resume(&c.i, err) < 0 ||
        guard_remove_note(g->v, w->record.name, err) < 0)
        return -1;
    w->paused = false;
    for (size_t i = 0; i < w->record.n_branches; i++)
        w->watches[i].paused_room = 0;
    tell(g, w, "resumed", "there is room again: it runs on");
    return 0;
}

static void *extend(void *data)
{
    struct extension *e = data;
    e->r = storage_extend(e->branch, e->want, &e->err);
    atomic_store(&e->done, true);
    return NULL;
}

static int begin_extension(struct guard *g, struct ward *w, size_t i, const struct branch_status *s, uint64_t want,
                           struct vmundo_error *err)
{
    struct watch *k = &w->watches[i];
    sigset_t all, before;
    if (k->extension || (k->refused_ms && sys_monotonic_ms() - k->refused_ms < RETRY_MS))
        return 0;
    if (g->v->dry_run) {
        tell(g, w, "", "make %s larger, it is %.0f%% full", w->record.branches[i].path, s->fill * 100);
        return 0;
    }
    struct extension *e = calloc(1, sizeof(*e));
    if (!e)
        return error_nomem(err);
    e->branch = &w->record.branches[i];
    e->want = want;
    e->fill = s->fill;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&e->thread, NULL, extend, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r) {
        free(e);
        return error_errno(err, r, "cannot start a thread");
    }
    k->extension = e;
    return 0;
}

/* What a domain that stays paused is waiting for. */
static int explain_pause(struct guard *g, struct ward *w, const struct extension *e, struct vmundo_error *err)
{
    char text[1200];
    CLEANUP(branch_status_clear) struct branch_status now = {0};
    if (!w->paused)
        return 0;
    if (storage_inspect(e->branch, &now, err) < 0)
        return -1;
    snprintf(text, sizeof(text), "%s is %.0f%% full and there is no more room: make some, or 'vmundo rollback %s' (%s)",
             e->branch->path, now.fill * 100, w->record.name, e->err.msg);
    return put_note(g, w, text, err);
}

static int end_extension(struct guard *g, struct ward *w, struct watch *k, struct vmundo_error *err)
{
    struct extension *e = k->extension;
    int r = 0;
    if (!e || !atomic_load(&e->done))
        return 0;
    if (e->r == 0) {
        tell(g, w, "extended", "%s was %.0f%% full and has been made larger", e->branch->path, e->fill * 100);
        k->refused_ms = 0;
    } else {
        if (!k->refused_ms)
            tell(g, w, "refused", "%s", e->err.msg);
        k->refused_ms = sys_monotonic_ms();
        r = explain_pause(g, w, e, err);
    }
    free_extension(k);
    return r;
}

/* ---- one look ------------------------------------------------------------------------------------------------------- */

static void tell_health(struct guard *g, struct ward *w, size_t i, const struct branch_status *s)
{
    bool lost = s->exists && s->lost;
    if (lost && !w->watches[i].lost)
        tell(g, w, "lost", "the branch %s is %s", w->record.branches[i].path, s->health);
    w->watches[i].lost = lost;
}

/* *ret_crowded: the domain must not write on. */
static int look_at_branch(struct guard *g, struct ward *w, size_t i, bool *ret_crowded, struct vmundo_error *err)
{
    struct watch *k = &w->watches[i];
    struct guard_levels levels = levels_of(g, &w->record);
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    if (end_extension(g, w, k, err) < 0 || storage_inspect(&w->record.branches[i], &s, err) < 0)
        return -1;
    tell_health(g, w, i, &s);
    *ret_crowded = *ret_crowded || (k->lost && w->paused);
    if (!s.exists || !s.bound || k->lost)
        return 0;
    gauge_note(&k->gauge, &s, sys_monotonic_ms(), w->paused);
    struct guard_verdict now = guard_judge(&k->gauge, &s, &levels, w->paused ? k->paused_room : 0);
    g->next_s = now.next_s < g->next_s ? now.next_s : g->next_s;
    *ret_crowded = *ret_crowded || now.crowded;
    if (now.crowded && !k->paused_room)
        k->paused_room = s.room ? s.room : 1;
    if (now.crowded && !w->paused) {
        char text[1024];
        snprintf(text, sizeof(text), "%s of %s is %.0f%% full: until it has been made larger", s.bound,
                 w->record.branches[i].path, s.fill * 100);
        if (pause_ward(g, w, text, err) < 0)
            return -1;
    }
    return now.extend ? begin_extension(g, w, i, &s, now.want, err) : 0;
}

static int look_at_ward(struct guard *g, struct ward *w, struct vmundo_error *err)
{
    bool crowded = false;
    for (size_t i = 0; i < w->record.n_branches; i++)
        if (w->record.branches[i].driver->extend && look_at_branch(g, w, i, &crowded, err) < 0)
            return -1;
    return crowded || !w->paused ? 0 : resume_ward(g, w, err);
}

/* Once for the same trouble. A domain that is off in the middle of it is none. */
static void tell_trouble(struct guard *g, struct ward *w, const struct vmundo_error *e)
{
    if (e->code == VMUNDO_CONFLICT || str_eq(w->trouble, e->msg))
        return;
    free(w->trouble);
    w->trouble = NULL;
    str_copy(e->msg, &w->trouble, NULL);
    context_report(g->v, VMUNDO_EVENT_WARNING, w->record.name, e->msg);
    if (!g->v->dry_run)
        add_note(g, w->record.name, "failed", e->msg);
}

/* ---- the rounds ----------------------------------------------------------------------------------------------------- */

/* Which domains are to be looked after. *ret_any: there was one, or one that is asked for may be about to run. */
static int list_wards(struct guard *g, bool *ret_any, struct vmundo_error *err)
{
    struct store_domain *rows = NULL;
    size_t n = 0;
    *ret_any = false;
    if (store_list(g->v, &rows, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        bool named = str_eq(rows[i].name, g->o.name), wanted = rows[i].running && (!g->o.name || named);
        if (wanted && !rows[i].pending)
            update_ward(g, &rows[i], NULL);
        *ret_any = *ret_any || wanted || (rows[i].pending && named);
    }
    store_domains_free(rows, n);
    forget_unseen(g);
    return 0;
}

static bool is_extending(const struct guard *g)
{
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < g->wards[i].record.n_branches; k++)
            if (g->wards[i].watches[k].extension)
                return true;
    return false;
}

/* Look after every running domain that is asked for. One that cannot be looked at now (it may be on its way to other
 * branches) is looked at again. */
static void look_at_all(struct guard *g)
{
    uint64_t now = sys_monotonic_ms();
    double since_s = g->looked_ms ? (double)(now - g->looked_ms) / 1e3 : 0;
    g->lag_s *= 1 - (since_s < LAG_HALF_LIFE_S ? since_s / LAG_HALF_LIFE_S / 2 : 0.5);
    if (g->due_ms && now > g->due_ms)
        note_lag(g, (double)(now - g->due_ms) / 1e3);
    g->looked_ms = now;
    g->next_s = (g->o.interval_ms ? g->o.interval_ms : INTERVAL_MS) / 1e3;
    for (size_t i = 0; i < g->n; i++) {
        struct vmundo_error e = {0};
        if (look_at_ward(g, &g->wards[i], &e) < 0)
            tell_trouble(g, &g->wards[i], &e);
    }
}

static int wait_ms(const struct guard *g)
{
    int ms = (int)(g->next_s * 1e3);
    if (is_extending(g) && ms > EXTENDING_MS)
        ms = EXTENDING_MS;
    return ms < SHORTEST_MS ? SHORTEST_MS : ms;
}

/* Has the domain ended by itself? */
static bool is_off(struct guard *g)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    if (g->n != 1 || sys_monotonic_ms() - g->asked_ms < ASK_MS)
        return false;
    bool off = instance_open(g->v, &g->wards[0].record, &c, NULL) == 0 && hyper_state(&c.i, &s, NULL) == 0 &&
               s.power == HYPER_OFF;
    g->asked_ms = sys_monotonic_ms();
    return off;
}

/* A command that starts the domain again looks whether it has a guard. Whoever it saw with the lock has to be one: so the
 * lock goes first, and then we look whether the domain is wanted after all. *ret_on: it is, and we have the lock. */
static int leave(struct guard *g, bool *ret_on, struct vmundo_error *err)
{
    struct store_domain *rows = NULL;
    size_t n = 0;
    uint64_t was = g->n ? g->wards[0].record.instance : 0;
    bool wanted = false;
    cleanup_close(&g->lock);
    g->lock = -1;
    if (store_list(g->v, &rows, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        wanted = wanted || (str_eq(rows[i].name, g->o.name) &&
                            (rows[i].pending || (rows[i].running && rows[i].instance != was)));
    store_domains_free(rows, n);
    *ret_on = wanted && guard_lock(g->v, g->o.name, &g->lock, NULL) == 0;
    return 0;
}

static bool all_paused(const struct guard *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (!g->wards[i].paused)
            return false;
    return true;
}

/* Until the next look. */
static void rest(struct guard *g)
{
    int ms = wait_ms(g);
    g->due_ms = sys_monotonic_ms() + (uint64_t)ms;
    if (g->n_notes && (ms >= QUIET_MS || all_paused(g))) {
        write_notes(g);
        uint64_t now = sys_monotonic_ms();
        ms = now < g->due_ms ? (int)(g->due_ms - now) : 0;
        g->due_ms = now > g->due_ms ? now : g->due_ms; /* that was ours, and will not be when it matters */
    }
    poll(NULL, 0, ms);
}

static int watch(struct guard *g, struct vmundo_error *err)
{
    const struct vmundo_guard_options *o = &g->o;
    bool any = true;
    while (!(o->stop && *o->stop)) {
        uint64_t now = sys_monotonic_ms();
        if (!g->listed_ms || now - g->listed_ms >= LIST_MS) {
            if (list_wards(g, &any, err) < 0)
                return -1;
            g->listed_ms = now;
            /* A domain of the same name that was made after ours had been dropped has a lock file of its own. */
            any = any && (g->lock < 0 || guard_owns_lock(g->v, o->name, g->lock));
        }
        look_at_all(g);
        if (o->once && !is_extending(g))
            return 0;
        if (o->until_off && (!any || is_off(g))) {
            bool on = false;
            if (leave(g, &on, err) < 0)
                return -1;
            if (!on)
                return 0;
        }
        rest(g);
    }
    return 0;
}

int guard_check_levels(uint64_t extend_at, uint64_t pause_at, struct vmundo_error *err)
{
    uint64_t e = extend_at ? extend_at : EXTEND_AT, p = pause_at ? pause_at : PAUSE_AT;
    if (e <= 99 && p <= 99 && e <= p)
        return 0;
    return error_set(err, VMUNDO_USAGE, "extend at %llu%% and pause at %llu%% make no sense: the first must be the lower, "
                     "both below 100", (unsigned long long)e, (unsigned long long)p);
}

/* Without until_off the wards have their locks themselves, and this only tells why there will be none. */
static int lock_named(struct guard *g, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    if (guard_lock(g->v, g->o.name, &g->lock, &e) < 0 && e.errnum == ENOENT)
        return error_set(err, VMUNDO_NOT_FOUND, "there is no domain '%.63s': 'vmundo list' shows those that there are",
                         g->o.name);
    if (g->lock < 0)
        return error_set(err, e.code, "%s", e.msg);
    if (!g->o.until_off) {
        cleanup_close(&g->lock);
        g->lock = -1;
    }
    return 0;
}

int vmundo_guard(struct vmundo *v, const struct vmundo_guard_options *o, struct vmundo_error *err)
{
    CLEANUP(guard_clear) struct guard g = {.v = v, .o = *o, .lock = -1, .lag_s = FIRST_LAG_S};
    if (o->name && !vmundo_name_is_valid(o->name))
        return error_set(err, VMUNDO_USAGE, "'%.63s' is no domain name", o->name);
    if (guard_check_levels(o->extend_at, o->pause_at, err) < 0)
        return -1;
    if (o->lock_fd > 0 && o->name && guard_owns_lock(v, o->name, o->lock_fd)) {
        g.lock = o->lock_fd;
        guard_leave_session(o->name);
    } else if (o->name && !v->dry_run && lock_named(&g, err) < 0) {
        return -1;
    }
    return watch(&g, err);
}
