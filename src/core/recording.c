/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recording.c: a recorded checkpoint is an operation like any other: in one, a checkpoint is made, and those go whose
 * time has come, which is looked at every few seconds. From the top: which ones go, by time; how much space they hold;
 * whether there is room for more; the operation; and the command that says that a domain is to be recorded.
 */
#include "core/recorder.h"

#include "core/instance.h"
#include "core/merge.h"
#include "core/snapshot.h"
#include "core/verbs.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <inttypes.h>
#include <math.h>
#include <sys/statvfs.h>

#define EVERY_MS 1000
#define KEEP_MS 600000
#define SHORTEST_MS 100
#define THIN_MS 10000 /* how often old ones are looked for, */
#define THIN_AT 16    /* or when so many are to go, */
#define SPACE_MS 2000 /* or, where their space is bounded, how often that is looked at */
#define PAUSE_MS 3000 /* the longest pause of a guest for one */
#define FULL 0.85     /* of a thin pool: the guard wants to be left room */
/* Where they rest on one another reading goes through all of them: when there are more recorded ones than MANY, FEW
 * stay. */
#define FEW 16
#define MANY 24
#define DEPTH_ROOM 3 /* left for a checkpoint that the user makes */

void recording_clear(struct recording *k)
{
    free(k->sizes);
    free(k->why_not);
    *k = (struct recording){0};
}

/* ---- by time --------------------------------------------------------------------------------------------------------
 */

size_t recording_thin(const struct store_rows *rows, int64_t now_ms, uint64_t keep_ms, bool *goes)
{
    static const struct {
        int64_t after_ms, each_ms;
    } steps[] = {{600000, 60000}, {60000, 10000}};
    int64_t last[ARRAY_SIZE(steps)] = {-1, -1};
    size_t n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        const struct store_row *row = &rows->items[i];
        int64_t age = now_ms - row->created_ms;
        if (!row->recorded)
            continue;
        goes[i] = age > 0 && (uint64_t)age > keep_ms;
        for (size_t s = 0; s < ARRAY_SIZE(steps) && !goes[i]; s++) {
            if (age <= steps[s].after_ms)
                continue;
            goes[i] = row->created_ms / steps[s].each_ms == last[s];
            last[s] = row->created_ms / steps[s].each_ms;
            break;
        }
        n += goes[i];
    }
    return n;
}

/* How much would be lost with it: the time between its neighbours, by its age. The first and the last are not to be
 * lost. */
static double worth(const struct store_rows *rows, const bool *goes, size_t i, int64_t now_ms)
{
    size_t before = i, after = i + 1;
    while (before > 0 && (!rows->items[before - 1].recorded || goes[before - 1]))
        before--;
    while (after < rows->n && (!rows->items[after].recorded || goes[after]))
        after++;
    if (before == 0 || after == rows->n)
        return INFINITY;
    int64_t age = now_ms - rows->items[i].created_ms;
    return (double)(rows->items[after].created_ms - rows->items[before - 1].created_ms) / (double)(age > 0 ? age : 1);
}

size_t recording_spread(const struct store_rows *rows, int64_t now_ms, size_t stay, bool *goes)
{
    size_t left = 0, n = 0;
    for (size_t i = 0; i < rows->n; i++)
        left += rows->items[i].recorded && !goes[i];
    for (; left > stay && left > 2; left--, n++) {
        size_t least = rows->n;
        for (size_t i = 0; i < rows->n; i++)
            if (rows->items[i].recorded && !goes[i] &&
                (least == rows->n || worth(rows, goes, i, now_ms) < worth(rows, goes, least, now_ms)))
                least = i;
        goes[least] = true;
    }
    return n;
}

/* The oldest ones that stay so far. */
static size_t give_up_oldest(const struct store_rows *rows, size_t wanted, bool *goes)
{
    size_t n = 0;
    for (size_t i = 0; i < rows->n && n < wanted; i++)
        if (rows->items[i].recorded && !goes[i]) {
            goes[i] = true;
            n++;
        }
    return n;
}

/* ---- by space -------------------------------------------------------------------------------------------------------
 */

static int add_changes(const struct branch *b, const struct branch *since, const char *inside, uint64_t *sum,
                       struct vmundo_error *err)
{
    AUTO_RANGES struct ranges r = {0};
    if (storage_changes(b, since, inside, &r, err) < 0)
        return -1;
    for (size_t i = 0; i < r.n; i++)
        *sum += r.list[i].length;
    return 0;
}

/* Of what the next one has otherwise, that which stands in the overlay itself: the rest is the origin's, or another
 * overlay's. And what an overlay takes up besides. */
static int cap_by_overlay(const struct branch *b, uint64_t *bytes, struct vmundo_error *err)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    if (!(b->driver->flags & STORAGE_ON_BRANCH))
        return 0;
    if (storage_inspect(b, &s, err) < 0)
        return -1;
    *bytes = *bytes + s.overhead < s.used ? *bytes + s.overhead : s.used;
    return 0;
}

/* A RAM file is of the same kind as the branch beside which it lies. */
static int add_ram_changes(const struct record *a, const struct record *b, uint64_t *sum, struct vmundo_error *err)
{
    for (size_t i = 0; a->ram && b->ram && i < a->n_branches; i++)
        if (a->branches[i].driver->flags & STORAGE_SHARES_BLOCKS) {
            struct branch ram = a->branches[i], since = a->branches[i];
            ram.path = a->ram;
            since.path = b->ram;
            return add_changes(&ram, &since, NULL, sum, err);
        }
    return 0;
}

/* What of a the next one, b, has otherwise. A block that was overwritten is missing in the next one for exactly one
 * checkpoint, the last that has it; so, together, this is what would be free if none of them were there. */
static int held_by(const struct record *a, const struct record *b, uint64_t *ret, struct vmundo_error *err)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < a->n_disks && i < b->n_disks; i++) {
        int64_t at = a->disks[i].branch, next = b->disks[i].branch;
        uint64_t bytes = 0;
        if (at >= 0 && next >= 0 &&
            (add_changes(&a->branches[at], &b->branches[next], a->disks[i].inside, &bytes, err) < 0 ||
             cap_by_overlay(&a->branches[at], &bytes, err) < 0))
            return -1;
        sum += bytes;
    }
    if (add_ram_changes(a, b, &sum, err) < 0)
        return -1;
    *ret = sum;
    return 0;
}

static const struct recording_size *find_size(const struct recording *k, uint64_t id, uint64_t next)
{
    for (size_t i = 0; i < k->n_sizes; i++)
        if (k->sizes[i].id == id && k->sizes[i].next == next)
            return &k->sizes[i];
    return NULL;
}

/* next NULL: what the domain runs on, which changes. */
static int size_of(const struct recording *k, const struct operation *op, const struct store_row *row,
                   const struct store_row *next, struct recording_size *ret, struct vmundo_error *err)
{
    AUTO_CHECKPOINT struct checkpoint a = {0}, b = {0};
    const struct recording_size *known = next ? find_size(k, row->id, next->id) : NULL;
    *ret = (struct recording_size){row->id, next ? next->id : 0, known ? known->bytes : 0};
    if (known)
        return 0;
    if (store_checkpoint(op->v, op->name, row->id, &a, err) < 0 ||
        (next && store_checkpoint(op->v, op->name, next->id, &b, err) < 0))
        return -1;
    return held_by(&a.record, next ? &b.record : op->before, &ret->bytes, err);
}

/* The oldest go until the others hold no more than that many bytes. Adds to *count. */
static int fit(struct recording *k, const struct operation *op, const struct store_rows *rows, uint64_t bytes,
               bool *goes, size_t *count, struct vmundo_error *err)
{
    AUTO_FREE struct recording_size *sizes = calloc(rows->n + 1, sizeof(*sizes));
    const struct store_row *next = NULL;
    uint64_t sum = 0;
    size_t n = 0;
    if (!sizes)
        return error_nomem(err);
    for (size_t i = rows->n; i > 0; i--) {
        const struct store_row *row = &rows->items[i - 1];
        if (!row->recorded || goes[i - 1])
            continue;
        if (size_of(k, op, row, next, &sizes[n], err) < 0)
            return -1;
        sum += sizes[n++].bytes;
        next = row;
    }
    for (size_t last = n; last > 0 && sum > bytes; last--) {
        *count += give_up_oldest(rows, 1, goes);
        sum -= sizes[last - 1].bytes;
    }
    free(k->sizes);
    k->sizes = TAKE(sizes);
    k->n_sizes = n;
    return 0;
}

/* ---- room -----------------------------------------------------------------------------------------------------------
 */

static unsigned depth_of(const struct branch *b)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    return (b->driver->flags & STORAGE_ON_BRANCH) && storage_inspect(b, &s, NULL) == 0 ? s.depth : 0;
}

/* Can no more than so many be added? */
static bool is_deep(const struct record *r, unsigned room)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (depth_of(&r->branches[i]) + room >= STORAGE_MAX_DEPTH)
            return true;
    return false;
}

/* NULL: enough. A guest whose RAM file finds no room is lost, and after a checkpoint all of it may be written anew. */
static char *why_no_room_for(const struct branch *b, uint64_t ram, bool paused, struct vmundo_error *err)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    AUTO_FREE char *dir = str_printf(err, "%s", b->path);
    struct statvfs fs;
    if (b->driver->extend)
        return storage_glance(b, &s, NULL) == 0 && s.bound && s.fill > FULL
                   ? str_printf(err, "%s of %s is %.0f%% full", s.bound, b->path, s.fill * 100)
                   : NULL;
    unsigned depth = depth_of(b);
    if (depth + DEPTH_ROOM >= STORAGE_MAX_DEPTH)
        return str_printf(err, "%s rests on %u others, one on the other: 'vmundo prune' makes them fewer", b->path,
                          depth);
    char *slash = dir ? strrchr(dir, '/') : NULL;
    if (!slash)
        return NULL;
    *slash = '\0';
    if (statvfs(dir, &fs) < 0)
        return NULL;
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize, need = (uint64_t)fs.f_blocks * fs.f_frsize / 20 + ram;
    need += paused ? need / 8 : 0; /* not for every little that comes and goes */
    return room < need ? str_printf(err, "%s has %" PRIu64 " MiB free, and more checkpoints need %" PRIu64 " MiB", dir,
                                    room >> 20, need >> 20)
                       : NULL;
}

static char *why_no_room(const struct record *r, bool with_ram, bool paused, struct vmundo_error *err)
{
    struct stat st;
    uint64_t ram = with_ram && stat(r->ram, &st) == 0 ? (uint64_t)st.st_size : 0;
    char *why = NULL;
    for (size_t i = 0; i < r->n_branches && !why; i++)
        why = why_no_room_for(&r->branches[i], ram, paused, err);
    return why;
}

/* ---- the operation --------------------------------------------------------------------------------------------------
 */

static int is_running(const struct operation *op, bool *ret, bool *ret_off, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    if (instance_open(op->v, op->before, &c, err) < 0 || hyper_glance(&c.i, &s, err) < 0)
        return -1;
    *ret = s.power == HYPER_RUNNING;
    *ret_off = s.power == HYPER_OFF;
    return 0;
}

/* goes: those that have to go. */
static int choose(struct recording *k, const struct operation *op, const struct record *as,
                  const struct store_rows *rows, bool *goes, struct vmundo_error *err)
{
    uint64_t now = sys_monotonic_ms();
    size_t n = recording_thin(rows, sys_realtime_ms(), as->keep_ms, goes);
    size_t recorded = 0;
    for (size_t i = 0; i < rows->n; i++)
        recorded += rows->items[i].recorded;
    bool crowded = recorded > MANY && merge_is_needed(op->before);
    uint64_t wait = as->keep_bytes ? SPACE_MS : THIN_MS;
    bool due = !k->thinned_ms || now - k->thinned_ms >= wait || n >= THIN_AT || crowded;
    if (crowded)
        n += recording_spread(rows, sys_realtime_ms(), FEW, goes);
    if (due && as->keep_bytes && fit(k, op, rows, as->keep_bytes, goes, &n, err) < 0)
        return -1;
    if (due)
        k->thinned_ms = now;
    else
        memset(goes, 0, rows->n * sizeof(*goes));
    return 0;
}

/* Where there is no room, a quarter of them go instead of a new one being made; and if there is none, k->why_not stays.
 */
static void make_room(struct recording *k, const struct store_rows *rows, char *why, bool *goes)
{
    size_t recorded = 0;
    for (size_t i = 0; i < rows->n; i++)
        recorded += rows->items[i].recorded && !goes[i];
    if (give_up_oldest(rows, recorded / 4 + 1, goes))
        free(why);
    else
        k->why_not = why;
}

static bool any(const bool *goes, size_t n)
{
    return memchr(goes, true, n) != NULL;
}

static int has_ram(const struct record *r, const struct record *as, bool *ret, struct vmundo_error *err)
{
    *ret = false;
    return as->disks_only ? 0 : instance_has_ram(r, ret, err);
}

static int take(struct recording *k, struct operation *op, const struct record *as, struct vmundo_error *err)
{
    CLEANUP(store_rows_clear) struct store_rows rows = {0};
    bool with_ram = false;
    struct vmundo_error e = {0};
    if (has_ram(op->before, as, &with_ram, err) < 0 || store_rows(op->v, op->name, &rows, err) < 0)
        return -1;
    AUTO_FREE bool *goes = calloc(rows.n + 1, sizeof(*goes));
    if (!goes)
        return error_nomem(err);
    if (choose(k, op, as, &rows, goes, err) < 0)
        return -1;
    char *why = why_no_room(op->before, with_ram, k->waits, &e);
    bool room = why == NULL, waited = k->waits;
    k->waits = !room;
    k->crowded = is_deep(op->before, 2 * DEPTH_ROOM);
    op->pause_ms = PAUSE_MS;
    if (waited && is_deep(op->before, DEPTH_ROOM)) /* some have gone, but cannot be merged: more would go for nothing */
        k->why_not = why;
    else if (!room)
        make_room(k, &rows, why, goes);
    if (k->why_not && !any(goes, rows.n))
        return 0;
    if ((room ? verbs_plan_checkpoint(op, NULL, true, with_ram, err) : verbs_copy_before(op, err)) < 0 ||
        operation_give_up(op, &rows, goes, err) < 0 || operation_execute(op, err) < 0)
        return -1;
    k->paused_us = op->ret_paused_us;
    k->made = room;
    k->cleared = !room;
    return 0;
}

/* It takes the longest, and whoever wants to work on the domain meanwhile need not wait for it. */
static void flush_before(struct vmundo *v, const char *name, const struct record *as)
{
    CLEANUP(record_clear) struct record r = {0};
    bool ram = false;
    if (!v->dry_run && store_get_record(v, name, &r, NULL) == 0 && r.running && has_ram(&r, as ? as : &r, &ram, NULL) == 0)
        snapshot_flush(&r, ram);
}

int recording_take(struct recording *k, struct vmundo *v, const char *name, const struct record *as,
                   struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    bool running = false;
    k->made = k->cleared = false;
    k->paused_us = 0;
    free(k->why_not);
    k->why_not = NULL;
    flush_before(v, name, as);
    if (verbs_begin(&op, v, STORE_RECORDING, name, err) < 0)
        return -1;
    as = as ? as : op.before;
    k->instance = op.before->instance;
    k->off = !op.before->running || !as->every_ms;
    if (k->off)
        return 0;
    if (is_running(&op, &running, &k->off, err) < 0)
        return -1;
    return running ? take(k, &op, as, err) : 0;
}

/* ---- vmundo record --------------------------------------------------------------------------------------------------
 */

/* What is asked for, into r; what is not stays as it is, or is the default. */
static int apply(const struct vmundo_record_options *o, struct record *r, struct vmundo_error *err)
{
    uint64_t every = o->every_ms ? o->every_ms : r->every_ms ? r->every_ms : EVERY_MS;
    if (every < SHORTEST_MS)
        return error_set(err, VMUNDO_USAGE,
                         "a checkpoint every %" PRIu64 " ms is too often: %d ms is the shortest time", every,
                         SHORTEST_MS);
    r->every_ms = every;
    r->keep_ms = o->keep_ms ? o->keep_ms : r->keep_ms ? r->keep_ms : KEEP_MS;
    r->keep_bytes = o->space ? o->space : r->keep_bytes;
    r->disks_only = o->no_ram || (r->disks_only && !o->with_ram);
    if (r->keep_ms < r->every_ms)
        return error_set(err, VMUNDO_USAGE,
                         "checkpoints that are kept for less than the time between two make no sense");
    return 0;
}

static int check(const struct vmundo *v, const struct record *r, struct vmundo_error *err)
{
    AUTO_CHECKPOINT struct checkpoint c = {0};
    for (size_t i = 0; i < r->n_branches; i++)
        if (!(r->branches[i].driver->flags & STORAGE_FROM_BRANCH) &&
            !((r->branches[i].driver->flags & STORAGE_ON_BRANCH) && merge_is_possible(r)))
            return error_set(err, VMUNDO_REFUSED,
                             "%s is on a branch of driver %s, which with the hypervisor %s cannot be copied again and "
                             "again: with its disks "
                             "on XFS or btrfs, or on thin volumes, it can be recorded",
                             r->name, r->branches[i].driver->name, r->hypervisor);
    for (size_t i = 0; r->keep_bytes && i < r->n_branches; i++)
        if (!r->branches[i].driver->changes)
            return error_set(err, VMUNDO_REFUSED,
                             "how much space a checkpoint takes up cannot be told with driver %s: leave "
                             "out --space",
                             r->branches[i].driver->name);
    return checkpoint_plan(v, r, NULL, false, &c, err);
}

/* Only where its RAM is a file that can be cloned. */
static int check_ram(const struct record *r, const struct vmundo_record_options *o, struct vmundo_error *err)
{
    if (!o->with_ram || r->ram || !merge_is_needed(r))
        return 0;
    return error_set(
        err, VMUNDO_REFUSED,
        "%s can be recorded without its RAM only: with RAM it would be paused every time until all of that is "
        "written; with its disks on XFS or btrfs it would not",
        r->name);
}

static int record_once(struct vmundo *v, const char *name, const struct vmundo_record_options *o,
                       struct vmundo_error *err)
{
    CLEANUP(recording_clear) struct recording k = {0};
    CLEANUP(record_clear) struct record r = {0};
    if (store_get_record(v, name, &r, err) < 0 || apply(o, &r, err) < 0 || check_ram(&r, o, err) < 0 ||
        check(v, &r, err) < 0)
        return -1;
    do {
        if (recording_take(&k, v, name, &r, err) < 0)
            return -1;
        if (k.cleared && !v->dry_run && merge_is_needed(&r))
            (void)merge_all(v, name, NULL, NULL, NULL); /* the next round tells */
    } while (k.cleared && !v->dry_run);
    if (k.off)
        return error_set(err, VMUNDO_CONFLICT, "%s is off: there is nothing to record", name);
    if (k.why_not)
        return error_set(err, VMUNDO_REFUSED, "%s", k.why_not);
    return k.made || v->dry_run ? 0 : error_set(err, VMUNDO_CONFLICT, "%s is paused: nothing happens in it", name);
}

static void report(const struct operation *op)
{
    char text[160];
    const struct record *a = op->after;
    if (!a->every_ms)
        snprintf(text, sizeof(text), "record %s no longer", op->name);
    else
        snprintf(text, sizeof(text), "record %s every %g s%s, and keep that for %g min", op->name,
                 (double)a->every_ms / 1e3, a->disks_only || (!a->ram && merge_is_needed(a)) ? ", without its RAM" : "",
                 (double)a->keep_ms / 6e4);
    context_report(op->v, VMUNDO_EVENT_ACTION, op->name, text);
}

int vmundo_record(struct vmundo *v, const char *name, const struct vmundo_record_options *o, struct vmundo_error *err)
{
    static const struct vmundo_record_options defaults;
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    o = o ? o : &defaults;
    if (o->once)
        return record_once(v, name, o, err);
    if (verbs_begin(&op, v, "record", name, err) < 0 || verbs_copy_before(&op, err) < 0)
        return -1;
    if (o->stop && !op.before->every_ms)
        return error_set(err, VMUNDO_CONFLICT, "%s is not being recorded", name);
    if (o->stop)
        op.after->every_ms = 0;
    else if (apply(o, op.after, err) < 0 || check_ram(op.after, o, err) < 0 || check(v, op.after, err) < 0)
        return -1;
    report(&op);
    if (operation_execute(&op, err) < 0)
        return -1;
    if (v->dry_run)
        return 0;
    recorder_spawn(v, op.after);
    if (op.after->keep_reserve) /* another kind of one */
        verbs_keep_reserve(&op);
    return 0;
}
