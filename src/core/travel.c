/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * travel.c: checkpoints, and going back to the origin or to one of them. As in verbs.c, each command says what is to
 * come out; the engine does the work.
 *
 * A rollback does not throw the branches that it leaves away, where they can be branched again: they become a
 * checkpoint without a label, of which a domain has one at most, so that the rollback can be undone in the same way.
 */
#include "core/instance.h"
#include "core/merge.h"
#include "core/plan.h"
#include "core/reserve.h"
#include "core/verbs.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <stdlib.h>
#include <time.h>

/* ---- what there is --------------------------------------------------------------------------------------------------
 */

/* What --to can go to. */
static bool has_a_time(const struct store_row *row)
{
    return row->label || row->recorded;
}

static const struct store_row *find_nearest(const struct store_rows *rows, int64_t to)
{
    const struct store_row *best = NULL;
    for (size_t i = 0; i < rows->n; i++) {
        const struct store_row *row = &rows->items[i];
        if (has_a_time(row) && (!best || llabs(row->created_ms - to) < llabs(best->created_ms - to)))
            best = row;
    }
    return best;
}

/* As a clock shows it, with the date unless that is today's. */
static void format_time(char *buf, size_t size, int64_t ms)
{
    time_t at = (time_t)(ms / 1000), now = time(NULL);
    struct tm t, today;
    bool known = localtime_r(&at, &t) && localtime_r(&now, &today);
    bool same = known && t.tm_year == today.tm_year && t.tm_yday == today.tm_yday;
    if (!known || !strftime(buf, size, same ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &t))
        snprintf(buf, size, "?");
}

/* A second for clocks that show no smaller ones; and what happened since the newest is on its way to being recorded. */
static int check_range(const struct record *r, const struct store_rows *rows, int64_t to, struct vmundo_error *err)
{
    int64_t oldest = INT64_MAX, newest = INT64_MIN;
    int64_t late = r->every_ms > 1000 ? 2 * (int64_t)r->every_ms : 2000;
    for (size_t i = 0; i < rows->n; i++) {
        const struct store_row *row = &rows->items[i];
        if (!has_a_time(row))
            continue;
        oldest = row->created_ms < oldest ? row->created_ms : oldest;
        newest = row->created_ms > newest ? row->created_ms : newest;
    }
    if (to >= oldest - 1000 && to <= newest + (r->every_ms ? late : 1000))
        return 0;
    char asked[32], from[32], until[32];
    format_time(asked, sizeof(asked), to);
    format_time(from, sizeof(from), oldest);
    format_time(until, sizeof(until), newest);
    return error_set(err, VMUNDO_NOT_FOUND, "nothing of %s is there as of %s: its checkpoints are from %s to %s",
                     r->name, asked, from, until);
}

/* ---- rollback -------------------------------------------------------------------------------------------------------
 */

static bool was_crash_consistent(const struct record *r)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (str_eq(r->branches[i].consistency, "crash"))
            return true;
    return false;
}

/* Would the old branches have stayed, if only there were a little room? Of bounded ones there is never room for two. */
static bool could_be_undone(const struct record *r)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (r->branches[i].limit)
            return false;
    return record_can_branch(r);
}

/* Both generations at once where there is room for both; else the old one goes first, which is slower and leaves a
 * moment with neither: only if nothing goes with it that would have stayed for --undo. */
static int check_room(struct operation *op, bool forget, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    if (plan_preflight(op->after, NULL, &e) == 0)
        return 0;
    if (e.code != VMUNDO_REFUSED || plan_preflight(op->after, op->before, NULL) < 0) {
        if (err)
            *err = e;
        return -1;
    }
    if (!forget && could_be_undone(op->before))
        return error_set(err, e.code, "%s; 'vmundo rollback --forget %s' would remove the old branch first, but then "
                         "there is no way back to it", e.msg, op->name);
    op->old_first = true;
    AUTO_FREE char *text =
        str_printf(err, "no room for two branches at once (%s): the old goes before the new is made", e.msg);
    if (!text)
        return -1;
    context_report(op->v, VMUNDO_EVENT_WARNING, op->name, text);
    return 0;
}

static int find_at(const struct operation *op, int64_t to, uint64_t *ret, struct vmundo_error *err)
{
    CLEANUP(store_rows_clear) struct store_rows rows = {0};
    if (store_rows(op->v, op->name, &rows, err) < 0)
        return -1;
    const struct store_row *row = find_nearest(&rows, to);
    if (!row)
        return error_set(err, VMUNDO_NOT_FOUND, "%s has no checkpoints", op->name);
    if (check_range(op->before, &rows, to, err) < 0)
        return -1;
    *ret = row->id;
    return 0;
}

/* ret->id stays 0: the origin. A fork goes back to what it was when it was forked. */
static int find_target(const struct operation *op, const struct vmundo_rollback_options *o, struct checkpoint *ret,
                       struct vmundo_error *err)
{
    uint64_t id = op->before->home;
    if (o->checkpoint)
        return store_get_checkpoint(op->v, op->name, o->checkpoint, ret, err);
    if (o->to && find_at(op, o->to, &id, err) < 0)
        return -1;
    if (o->undo && store_find_checkpoint(op->v, op->name, NULL, &id, err) < 0)
        return -1;
    if (o->undo && !id)
        return error_set(err, VMUNDO_CONFLICT, "%s: there is no rollback to undo", op->name);
    return id ? store_checkpoint(op->v, op->name, id, ret, err) : 0;
}

static int start_from_origin(const struct vmundo *v, const struct operation *op, struct vmundo_error *err)
{
    struct record *a = op->after;
    a->base = 0;
    for (size_t i = 0; i < a->n_branches; i++) {
        free(a->branches[i].base);
        a->branches[i].base = NULL;
    }
    return plan_check_in_use(v, a, was_crash_consistent(op->before), err);
}

/* op->after: on new branches of target. */
static int aim(struct operation *op, const struct checkpoint *target, const struct vmundo_rollback_options *o,
               struct vmundo_error *err)
{
    struct record *a = op->after;
    bool run = !target || target->record.running || o->boot;
    record_forget_ram(a);
    op->from_reserve = target && run && !o->boot && !o->off && target->saved && target->record.ram &&
                       !target->record.ram_private && reserve_is_ready(op->v, op->before, target->id);
    a->generation = op->from_reserve ? op->before->reserve : ++a->counter;
    record_forget_reserve(a);
    if (target && checkpoint_apply(target, !o->boot && !o->off, a, err) < 0)
        return -1;
    a->running = run && !o->off;
    if (a->running)
        a->instance = op->from_reserve ? op->before->reserve_instance : reserve_next_instance(op->before);
    if (plan_name_branches(op->v, a, err) < 0 || (!target && start_from_origin(op->v, op, err) < 0))
        return -1;
    return a->running && !a->ram_private ? record_plan_ram(op->v->store_id, a, a->instance, err) : 0;
}

/* The old branches become the checkpoint for --undo, and what was that before goes. */
static int leave_behind(struct operation *op, bool forget, struct vmundo_error *err)
{
    CLEANUP(store_rows_clear) struct store_rows rows = {0};
    uint64_t last = 0;
    if (!forget && !op->old_first && record_can_branch(op->before) &&
        checkpoint_of_leftover(op->before, &op->made, err) < 0)
        return -1;
    if (store_find_checkpoint(op->v, op->name, NULL, &last, err) < 0)
        return -1;
    if (!last)
        return 0;
    if (store_rows(op->v, op->name, &rows, err) < 0)
        return -1;
    AUTO_FREE bool *goes = calloc(rows.n + 1, sizeof(*goes));
    if (!goes)
        return error_nomem(err);
    for (size_t i = 0; i < rows.n; i++)
        goes[i] = rows.items[i].id == last;
    return operation_give_up(op, &rows, goes, err);
}

int vmundo_rollback(struct vmundo *v, const char *name, const struct vmundo_rollback_options *o,
                    struct vmundo_error *err)
{
    static const struct vmundo_rollback_options defaults;
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    AUTO_CHECKPOINT struct checkpoint found = {0};
    o = o ? o : &defaults;
    if (!!o->checkpoint + !!o->to + o->undo > 1)
        return error_set(err, VMUNDO_USAGE, "a checkpoint, a time, and what was left behind exclude each other");
    if (verbs_begin(&op, v, "rollback", name, err) < 0 || verbs_copy_before(&op, err) < 0 ||
        find_target(&op, o, &found, err) < 0)
        return -1;
    const struct checkpoint *target = found.id ? &found : NULL;
    if (aim(&op, target, o, err) < 0 || check_room(&op, o->forget, err) < 0 || leave_behind(&op, o->forget, err) < 0)
        return -1;
    op.ret_console = o->ret_console;
    if (operation_execute(&op, err) < 0)
        return -1;
    if (o->ret_running)
        *o->ret_running = op.after->running;
    if (!v->dry_run)
        verbs_keep_reserve(&op);
    if (o->ret_at)
        *o->ret_at = found.created_ms;
    return 0;
}

/* ---- checkpoint -----------------------------------------------------------------------------------------------------
 */

static int check_label(struct vmundo *v, const char *name, const char *label, struct vmundo_error *err)
{
    uint64_t id = 0;
    if (!label)
        return 0;
    if (!vmundo_name_is_valid(label))
        return error_set(err, VMUNDO_USAGE,
                         "'%.63s' cannot be a label: letters, digits, and . _ + - after the first, 63 "
                         "at most",
                         label);
    if (store_find_checkpoint(v, name, label, &id, err) < 0)
        return -1;
    return id ? error_set(err, VMUNDO_CONFLICT,
                          "%s has a checkpoint '%s' already: choose another label, or 'vmundo prune "
                          "%s %s' first",
                          name, label, name, label)
              : 0;
}

/* Those branches of r that are not there yet. */
static int preflight_new(const struct record *r, const struct record *before, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (!record_has_branch(before, r->branches[i].path) && storage_preflight(&r->branches[i], err) < 0)
            return error_wrap(err, "%s", r->name);
    return 0;
}

int verbs_plan_checkpoint(struct operation *op, const char *label, bool recorded, bool ram, struct vmundo_error *err)
{
    if (verbs_copy_before(op, err) < 0 || checkpoint_plan(op->v, op->before, label, ram, &op->made, err) < 0 ||
        checkpoint_move_on(op->v, &op->made, op->after, err) < 0 ||
        preflight_new(&op->made.record, op->before, err) < 0 || preflight_new(op->after, op->before, err) < 0)
        return -1;
    op->made.recorded = recorded;
    if (recorded) {
        free(op->made.label);
        op->made.label = NULL;
    }
    op->after->counter = op->after->base = op->made.id;
    return 0;
}

/* Before anything is done: can there be an agent to talk to? */
static int check_agent(const struct operation *op, struct vmundo_error *err)
{
    const struct hyper_driver *h = hyper_find(op->before->hypervisor);
    if (!op->quiesce.freeze || !op->before->running || (h && h->freeze))
        return 0;
    return error_set(err, VMUNDO_REFUSED,
                     "the hypervisor driver %s cannot talk to an agent in the guest: instead of --quiesce, --before and "
                     "--after can run a command that reaches it", op->before->hypervisor);
}

int vmundo_checkpoint(struct vmundo *v, const char *name, const struct vmundo_checkpoint_options *o,
                      struct vmundo_error *err)
{
    static const struct vmundo_checkpoint_options defaults;
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    o = o ? o : &defaults;
    if (verbs_begin(&op, v, "checkpoint", name, err) < 0 || check_label(v, name, o->label, err) < 0 ||
        verbs_plan_checkpoint(&op, o->label, false, o->ram, err) < 0)
        return -1;
    op.pause_ms = o->pause_ms;
    if (quiesce_parse(o->quiesce, o->before, o->after, o->hook_timeout_ms, &op.quiesce, err) < 0 ||
        check_agent(&op, err) < 0)
        return -1;
    if (o->ret_label)
        snprintf(o->ret_label, VMUNDO_NAME_SIZE, "%s", op.made.label);
    if (operation_execute(&op, err) < 0)
        return -1;
    if (o->ret_paused_us)
        *o->ret_paused_us = op.ret_paused_us;
    if (!v->dry_run && op.made.saved)
        verbs_keep_reserve(&op);
    return 0;
}

/* ---- pin, prune
 * ------------------------------------------------------------------------------------------------------ */

int vmundo_pin(struct vmundo *v, const char *name, const char *label, bool pinned, struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    AUTO_CHECKPOINT struct checkpoint c = {0};
    if (verbs_begin(&op, v, pinned ? "pin" : "unpin", name, err) < 0 ||
        store_get_checkpoint(v, name, label, &c, err) < 0)
        return -1;
    if (v->dry_run || c.pinned == pinned)
        return 0;
    c.pinned = pinned;
    return checkpoint_write_mark(v, &c, true, err) < 0 ? -1 : store_put_checkpoint(v, &c, err);
}

/* Of the checkpoints made in one period (of seconds; 0: each by itself) the newest is kept, for the latest so many
 * periods that have one. */
static void keep_newest(const struct store_rows *all, unsigned periods, int64_t seconds, bool *goes)
{
    int64_t last = -1;
    for (size_t i = all->n; i > 0 && periods > 0; i--) {
        if (!all->items[i - 1].label)
            continue;
        int64_t period = seconds ? all->items[i - 1].created_ms / 1000 / seconds : (int64_t)i;
        if (period == last)
            continue;
        last = period;
        goes[i - 1] = false;
        periods--;
    }
}

static int choose_labelled(const struct record *r, const struct store_rows *all, const char *const *labels, bool *goes,
                           struct vmundo_error *err)
{
    const char *name = r->name;
    for (; *labels; labels++) {
        size_t i = 0;
        while (i < all->n && !(all->items[i].label && str_eq(all->items[i].label, *labels)))
            i++;
        if (i == all->n)
            return store_no_checkpoint(name, *labels, err);
        if (all->items[i].pinned)
            return error_set(err, VMUNDO_REFUSED, "%s is pinned: 'vmundo unpin %s %s' first", *labels, name, *labels);
        if (all->items[i].id == r->home)
            return error_set(err, VMUNDO_REFUSED, "%s is where %s was forked: 'vmundo rollback %s' goes back to it",
                             *labels, name, name);
        goes[i] = true;
    }
    return 0;
}

static int choose(const struct record *r, const struct store_rows *all, const struct vmundo_prune_options *o,
                  bool *goes, struct vmundo_error *err)
{
    for (size_t i = 0; i < all->n; i++)
        goes[i] = o->recorded && all->items[i].recorded;
    if (o->labels)
        return choose_labelled(r, all, o->labels, goes, err);
    if (!o->last && !o->hourly && !o->daily && !o->weekly && o->recorded)
        return 0;
    if (!o->last && !o->hourly && !o->daily && !o->weekly)
        return error_set(err, VMUNDO_USAGE, "say which checkpoints to remove, by label or by how many to keep");
    for (size_t i = 0; i < all->n; i++)
        goes[i] = goes[i] || (all->items[i].label && !all->items[i].pinned && all->items[i].id != r->home);
    keep_newest(all, o->last, 0, goes);
    keep_newest(all, o->hourly, 3600, goes);
    keep_newest(all, o->daily, 86400, goes);
    keep_newest(all, o->weekly, 7 * 86400, goes);
    return 0;
}

/* Of branches that rest on one another, while the guest runs. A recorder does it by itself. What was removed is
 * removed, whatever becomes of it. */
static int merge_what_is_left(struct operation *op, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    if (op->v->dry_run || !op->after->running || op->after->every_ms || !merge_is_needed(op->after))
        return 0;
    lock_release(&op->lock);
    if (merge_all(op->v, op->name, NULL, NULL, &e) == 0 || e.code == VMUNDO_CONFLICT)
        return 0;
    if (!op->gone.n)
        return error_set(err, e.code, "%s", e.msg);
    context_report(op->v, VMUNDO_EVENT_WARNING, op->name, e.msg);
    return 0;
}

int vmundo_prune(struct vmundo *v, const char *name, const struct vmundo_prune_options *o, unsigned *ret_n,
                 struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    CLEANUP(store_rows_clear) struct store_rows all = {0};
    if (verbs_begin(&op, v, "prune", name, err) < 0 || verbs_copy_before(&op, err) < 0 ||
        store_rows(v, name, &all, err) < 0)
        return -1;
    AUTO_FREE bool *goes = calloc(all.n + 1, sizeof(*goes));
    if (!goes)
        return error_nomem(err);
    if (choose(op.before, &all, o, goes, err) < 0 || operation_give_up(&op, &all, goes, err) < 0)
        return -1;
    if (ret_n)
        *ret_n = (unsigned)op.gone.n;
    if (op.gone.n && operation_execute(&op, err) < 0)
        return -1;
    if (!v->dry_run && op.before->reserve && !op.after->reserve)
        verbs_keep_reserve(&op);
    return merge_what_is_left(&op, err);
}
