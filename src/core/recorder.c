/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recorder.c: the process that records a domain while it runs. Between two checkpoints it looks every now and then
 * whether it is still wanted. A guest is not to be paused for more than a fiftieth of the time: where a checkpoint
 * takes longer than that, the next one is later.
 *
 * What it wants to be known is in recorder.json, and means something only while it holds its lock.
 */
#include "core/recorder.h"

#include "core/attendant.h"
#include "core/instance.h"
#include "core/merge.h"
#include "core/verbs.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/sys.h"

#include <poll.h>

#define NOTE_FILE "recorder.json"
#define LOOK_MS 200   /* how often it looks whether it is wanted */
#define BUSY_MS 50    /* until the next try when somebody else works on the domain */
#define RETRY_MS 5000 /* after something went wrong */
#define TRIES 3       /* somebody may be reading, which passes */
#define MERGE_MS 30000 /* how long the next checkpoint waits for a merge, when there are many to be made */
#define SHARE 55      /* paused for one part of so many: a fiftieth, and a little less */
#define SAY_LATE 1.5  /* when it is that many times what was asked for */

static const struct attendant recorder = {"vmundo-recorder", "recorder.lock", "recorded"};

/* ---- what is told ---------------------------------------------------------------------------------------------------
 */

struct state {
    struct vmundo *v;
    const char *name;
    int lock;
    struct recording k;
    char *note; /* what stands in recorder.json */
    char *told; /* the last trouble that was put in the log */
    uint64_t every_ms;
    uint64_t begun_ms, paused_us;
    double between_ms; /* two checkpoints, lately */
    uint64_t merge_from_ms, merge_until_ms; /* when what was given up may be merged */
    unsigned not_merged;                    /* how often it failed, since it did not */
    const volatile int *stop;
};

static void state_clear(struct state *s)
{
    recording_clear(&s->k);
    free(s->note);
    free(s->told);
    cleanup_close(&s->lock);
}

void recorder_note_clear(struct recorder_note *n)
{
    free(n->text);
    *n = (struct recorder_note){0};
}

void recorder_read_note(const struct vmundo *v, const char *name, struct recorder_note *ret)
{
    AUTO_CLOSE int dir = -1;
    AUTO_FREE char *text = NULL;
    AUTO_JSON json_t *o = NULL;
    uint64_t since_ms = 0;
    *ret = (struct recorder_note){0};
    if (!attendant_is_alive(v, &recorder, name) || context_domain_dir(v, name, false, &dir, NULL) < 0 ||
        sys_read_file(dir, NOTE_FILE, 65536, &text, NULL, NULL) < 0 || json_parse(text, NOTE_FILE, &o, NULL) < 0)
        return;
    json_opt_string(o, "note", &ret->text, NULL);
    json_opt_u64(o, "paused_us", 0, &ret->paused_us, NULL);
    json_opt_u64(o, "since_ms", 0, &since_ms, NULL);
    ret->for_us = (sys_monotonic_ms() - since_ms) * 1000;
}

/* That it cannot be written is no reason to stop recording. */
static void put_note(struct state *s, const char *note)
{
    AUTO_CLOSE int dir = -1;
    AUTO_JSON json_t *o = json_pack("{ss* sI sI}", "note", note, "paused_us", (json_int_t)s->paused_us, "since_ms",
                                    (json_int_t)s->begun_ms);
    AUTO_FREE char *text = o ? json_text(o, NULL) : NULL;
    if (!str_eq(s->note, note)) {
        free(s->note);
        s->note = NULL;
        str_copy(note, &s->note, NULL);
    }
    if (text && context_domain_dir(s->v, s->name, false, &dir, NULL) == 0)
        sys_put_file(dir, NOTE_FILE, text, strlen(text), NULL);
}

/* In the log, once for the same trouble; trouble NULL: it is over. */
static void tell(struct state *s, const char *outcome, const char *trouble)
{
    if (str_eq(s->told, trouble) || (s->told && trouble))
        return;
    free(s->told);
    s->told = NULL;
    str_copy(trouble, &s->told, NULL);
    store_note(s->v, s->name, "record", outcome, trouble ? trouble : "recording goes on", NULL);
}

static void say_how_it_goes(struct state *s, const struct vmundo_error *e)
{
    char text[1200];
    if (e->code) {
        snprintf(text, sizeof(text), "recording fails: %s", e->msg);
        tell(s, "failed", e->msg);
    } else if (s->k.why_not) {
        snprintf(text, sizeof(text), "recording is paused: %s", s->k.why_not);
        tell(s, "paused", s->k.why_not);
    } else {
        double late = s->between_ms / (double)s->every_ms;
        tell(s, "resumed", NULL);
        if (s->every_ms && late > SAY_LATE)
            snprintf(text, sizeof(text),
                     "recorded about every %.*f s: more often it would pause the guest for too long, or "
                     "its disk does not keep up",
                     s->between_ms < 10000, s->between_ms / 1e3);
        else
            text[0] = '\0';
        if (text[0] && s->note && str_has_prefix(s->note, "recorded about")) /* not for every small change */
            snprintf(text, sizeof(text), "%s", s->note);
    }
    put_note(s, text[0] ? text : NULL);
}

/* ---- the rounds -----------------------------------------------------------------------------------------------------
 */

/* *ret: is it to be recorded, and not the instance that was seen to be off? */
static int is_wanted(struct state *s, uint64_t off, bool *ret, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    CLEANUP(record_clear) struct record r = {0};
    *ret = false;
    if (store_get(s->v, s->name, &text, err) < 0 || (text && record_from_text(text, &r, err) < 0))
        return -1;
    s->every_ms = r.every_ms;
    *ret = text && r.every_ms && r.running && r.instance != off;
    return 0;
}

/* As with a guard: a command that starts the domain again looks whether somebody has the lock. So the lock goes first,
 * and then we look whether the domain is to be recorded after all. *ret_on: it is, and we have the lock. */
static int leave(struct state *s, uint64_t off, bool *ret_on, struct vmundo_error *err)
{
    bool wanted = false;
    cleanup_close(&s->lock);
    s->lock = -1;
    if (is_wanted(s, off, &wanted, err) < 0)
        return -1;
    *ret_on = wanted && attendant_lock(s->v, &recorder, s->name, &s->lock, NULL) == 0;
    return 0;
}

static bool is_told_to_stop(const struct state *s)
{
    return s->stop && *s->stop;
}

/* Until then, or until there is nothing more to do. */
static int wait_until(struct state *s, uint64_t due_ms, bool *ret_wanted, struct vmundo_error *err)
{
    for (;;) {
        uint64_t now = sys_monotonic_ms();
        if (is_wanted(s, 0, ret_wanted, err) < 0)
            return -1;
        /* A domain of the same name that was made after ours had been dropped has a lock file of its own. */
        *ret_wanted = *ret_wanted && attendant_owns_lock(s->v, &recorder, s->name, s->lock);
        if (!*ret_wanted || now >= due_ms || is_told_to_stop(s))
            return 0;
        poll(NULL, 0, due_ms - now < LOOK_MS ? (int)(due_ms - now) : LOOK_MS);
    }
}

static bool may_merge(const void *data)
{
    const struct state *s = data;
    return sys_monotonic_ms() < s->merge_until_ms && !is_told_to_stop(s);
}

/* Where checkpoints rest on one another, what went is merged into what stays, until it is time for the next one. If
 * somebody else works on the domain, another time. */
static void merge(struct state *s, uint64_t due)
{
    struct vmundo_error e = {0};
    uint64_t now = sys_monotonic_ms();
    s->merge_until_ms = (s->k.crowded || s->k.waits) && due < now + MERGE_MS ? now + MERGE_MS : due;
    if (s->k.off || now < s->merge_from_ms)
        return;
    if (merge_all(s->v, s->name, may_merge, s, &e) == 0)
        s->not_merged = 0;
    if (!e.code || e.code == VMUNDO_CONFLICT || e.code == VMUNDO_NOT_FOUND)
        return;
    s->merge_from_ms = sys_monotonic_ms() + RETRY_MS;
    if (++s->not_merged == TRIES)
        store_note(s->v, s->name, "record", "failed", e.msg, NULL);
}

/* One checkpoint. *ret_due: when to make the next. */
static void take(struct state *s, uint64_t *ret_due)
{
    struct vmundo_error e = {0};
    uint64_t begun = sys_monotonic_ms(), every = s->every_ms;
    uint64_t last = *ret_due;
    if (recording_take(&s->k, s->v, s->name, NULL, &e) < 0 && e.code == VMUNDO_CONFLICT) {
        *ret_due = begun + BUSY_MS;
        return;
    }
    if (e.code == VMUNDO_NOT_FOUND) {
        s->k.off = true;
        return;
    }
    s->paused_us += s->k.paused_us;
    uint64_t rest = e.code ? RETRY_MS : (uint64_t)s->k.paused_us * SHARE / 1000;
    *ret_due = (last && begun - last < every ? last : begun) + every; /* in step with the clock, if it can be */
    if (*ret_due < begun + rest)
        *ret_due = begun + rest;
    if (*ret_due <= sys_monotonic_ms())
        *ret_due = sys_monotonic_ms() + every / 10;
    s->between_ms = s->between_ms * 0.9 + (double)(*ret_due - begun) * 0.1;
    say_how_it_goes(s, &e);
}

static int record(struct state *s, struct vmundo_error *err)
{
    uint64_t due = 0;
    bool on = true;
    while (on && !is_told_to_stop(s)) {
        bool wanted;
        s->k.off = false;
        if (wait_until(s, due, &wanted, err) < 0)
            return -1;
        if (s->between_ms == 0)
            s->between_ms = (double)s->every_ms;
        if (wanted && !is_told_to_stop(s)) {
            take(s, &due);
            merge(s, due);
        }
        if ((!wanted || s->k.off) && leave(s, wanted ? s->k.instance : 0, &on, err) < 0)
            return -1;
    }
    return 0;
}

int vmundo_recorder(struct vmundo *v, const struct vmundo_recorder_options *o, struct vmundo_error *err)
{
    CLEANUP(state_clear) struct state s = {.v = v, .name = o->name, .lock = -1, .begun_ms = sys_monotonic_ms(),
                                             .stop = o->stop};
    if (!vmundo_name_is_valid(o->name))
        return error_set(err, VMUNDO_USAGE, "'%.63s' is no domain name", o->name ? o->name : "");
    if (o->lock_fd > 0 && attendant_owns_lock(v, &recorder, o->name, o->lock_fd)) {
        s.lock = o->lock_fd;
        attendant_leave_session(&recorder, o->name);
    } else if (attendant_lock(v, &recorder, o->name, &s.lock, err) < 0) {
        return -1;
    }
    return record(&s, err);
}

/* ---- starting one ---------------------------------------------------------------------------------------------------
 */

bool recorder_is_missing(const struct vmundo *v, const struct record *r)
{
    return r->every_ms && !attendant_is_alive(v, &recorder, r->name);
}

void recorder_spawn(const struct vmundo *v, const struct record *r)
{
    struct vmundo_error e = {0};
    if (!r->running || !r->every_ms || attendant_spawn(v, &recorder, r->name, &e) == 0)
        return;
    AUTO_FREE char *text = str_printf(NULL, "it is not being recorded ('vmundo recover' tries again): %s", e.msg);
    context_report(v, VMUNDO_EVENT_WARNING, r->name, text ? text : e.msg);
}
