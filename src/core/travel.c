/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * travel.c: checkpoints, and going back to the origin or to one of them. As in verbs.c, each command says what is to
 * come out; the engine does the work.
 *
 * A rollback does not throw the branches that it leaves away, where they can be branched again: they become a
 * checkpoint without a label, of which a domain has one at most, so that the rollback can be undone in the same way.
 */
#include "core/instance.h"
#include "core/plan.h"
#include "core/verbs.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <stdlib.h>
#include <time.h>

/* ---- what there is --------------------------------------------------------------------------------------------------
 */

static const struct checkpoint *find_leftover(const struct checkpoints *all)
{
    for (size_t i = 0; i < all->n; i++)
        if (!all->items[i].label)
            return &all->items[i];
    return NULL;
}

static const struct checkpoint *find_nearest(const struct checkpoints *all, int64_t to)
{
    const struct checkpoint *best = NULL;
    for (size_t i = 0; i < all->n; i++) {
        const struct checkpoint *c = &all->items[i];
        if (c->label && (!best || llabs(c->created_ms - to) < llabs(best->created_ms - to)))
            best = c;
    }
    return best;
}

static int no_such(const char *name, const char *label, struct vmundo_error *err)
{
    return error_set(err, VMUNDO_NOT_FOUND, "%s has no checkpoint '%.63s': 'vmundo tree %s' shows those that there are",
                     name, label, name);
}

/* Take the items that go out of all, and put them into op->gone. */
static int give_up(struct operation *op, struct checkpoints *all, const bool *goes, struct vmundo_error *err)
{
    size_t n = 0;
    op->gone.items = calloc(all->n + 1, sizeof(*op->gone.items));
    if (!op->gone.items)
        return error_nomem(err);
    for (size_t i = 0; i < all->n; i++)
        if (goes[i])
            op->gone.items[op->gone.n++] = all->items[i];
        else
            all->items[n++] = all->items[i];
    all->n = n;
    /* What descended from one that goes descends from its parent. */
    for (bool found = true; found && op->after;) {
        const struct checkpoint *base = checkpoints_by_id(&op->gone, op->after->base);
        found = base != NULL;
        if (found)
            op->after->base = base->parent;
    }
    return 0;
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

/* Both generations at once where there is room for both; else the old one goes first, which is slower and leaves a
 * moment with neither. */
static int check_room(struct operation *op, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    if (plan_preflight(op->after, NULL, &e) == 0)
        return 0;
    if (e.code != VMUNDO_REFUSED || plan_preflight(op->after, op->before, NULL) < 0) {
        if (err)
            *err = e;
        return -1;
    }
    op->old_first = true;
    AUTO_FREE char *text =
        str_printf(err, "no room for two branches at once (%s): the old goes before the new is made", e.msg);
    if (!text)
        return -1;
    context_report(op->v, VMUNDO_EVENT_WARNING, op->name, text);
    return 0;
}

/* *ret NULL: the origin. */
static int find_target(const struct operation *op, const struct checkpoints *all,
                       const struct vmundo_rollback_options *o, const struct checkpoint **ret, struct vmundo_error *err)
{
    *ret = NULL;
    if (o->undo && !(*ret = find_leftover(all)))
        return error_set(err, VMUNDO_CONFLICT, "%s: there is no rollback to undo", op->name);
    if (o->checkpoint && !(*ret = checkpoints_find(all, o->checkpoint)))
        return no_such(op->name, o->checkpoint, err);
    if (o->to && !(*ret = find_nearest(all, o->to)))
        return error_set(err, VMUNDO_NOT_FOUND, "%s has no checkpoints", op->name);
    return 0;
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
    a->generation = ++a->counter;
    if (target && checkpoint_apply(target, !o->boot && !o->off, a, err) < 0)
        return -1;
    a->running = run && !o->off;
    if (a->running)
        a->instance++;
    if (plan_name_branches(op->v, a, err) < 0 || (!target && start_from_origin(op->v, op, err) < 0))
        return -1;
    return a->running ? record_plan_ram(op->v->store_id, a, a->instance, err) : 0;
}

/* The old branches become the checkpoint for --undo, and what was that before goes. */
static int leave_behind(struct operation *op, struct checkpoints *all, bool forget, struct vmundo_error *err)
{
    AUTO_FREE bool *goes = calloc(all->n + 1, sizeof(*goes));
    if (!goes)
        return error_nomem(err);
    for (size_t i = 0; i < all->n; i++)
        goes[i] = !all->items[i].label;
    if (!forget && !op->old_first && record_can_branch(op->before) &&
        checkpoint_of_leftover(op->before, &op->made, err) < 0)
        return -1;
    if (give_up(op, all, goes, err) < 0)
        return -1;
    const struct checkpoint *parent = checkpoints_by_id(&op->gone, op->made.parent);
    op->made.parent = parent ? parent->parent : op->made.parent;
    return 0;
}

int vmundo_rollback(struct vmundo *v, const char *name, const struct vmundo_rollback_options *o,
                    struct vmundo_error *err)
{
    static const struct vmundo_rollback_options defaults;
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    AUTO_CHECKPOINTS struct checkpoints all = {0};
    const struct checkpoint *target = NULL;
    o = o ? o : &defaults;
    if (!!o->checkpoint + !!o->to + o->undo > 1)
        return error_set(err, VMUNDO_USAGE, "a checkpoint, a time, and what was left behind exclude each other");
    if (verbs_begin(&op, v, "rollback", name, err) < 0 || verbs_copy_before(&op, err) < 0 ||
        store_checkpoints(v, name, &all, err) < 0 || find_target(&op, &all, o, &target, err) < 0 ||
        aim(&op, target, o, err) < 0 || check_room(&op, err) < 0 || leave_behind(&op, &all, o->forget, err) < 0)
        return -1;
    op.ret_console = o->ret_console;
    if (operation_execute(&op, err) < 0)
        return -1;
    if (o->ret_running)
        *o->ret_running = op.after->running;
    return 0;
}

/* ---- checkpoint -----------------------------------------------------------------------------------------------------
 */

static int check_label(struct vmundo *v, const char *name, const char *label, struct vmundo_error *err)
{
    AUTO_CHECKPOINTS struct checkpoints all = {0};
    if (!label)
        return 0;
    if (!vmundo_name_is_valid(label))
        return error_set(err, VMUNDO_USAGE,
                         "'%.63s' cannot be a label: letters, digits, and . _ + - after the first, 63 "
                         "at most",
                         label);
    if (store_checkpoints(v, name, &all, err) < 0)
        return -1;
    return checkpoints_find(&all, label)
               ? error_set(err, VMUNDO_CONFLICT,
                           "%s has a checkpoint '%s' already: choose another label, or 'vmundo prune "
                           "%s %s' first",
                           name, label, name, label)
               : 0;
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

/* Those branches of r that are not there yet. */
static int preflight_new(const struct record *r, const struct record *before, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (!record_has_branch(before, r->branches[i].path) && storage_preflight(&r->branches[i], err) < 0)
            return error_wrap(err, "%s", r->name);
    return 0;
}

int vmundo_checkpoint(struct vmundo *v, const char *name, const struct vmundo_checkpoint_options *o,
                      struct vmundo_error *err)
{
    static const struct vmundo_checkpoint_options defaults;
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    o = o ? o : &defaults;
    if (verbs_begin(&op, v, "checkpoint", name, err) < 0 || check_label(v, name, o->label, err) < 0 ||
        verbs_copy_before(&op, err) < 0 || checkpoint_plan(v, op.before, o->label, o->ram, &op.made, err) < 0 ||
        checkpoint_move_on(v, &op.made, op.after, err) < 0 || preflight_new(&op.made.record, op.before, err) < 0 ||
        preflight_new(op.after, op.before, err) < 0)
        return -1;
    op.after->counter = op.after->base = op.made.id;
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
    return 0;
}

/* ---- pin, prune
 * ------------------------------------------------------------------------------------------------------ */

int vmundo_pin(struct vmundo *v, const char *name, const char *label, bool pinned, struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    AUTO_CHECKPOINTS struct checkpoints all = {0};
    if (verbs_begin(&op, v, pinned ? "pin" : "unpin", name, err) < 0 || store_checkpoints(v, name, &all, err) < 0)
        return -1;
    const struct checkpoint *c = checkpoints_find(&all, label);
    if (!c)
        return no_such(name, label, err);
    if (v->dry_run || c->pinned == pinned)
        return 0;
    struct checkpoint now = *c;
    now.pinned = pinned;
    return checkpoint_write_mark(v, &now, err) < 0 ? -1 : store_put_checkpoint(v, &now, err);
}

/* Of the checkpoints made in one period (of seconds; 0: each by itself) the newest is kept, for the latest so many
 * periods that have one. */
static void keep_newest(const struct checkpoints *all, unsigned periods, int64_t seconds, bool *goes)
{
    int64_t last = -1;
    for (size_t i = all->n; i > 0 && periods > 0; i--) {
        int64_t period = seconds ? all->items[i - 1].created_ms / 1000 / seconds : (int64_t)i;
        if (period == last)
            continue;
        last = period;
        goes[i - 1] = false;
        periods--;
    }
}

static int choose_labelled(const char *name, const struct checkpoints *all, const char *const *labels, bool *goes,
                           struct vmundo_error *err)
{
    for (; *labels; labels++) {
        const struct checkpoint *c = checkpoints_find(all, *labels);
        if (!c)
            return no_such(name, *labels, err);
        if (c->pinned)
            return error_set(err, VMUNDO_REFUSED, "%s is pinned: 'vmundo unpin %s %s' first", *labels, name, *labels);
        goes[c - all->items] = true;
    }
    return 0;
}

static int choose(const char *name, const struct checkpoints *all, const struct vmundo_prune_options *o, bool *goes,
                  struct vmundo_error *err)
{
    if (o->labels)
        return choose_labelled(name, all, o->labels, goes, err);
    if (!o->last && !o->hourly && !o->daily && !o->weekly)
        return error_set(err, VMUNDO_USAGE, "say which checkpoints to remove, by label or by how many to keep");
    for (size_t i = 0; i < all->n; i++)
        goes[i] = all->items[i].label && !all->items[i].pinned;
    keep_newest(all, o->last, 0, goes);
    keep_newest(all, o->hourly, 3600, goes);
    keep_newest(all, o->daily, 86400, goes);
    keep_newest(all, o->weekly, 7 * 86400, goes);
    return 0;
}

int vmundo_prune(struct vmundo *v, const char *name, const struct vmundo_prune_options *o, unsigned *ret_n,
                 struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    AUTO_CHECKPOINTS struct checkpoints all = {0};
    if (verbs_begin(&op, v, "prune", name, err) < 0 || verbs_copy_before(&op, err) < 0 ||
        store_checkpoints(v, name, &all, err) < 0)
        return -1;
    AUTO_FREE bool *goes = calloc(all.n + 1, sizeof(*goes));
    if (!goes)
        return error_nomem(err);
    if (choose(name, &all, o, goes, err) < 0 || give_up(&op, &all, goes, err) < 0)
        return -1;
    if (ret_n)
        *ret_n = (unsigned)op.gone.n;
    return op.gone.n ? operation_execute(&op, err) : 0;
}

/* ---- the tree
 * -------------------------------------------------------------------------------------------------------- */

void vmundo_tree_free(struct vmundo_tree *t)
{
    for (size_t i = 0; t && i < t->n_nodes; i++) {
        free(t->nodes[i].label);
        free(t->nodes[i].state);
        free(t->nodes[i].consistency);
    }
    if (t) {
        free(t->nodes);
        *t = (struct vmundo_tree){0};
    }
}

static uint64_t bytes_used(const struct record *r)
{
    uint64_t used = 0;
    for (size_t i = 0; i < r->n_branches; i++) {
        CLEANUP(branch_status_clear) struct branch_status s = {0};
        if (storage_inspect(&r->branches[i], &s, NULL) == 0)
            used += s.used;
    }
    return used;
}

static int fill_node(const struct checkpoint *c, struct vmundo_node *n, struct vmundo_error *err)
{
    n->id = c->id;
    n->parent = c->parent;
    n->created = c->created_ms / 1000;
    n->ram = c->saved != NULL;
    n->pinned = c->pinned;
    n->used = bytes_used(&c->record);
    return str_copy(c->label, &n->label, err) < 0 || str_copy(c->consistency, &n->consistency, err) < 0 ||
                   str_copy(c->record.running ? "running" : "off", &n->state, err) < 0
               ? -1
               : 0;
}

int vmundo_tree(struct vmundo *v, const char *name, struct vmundo_tree *ret, struct vmundo_error *err)
{
    CLEANUP(record_clear) struct record r = {0};
    AUTO_CHECKPOINTS struct checkpoints all = {0};
    CLEANUP(vmundo_tree_free) struct vmundo_tree t = {0};
    if (store_get_record(v, name, &r, err) < 0 || store_checkpoints(v, name, &all, err) < 0)
        return -1;
    t.current = r.base;
    t.nodes = calloc(all.n + 1, sizeof(*t.nodes));
    if (!t.nodes)
        return error_nomem(err);
    for (; t.n_nodes < all.n; t.n_nodes++) {
        t.nodes[t.n_nodes].current = all.items[t.n_nodes].id == r.base;
        if (fill_node(&all.items[t.n_nodes], &t.nodes[t.n_nodes], err) < 0) {
            t.n_nodes++;
            return -1;
        }
    }
    *ret = t;
    t = (struct vmundo_tree){0};
    return 0;
}
