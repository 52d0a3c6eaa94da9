/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.c: a dm-snapshot that fills up is lost, and the guest on it with it; a thin pool that fills up stops all its
 * guests. So every bounded branch of a running domain is looked at again and again, the more often the sooner it could be
 * full. The decision is made from two figures: how full it is, and how long it would take to fill the rest at the
 * fastest rate seen lately. First the driver is asked for more room; where there is none, the guest is paused, and runs
 * again when there is room. That it was the guard who paused it stands in domains/NAME/guard.json.
 */
#include "core/guard.h"

#include "build-config.h"
#include "core/instance.h"
#include "core/store.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/process.h"
#include "util/sys.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/file.h>

#define EXTEND_AT 70
#define PAUSE_AT 90
#define INTERVAL_MS 1000
#define SHORTEST_MS 20
#define EXTEND_AHEAD_S 20.0  /* extend what would be full within this time */
#define PAUSE_AHEAD_S 2.0    /* pause what would be full within this time and cannot be extended */
#define RESUME_BELOW 0.05    /* let it run again when it is this much emptier than the level of the pause */
#define RETRY_MS 3000        /* after an extension that was refused */
#define RATE_HALF_LIFE_S 5.0

#define STATE_FILE "guard.json"
#define LOCK_FILE "guard.lock"

/* What is remembered of a branch between two looks. */
struct watch {
    char *path;
    double fill, rate;       /* rate: fill per second, the fastest lately */
    uint64_t looked_ms, refused_ms;
    bool lost;               /* told that it is invalid */
};

/* What is remembered of a domain. */
struct ward {
    struct record record;
    struct watch *watches;   /* one for each branch */
    bool paused;
    bool seen;
};

struct guard {
    struct vmundo *v;
    struct vmundo_guard_options o;
    struct ward *wards;
    size_t n;
    double next_s;           /* when to look again */
};

/* ---- files ---------------------------------------------------------------------------------------------------------- */

int guard_lock(const struct vmundo *v, const char *name, int *ret_fd, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1, fd = -1;
    if (context_domain_dir(v, name, false, &dir, err) < 0)
        return -1;
    fd = openat(dir, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s of %s", LOCK_FILE, name);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, VMUNDO_CONFLICT, "%s is being guarded already", name);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

bool guard_is_alive(const struct vmundo *v, const char *name)
{
    AUTO_CLOSE int dir = -1, fd = -1;
    if (context_domain_dir(v, name, false, &dir, NULL) < 0)
        return false;
    fd = openat(dir, LOCK_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

int guard_reason(const struct vmundo *v, const char *name, char **ret, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    AUTO_FREE char *text = NULL;
    AUTO_JSON json_t *o = NULL;
    *ret = NULL;
    if (context_domain_dir(v, name, false, &dir, NULL) < 0 ||
        sys_read_file(dir, STATE_FILE, 65536, &text, NULL, NULL) < 0)
        return 0;
    return json_parse(text, STATE_FILE, &o, err) < 0 ? -1 : json_opt_string(o, "paused", ret, err);
}

static int write_reason(const struct vmundo *v, const char *name, const char *why, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    if (context_domain_dir(v, name, false, &dir, err) < 0)
        return -1;
    if (!why)
        return unlinkat(dir, STATE_FILE, 0) < 0 && errno != ENOENT ? error_errno(err, errno, "cannot remove %s", STATE_FILE)
                                                                    : 0;
    AUTO_JSON json_t *o = json_pack("{ss}", "paused", why);
    AUTO_FREE char *text = o ? json_text(o, err) : NULL;
    return text ? sys_put_file(dir, STATE_FILE, text, strlen(text), err) : error_nomem(err);
}

static int is_bounded(const struct record *r, bool *ret, struct vmundo_error *err)
{
    *ret = false;
    for (size_t i = 0; i < r->n_branches && !*ret; i++) {
        CLEANUP(branch_status_clear) struct branch_status s = {0};
        if (storage_inspect(&r->branches[i], &s, err) < 0)
            return -1;
        *ret = s.bound != NULL;
    }
    return 0;
}

static int spawn(const struct vmundo *v, const struct record *r, struct vmundo_error *err)
{
    const char *dir = secure_getenv("VMUNDO_LIBEXEC_DIR");
    struct process_options o = PROCESS_OPTIONS_INIT;
    bool bounded;
    pid_t pid;
    if (is_bounded(r, &bounded, err) < 0)
        return -1;
    if (!bounded || guard_is_alive(v, r->name))
        return 0;
    AUTO_FREE char *program = str_printf(err, "%s/vmundo-guard", dir && *dir ? dir : VMUNDO_LIBEXECDIR);
    if (!program)
        return -1;
    o.new_session = true;
    return process_spawn((const char *const[]){program, v->state_dir, r->name, NULL}, &o, &pid, err);
}

void guard_spawn(const struct vmundo *v, const struct record *r)
{
    struct vmundo_error e = {0};
    if (spawn(v, r, &e) < 0) {
        AUTO_FREE char *text = str_printf(NULL, "nobody watches whether its branches fill up ('vmundo guard' would): %s",
                                          e.msg);
        context_report(v, VMUNDO_EVENT_WARNING, r->name, text ? text : e.msg);
    }
}

/* ---- wards ---------------------------------------------------------------------------------------------------------- */

static void ward_clear(struct ward *w)
{
    for (size_t i = 0; w->watches && i < w->record.n_branches; i++)
        free(w->watches[i].path);
    free(w->watches);
    record_clear(&w->record);
    *w = (struct ward){0};
}

static void guard_clear(struct guard *g)
{
    for (size_t i = 0; i < g->n; i++)
        ward_clear(&g->wards[i]);
    free(g->wards);
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
    more[g->n] = (struct ward){0};
    return &more[g->n++];
}

/* Read the record anew when the domain is on other branches than the last time. */
static int update_ward(struct guard *g, const struct store_domain *row, struct vmundo_error *err)
{
    struct ward *w = find_ward(g, row->name);
    AUTO_FREE char *text = NULL, *why = NULL;
    if (!w)
        return error_nomem(err);
    w->seen = true;
    if (w->record.name && w->record.generation == row->generation && w->record.instance == row->instance)
        return 0;
    ward_clear(w);
    w->seen = true;
    if (store_get(g->v, row->name, &text, err) < 0 || !text || record_from_text(text, &w->record, err) < 0 ||
        guard_reason(g->v, row->name, &why, err) < 0)
        return -1;
    w->paused = why != NULL;
    w->watches = calloc(w->record.n_branches + 1, sizeof(*w->watches));
    return w->watches ? 0 : error_nomem(err);
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

/* ---- one look ------------------------------------------------------------------------------------------------------- */

PRINTF_LIKE(4, 5)
static void tell(struct guard *g, const struct ward *w, const char *outcome, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    context_report(g->v, VMUNDO_EVENT_ACTION, w->record.name, text);
    if (!g->v->dry_run)
        store_note(g->v, w->record.name, "guard", outcome, text, NULL);
}

static int set_paused(struct guard *g, struct ward *w, const char *why, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    if (w->paused == (why != NULL))
        return 0;
    if (g->v->dry_run) {
        tell(g, w, "", why ? "pause it: %s" : "let it run on%s", why ? why : "");
        return 0;
    }
    if (instance_open(g->v, &w->record, &c, err) < 0)
        return -1;
    /* The reason is there before the pause and until after it: whoever takes over knows what to undo. */
    if (why && (write_reason(g->v, w->record.name, why, err) < 0 || hyper_pause(&c.i, err) < 0))
        return -1;
    if (!why && (hyper_resume(&c.i, err) < 0 || write_reason(g->v, w->record.name, NULL, err) < 0))
        return -1;
    w->paused = why != NULL;
    if (why)
        tell(g, w, "paused", "paused: %s", why);
    else
        tell(g, w, "resumed", "there is room again: it runs on");
    return 0;
}

static void note_fill(struct watch *b, double fill)
{
    uint64_t now = sys_monotonic_ms();
    double seconds = b->looked_ms ? (double)(now - b->looked_ms) / 1e3 : 0;
    double rate = seconds > 0 ? (fill - b->fill) / seconds : 0;
    b->rate *= 1 - (seconds < RATE_HALF_LIFE_S ? seconds / RATE_HALF_LIFE_S / 2 : 0.5);
    if (rate > b->rate)
        b->rate = rate;
    b->fill = fill;
    b->looked_ms = now;
}

static double seconds_left(const struct watch *b)
{
    return b->rate > 0 ? (1 - b->fill) / b->rate : 1e9;
}

/* Ask the driver for more room. 1: it gave some; 0: there is none, *ret_why says why. */
static int extend(struct guard *g, struct ward *w, size_t i, struct vmundo_error *ret_why)
{
    struct watch *b = &w->watches[i];
    if (b->refused_ms && sys_monotonic_ms() - b->refused_ms < RETRY_MS)
        return error_set(ret_why, VMUNDO_REFUSED, "it cannot be made larger") + 1;
    if (g->v->dry_run) {
        tell(g, w, "", "make %s larger, it is %.0f%% full", w->record.branches[i].path, b->fill * 100);
        return 0;
    }
    if (storage_extend(&w->record.branches[i], ret_why) < 0) {
        if (!b->refused_ms)
            tell(g, w, "refused", "%s", ret_why->msg);
        b->refused_ms = sys_monotonic_ms();
        return 0;
    }
    b->refused_ms = 0;
    tell(g, w, "extended", "%s was %.0f%% full and has been made larger", w->record.branches[i].path, b->fill * 100);
    return 1;
}

/* *ret_crowded: the domain must not write on. */
static int look_at_branch(struct guard *g, struct ward *w, size_t i, bool *ret_crowded, struct vmundo_error *err)
{
    const struct branch *b = &w->record.branches[i];
    struct watch *k = &w->watches[i];
    struct vmundo_error why = {0};
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    double pause_at = (g->o.pause_at ? g->o.pause_at : PAUSE_AT) / 100.0 - (w->paused ? RESUME_BELOW : 0);
    double extend_at = (g->o.extend_at ? g->o.extend_at : EXTEND_AT) / 100.0;
    if (storage_inspect(b, &s, err) < 0)
        return -1;
    if (s.exists && !str_eq(s.health, "ok") && !k->lost)
        tell(g, w, "lost", "the branch %s is %s", b->path, s.health);
    k->lost = s.exists && !str_eq(s.health, "ok");
    if (!s.exists || !s.bound || k->lost)
        return 0;
    note_fill(k, s.fill);
    if (s.fill < extend_at && seconds_left(k) > EXTEND_AHEAD_S)
        return 0;
    if (extend(g, w, i, &why)) {
        g->next_s = 0;
        return 0;
    }
    if (s.fill >= pause_at || (!w->paused && seconds_left(k) < PAUSE_AHEAD_S)) {
        char text[512];
        *ret_crowded = true;
        snprintf(text, sizeof(text), "%s of %s is %.0f%% full and there is no more room: make some, or 'vmundo rollback'",
                 s.bound, b->path, s.fill * 100);
        return set_paused(g, w, text, err);
    }
    double left = seconds_left(k) / 8;
    g->next_s = left < g->next_s ? left : g->next_s;
    return 0;
}

static int look_at_ward(struct guard *g, struct ward *w, struct vmundo_error *err)
{
    bool crowded = false;
    for (size_t i = 0; i < w->record.n_branches; i++)
        if (look_at_branch(g, w, i, &crowded, err) < 0)
            return -1;
    return crowded ? 0 : set_paused(g, w, NULL, err);
}

/* Look after every running domain that is asked for. One that cannot be looked at now (it may be on its way to other
 * branches) is looked at again. *ret_any: there was one. */
static int round_of(struct guard *g, bool *ret_any, struct vmundo_error *err)
{
    struct store_domain *rows = NULL;
    size_t n = 0;
    *ret_any = false;
    if (store_list(g->v, &rows, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        bool wanted = rows[i].running && (!g->o.name || str_eq(rows[i].name, g->o.name));
        if (wanted && !rows[i].pending)
            update_ward(g, &rows[i], NULL);
        *ret_any = *ret_any || wanted || (rows[i].pending && str_eq(rows[i].name, g->o.name));
    }
    store_domains_free(rows, n);
    forget_unseen(g);
    for (size_t i = 0; i < g->n; i++) {
        struct vmundo_error e = {0};
        if (look_at_ward(g, &g->wards[i], &e) < 0)
            context_report(g->v, VMUNDO_EVENT_WARNING, g->wards[i].record.name, e.msg);
    }
    return 0;
}

/* Has the domain ended by itself? */
static bool is_off(const struct guard *g)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    if (g->n != 1 || instance_open(g->v, &g->wards[0].record, &c, NULL) < 0 || hyper_state(&c.i, &s, NULL) < 0)
        return false;
    return s.power == HYPER_OFF;
}

static int check_guard_options(const struct vmundo_guard_options *o, struct vmundo_error *err)
{
    unsigned extend_at = o->extend_at ? o->extend_at : EXTEND_AT, pause_at = o->pause_at ? o->pause_at : PAUSE_AT;
    if (o->name && !vmundo_name_is_valid(o->name))
        return error_set(err, VMUNDO_USAGE, "'%.63s' is no domain name", o->name);
    if (extend_at > 99 || pause_at > 99 || extend_at > pause_at)
        return error_set(err, VMUNDO_USAGE, "extend at %u%% and pause at %u%% make no sense: the first must be the lower, "
                         "both below 100", extend_at, pause_at);
    return 0;
}

int vmundo_guard(struct vmundo *v, const struct vmundo_guard_options *options, struct vmundo_error *err)
{
    CLEANUP(guard_clear) struct guard g = {.v = v, .o = *options};
    AUTO_CLOSE int lock = -1;
    if (check_guard_options(options, err) < 0)
        return -1;
    if (options->until_off && options->name && guard_lock(v, options->name, &lock, err) < 0)
        return -1;
    while (!(options->stop && *options->stop)) {
        bool any;
        g.next_s = (options->interval_ms ? options->interval_ms : INTERVAL_MS) / 1e3;
        if (round_of(&g, &any, err) < 0)
            return -1;
        if (options->once || (options->until_off && (!any || is_off(&g))))
            return 0;
        int ms = (int)(g.next_s * 1e3);
        poll(NULL, 0, ms < SHORTEST_MS ? SHORTEST_MS : ms);
    }
    return 0;
}
