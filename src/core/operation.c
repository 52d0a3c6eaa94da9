/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * operation.c: the engine; operation.h explains it. In chronological order: begin, the list of actions, PREPARE,
 * SWITCH, COMMIT, CLEAN, and then the two ways that lead out of an interrupted operation.
 */
#include "core/operation.h"

#include "core/guard.h"
#include "core/instance.h"
#include "core/keep.h"
#include "core/merge.h"
#include "core/plan.h"
#include "core/recorder.h"
#include "core/reserve.h"
#include "core/snapshot.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/sys.h"

#include <fcntl.h>
#include <stdarg.h>

const char *stage_name(enum stage s)
{
    static const char *const names[] = {"PLAN",   "PREPARE", "QUIESCE", "PAUSE",  "SNAPSHOT",
                                        "RESUME", "THAW",    "SWITCH",  "COMMIT", "CLEAN"};
    return (size_t)s < ARRAY_SIZE(names) ? names[s] : "?";
}

static void free_record(struct record *r)
{
    if (r)
        record_clear(r);
    free(r);
}

void operation_clear(struct operation *op)
{
    free_record(op->before);
    free_record(op->after);
    checkpoint_clear(&op->made);
    checkpoints_clear(&op->gone);
    free(op->to);
    free(op->moved);
    op->moved = NULL;
    store_operation_clear(&op->journal);
    quiesce_wish_clear(&op->quiesce);
    lock_release(&op->lock);
}

/* ---- what an operation is made of, read off its two records ---------------------------------------------------------
 */

/* The instance that only after has: it is to be started. */
static const struct record *starting(const struct operation *op)
{
    const struct record *b = op->before, *a = op->after;
    return a && a->running && !(b && b->running && b->instance == a->instance) ? a : NULL;
}

/* The instance that only before has: it is to be ended (it may have ended by itself), and its directory to go. */
static const struct record *ending(const struct operation *op)
{
    const struct record *b = op->before, *a = op->after;
    return b && b->instance && !(a && a->running && b->running && b->instance == a->instance) ? b : NULL;
}

/* Branch i of one record that the other does not have. */
static bool only_in(const struct record *one, size_t i, const struct record *other)
{
    return !record_has_branch(other, one->branches[i].path);
}

/* Does a checkpoint that stays have before's branch i? */
static bool is_left_behind(const struct operation *op, size_t i)
{
    return op->made.id && record_has_branch(&op->made.record, op->before->branches[i].path);
}

/* The checkpoint that comes into being is a copy, not what a rollback leaves behind. */
static bool takes_snapshot(const struct operation *op)
{
    return op->made.id && (op->made.label || op->made.recorded);
}

/* Of the branches that after has and before has not. Those on which a domain goes on after a checkpoint bear its id. */
static struct mark mark_of(const struct operation *op)
{
    bool goes_on = takes_snapshot(op) && op->before && !op->from;
    return (struct mark){.store = op->v->store_id,
                         .domain = op->after->name,
                         .generation = goes_on ? op->made.id : op->after->generation};
}

/* ---- PLAN -----------------------------------------------------------------------------------------------------------
 */

static int load_record(const char *text, struct record **ret, struct vmundo_error *err)
{
    if (!text) {
        *ret = NULL;
        return 0;
    }
    struct record *r = calloc(1, sizeof(*r));
    if (!r)
        return error_nomem(err);
    if (record_from_text(text, r, err) < 0) {
        free(r);
        return -1;
    }
    *ret = r;
    return 0;
}

/* An earlier operation was cut off: finish or undo it before anything else is done to the domain. */
static int recover_earlier(struct vmundo *v, const char *name, struct vmundo_error *err)
{
    CLEANUP(store_operation_clear) struct store_operation entry = {0};
    if (store_unfinished(v, name, 0, &entry, err) < 0)
        return -1;
    if (entry.id == 0)
        return 0;
    if (v->dry_run)
        return error_set(err, VMUNDO_INTERRUPTED, "%s: an earlier '%s' was cut off: 'vmundo recover' first", name,
                         entry.verb);
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    context_report(v, VMUNDO_EVENT_WARNING, name, "an earlier operation was cut off: recovering first");
    return operation_load(&op, v, &entry, err) < 0 ? -1 : operation_recover(&op, err);
}

static bool makes_room(const char *verb)
{
    static const char *const verbs[] = {"drop", "rollback", "prune", "stop", "keep"};
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (str_eq(verb, verbs[i]))
            return true;
    return false;
}

int operation_begin(struct operation *op, struct vmundo *v, const char *verb, const char *name,
                    struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    op->v = v;
    op->verb = verb;
    op->name = name;
    if (domain_name_check(name, err) < 0) {
        if (err)
            err->code = VMUNDO_USAGE;
        return -1;
    }
    error_clear(err);
    if (makes_room(verb))
        context_give_room(v);
    if (!v->dry_run && lock_domain(v, name, verb, &op->lock, err) < 0)
        return -1;
    if (!v->dry_run)
        merge_give_up(v, name);
    if (recover_earlier(v, name, err) < 0 || store_get(v, name, &text, err) < 0)
        return -1;
    return load_record(text, &op->before, err) < 0 ? error_wrap(err, "%s", name) : 0;
}

static int compare_row(const void *key, const void *row)
{
    uint64_t id = *(const uint64_t *)key, other = ((const struct store_row *)row)->id;
    return id < other ? -1 : id > other;
}

/* The nearest one on the way to the origin that stays, or 0. */
static uint64_t staying(const struct store_rows *rows, const bool *goes, uint64_t id)
{
    while (rows->n) {
        const struct store_row *row = bsearch(&id, rows->items, rows->n, sizeof(*rows->items), compare_row);
        if (!row || !goes[row - rows->items])
            return id;
        id = row->parent;
    }
    return id;
}

int operation_give_up(struct operation *op, const struct store_rows *rows, const bool *goes, struct vmundo_error *err)
{
    op->gone.items = calloc(rows->n + 1, sizeof(*op->gone.items));
    op->moved = calloc(rows->n + 1, sizeof(*op->moved));
    if (!op->gone.items || !op->moved)
        return error_nomem(err);
    for (size_t i = 0; i < rows->n; i++) {
        const struct store_row *row = &rows->items[i];
        uint64_t parent = staying(rows, goes, row->parent);
        if (goes[i] && store_checkpoint(op->v, op->name, row->id, &op->gone.items[op->gone.n], err) < 0)
            return -1;
        op->gone.n += goes[i];
        if (goes[i] && op->after && op->after->reserve_at == row->id)
            record_forget_reserve(op->after);
        if (!goes[i] && parent != row->parent)
            op->moved[op->n_moved++] = (struct store_move){row->id, parent};
    }
    op->made.parent = staying(rows, goes, op->made.parent);
    if (op->after)
        op->after->base = staying(rows, goes, op->after->base);
    return 0;
}

PRINTF_LIKE(2, 3) static void action(const struct operation *op, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    context_report(op->v, VMUNDO_EVENT_ACTION, op->name, text);
}

/* The operation as a list of actions, in the order in which they will happen. */
static void report_actions(const struct operation *op)
{
    const struct record *b = op->before, *a = op->after;
    if (op->old_first)
        action(op, "remove the branches of %s before the new ones are made: there is no room for both", op->name);
    for (size_t i = 0; a && i < a->n_branches; i++)
        if (only_in(a, i, b))
            action(op, "make the %s branch %s of %s", a->branches[i].driver->name, a->branches[i].path,
                   a->branches[i].origin);
    if (op->quiesce.before.n && b->running)
        action(op, "run %s", op->quiesce.before.items[0]);
    if (op->quiesce.freeze && b->running)
        action(op, "have the agent in %s freeze its file systems", op->name);
    if (takes_snapshot(op))
        action(op, "make the checkpoint %s of %s%s", op->made.label ? op->made.label : "(recorded)", op->name,
               op->made.saved ? ", with its RAM" : "");
    if (op->quiesce.freeze && b->running)
        action(op, "have them thawed");
    if (op->quiesce.after.n && b->running)
        action(op, "run %s", op->quiesce.after.items[0]);
    if (ending(op) && b->running)
        action(op, op->shut_down ? "shut down %s" : "power off %s", op->name);
    if (starting(op))
        action(op, "start %s with %s", op->name, a->hypervisor);
    if (reserve_is_only_in(a, b))
        action(op, "keep an instance of %s in reserve", op->name);
    if (op->to)
        action(op, "make images of its disks in %s", op->to);
    for (size_t i = 0; op->keep && i < b->n_branches; i++)
        action(op, "make the changes in %s permanent in %s", b->branches[i].path, b->branches[i].origin);
    for (size_t i = 0; b && i < b->n_branches; i++)
        if (only_in(b, i, a))
            action(op, !is_left_behind(op, i) ? "remove the branch %s"
                       : op->made.label       ? "leave the branch %s to the checkpoint"
                                              : "leave the branch %s for --undo",
                   b->branches[i].path);
    for (size_t i = 0; i < op->gone.n; i++)
        action(op, "remove the checkpoint %s", checkpoint_name(&op->gone.items[i]));
    if (!a)
        action(op, "forget %s", op->name);
}

/* ---- PREPARE --------------------------------------------------------------------------------------------------------
 */

/* What the records do not say. */
static int save_options(const struct operation *op, char **ret, struct vmundo_error *err)
{
    json_t *gone = json_array(), *moved = json_array();
    AUTO_JSON json_t *o = json_pack("{sb sb so so ss*}", "keep", op->keep, "old_first", op->old_first, "gone", gone, "moved",
                                    moved, "to", op->to);
    AUTO_FREE char *made = NULL;
    if (!o)
        return error_nomem(err);
    if (op->made.id && checkpoint_to_text(&op->made, &made, err) < 0)
        return -1;
    if (made && json_object_set_new(o, "made", json_string(made)) < 0)
        return error_nomem(err);
    for (size_t i = 0; i < op->gone.n; i++) {
        AUTO_FREE char *text = NULL;
        if (checkpoint_to_text(&op->gone.items[i], &text, err) < 0)
            return -1;
        if (json_array_append_new(gone, json_string(text)) < 0)
            return error_nomem(err);
    }
    for (size_t i = 0; i < op->n_moved; i++)
        if (json_array_append_new(moved,
                                  json_pack("[II]", (json_int_t)op->moved[i].id, (json_int_t)op->moved[i].parent)) < 0)
            return error_nomem(err);
    char *text = json_text(o, err);
    if (!text)
        return -1;
    *ret = text;
    return 0;
}

static int load_gone(const json_t *array, struct checkpoints *ret, struct vmundo_error *err)
{
    ret->items = calloc(json_array_size(array) + 1, sizeof(*ret->items));
    if (!ret->items)
        return error_nomem(err);
    for (; ret->n < json_array_size(array); ret->n++) {
        const char *text = json_string_value(json_array_get(array, ret->n));
        if (!text || checkpoint_from_text(text, &ret->items[ret->n], err) < 0)
            return text ? -1 : error_set(err, VMUNDO_FAILED, "the journal entry is damaged");
    }
    return 0;
}

static int load_moved(const json_t *array, struct operation *op, struct vmundo_error *err)
{
    op->moved = calloc(json_array_size(array) + 1, sizeof(*op->moved));
    if (!op->moved)
        return error_nomem(err);
    for (; op->n_moved < json_array_size(array); op->n_moved++) {
        json_int_t id, parent;
        if (json_unpack(json_array_get(array, op->n_moved), "[II]", &id, &parent) < 0)
            return error_set(err, VMUNDO_FAILED, "the journal entry is damaged");
        op->moved[op->n_moved] = (struct store_move){(uint64_t)id, (uint64_t)parent};
    }
    return 0;
}

static int load_options(struct operation *op, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    AUTO_FREE char *made = NULL;
    if (json_parse(op->journal.options ? op->journal.options : "{}", "the journal entry", &o, err) < 0)
        return -1;
    op->keep = json_opt_bool(o, "keep", false);
    op->old_first = json_opt_bool(o, "old_first", false);
    if (json_opt_string(o, "to", &op->to, err) < 0 || json_opt_string(o, "made", &made, err) < 0 ||
        (made && checkpoint_from_text(made, &op->made, err) < 0))
        return -1;
    return load_gone(json_object_get(o, "gone"), &op->gone, err) < 0 ? -1
                                                                     : load_moved(json_object_get(o, "moved"), op, err);
}

/* Who it is about, and what was. */
static int fill_journal(struct operation *op, struct vmundo_error *err)
{
    struct store_operation *j = &op->journal;
    j->stage = STAGE_PREPARE;
    if (str_copy(op->name, &j->domain, err) < 0 || str_copy(op->verb, &j->verb, err) < 0)
        return -1;
    return op->before ? record_to_text(op->before, &j->before, err) : 0;
}

static int write_journal(struct operation *op, struct vmundo_error *err)
{
    struct store_operation *j = &op->journal;
    if ((op->after && record_to_text(op->after, &j->after, err) < 0) || save_options(op, &j->options, err) < 0)
        return -1;
    return store_begin(op->v, j, err);
}

static int make_branches(struct operation *op, struct vmundo_error *err)
{
    struct record *a = op->after;
    for (size_t i = 0; a && i < a->n_branches; i++) {
        struct mark m = mark_of(op);
        AUTO_LOCK struct lock reading = LOCK_INIT;
        if (!only_in(a, i, op->before))
            continue;
        if (lock_origin(op->v, a->branches[i].origin, false, &reading, err) < 0 ||
            storage_create(&a->branches[i], &m, err) < 0)
            return -1;
    }
    return 0;
}

/* Remove what only before has; what is left behind for --undo is only put down. */
static int remove_old(const struct operation *op, struct vmundo_error *err)
{
    const struct record *b = op->before;
    for (size_t i = 0; b && i < b->n_branches; i++) {
        const struct branch *branch = &b->branches[i];
        if (!only_in(b, i, op->after))
            continue;
        if ((is_left_behind(op, i) ? storage_detach(branch, err) : storage_remove(branch, err)) < 0)
            return -1;
    }
    return 0;
}

/* Remove what only after has. */
static int remove_new(const struct operation *op, struct vmundo_error *err)
{
    const struct record *a = op->after;
    for (size_t i = 0; a && i < a->n_branches; i++)
        if (only_in(a, i, op->before) && storage_remove(&a->branches[i], err) < 0)
            return -1;
    return 0;
}

/* End the instance of one record that the other does not have, and what it had for RAM. */
static int end_instance(const struct operation *op, const struct record *r, const struct record *other,
                        struct vmundo_error *err)
{
    if (instance_remove(op->v, r, err) < 0)
        return -1;
    return r->ram && !(other && str_eq(other->ram, r->ram)) ? storage_ram_remove(r->ram, err) : 0;
}

static int shut_down(struct operation *op, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    bool off = false;
    if (instance_open(op->v, op->before, &c, err) < 0 || hyper_shutdown(&c.i, op->timeout_ms, &off, err) < 0)
        return -1;
    op->has_shut_down = off;
    if (off || op->force)
        return 0;
    return error_set(err, VMUNDO_FAILED,
                     "%s did not power off within %u s: give it longer with --timeout, or end it with --force",
                     op->name, op->timeout_ms / 1000);
}

/* Can the new instance be built while the old one runs? Not where both would write to one disk. */
static bool is_beside(const struct operation *op, const struct instance_ctx *c)
{
    if (!ending(op) || !op->before->running)
        return true;
    for (size_t i = 0; i < op->after->n_disks; i++)
        if (record_disk_is_unprotected(&op->after->disks[i]))
            return false;
    return c->i.driver->flags & HYPER_SIDE_BY_SIDE;
}

/* What the reserve is too good for is done in the ordinary way, and its names with it. */
static int use_reserve(struct operation *op, bool *ret_used, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    *ret_used = op->from_reserve && reserve_use(op, &e) == 0;
    if (!op->from_reserve || *ret_used)
        return 0;
    AUTO_FREE char *text = str_printf(err, "its reserve is of no use, this takes longer: %s", e.msg);
    context_report(op->v, VMUNDO_EVENT_WARNING, op->name, text ? text : e.msg);
    return reserve_remove(op->v, op->before, err);
}

/* Where RAM cannot be gone back to, because it is that of another machine, the disks still can. */
static int prepare_instance(struct operation *op, const struct record *a, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    struct vmundo_error e = {0};
    if (instance_prepare(op->v, a, &c, &e) == 0 && (!is_beside(op, &c) || hyper_start(&c.i, &e) == 0))
        return 0;
    if (a->saved && e.code == VMUNDO_CONFLICT)
        return error_set(err, e.code, "%s; with --boot, 'vmundo %s' takes the disks of that moment only", e.msg, op->verb);
    if (err)
        *err = e;
    return -1;
}

static int prepare(struct operation *op, struct vmundo_error *err)
{
    const struct record *a = starting(op);
    bool used = false;
    context_stage(op->v, op->name, stage_name(STAGE_PREPARE));
    if (op->old_first) /* what is made then has the reserve's names, if it was to be used */
        return op->from_reserve ? reserve_remove(op->v, op->before, err) : 0;
    if (op->like && reserve_is_only_in(op->after, op->before))
        return reserve_make(op, err);
    if (use_reserve(op, &used, err) < 0 || used)
        return used ? 0 : -1;
    if (make_branches(op, err) < 0)
        return -1;
    if (op->shut_down && op->before->running && shut_down(op, err) < 0)
        return -1;
    for (size_t i = 0; op->keep && i < op->before->n_branches; i++)
        if (storage_keep_check(&op->before->branches[i], err) < 0)
            return -1;
    if (op->to && keep_to_make(op, err) < 0)
        return -1;
    return a ? prepare_instance(op, a, err) : 0;
}

/* PREPARE to SWITCH. */
static int build(struct operation *op, struct vmundo_error *err)
{
    if (op->from)
        return snapshot_adopt(op, err) < 0 ? -1 : prepare(op, err);
    if (prepare(op, err) < 0)
        return -1;
    return takes_snapshot(op) ? snapshot_take(op, err) : 0;
}

/* ---- SWITCH ---------------------------------------------------------------------------------------------------------
 */

/* The point of no return: from here on the operation is finished, not undone. */
static int switch_over(struct operation *op, struct vmundo_error *err)
{
    struct store_operation *j = &op->journal;
    AUTO_FREE char *after = NULL, *options = NULL;
    context_stage(op->v, op->name, stage_name(STAGE_SWITCH));
    if (op->after && record_to_text(op->after, &after, err) < 0)
        return -1;
    if (save_options(op, &options, err) < 0) /* by now it is known how consistent the checkpoint is */
        return -1;
    free(j->after);
    free(j->options);
    j->after = TAKE(after);
    j->options = TAKE(options);
    j->stage = STAGE_SWITCH;
    j->made = op->made.id ? &op->made : NULL;
    j->gone = &op->gone;
    j->moved = op->moved;
    j->n_moved = op->n_moved;
    return store_switched(op->v, j, op->after, err);
}

static int connect_console(struct operation *op, const struct instance_ctx *c, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    if (!op->ret_console)
        return 0;
    if (hyper_console(&c->i, &fd, err) < 0)
        return -1;
    *op->ret_console = TAKE_FD(fd);
    return 0;
}

/* What has just been taken from the reserve is paused, if it is there at all; else it may have done anything. */
static int look_at_new(const struct operation *op, const struct instance *i, struct hyper_status *ret,
                       struct vmundo_error *err)
{
    return op->from_reserve ? hyper_glance(i, ret, err) : hyper_state(i, ret, err);
}

/* Start it if PREPARE could not or if it was lost since, and let it run. One that has run and ended by itself is left
 * alone: this may be the second time that we come here. */
static int let_run(struct operation *op, const struct record *a, bool *ret_runs, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    if (instance_open(op->v, a, &c, err) < 0 || look_at_new(op, &c.i, &s, err) < 0)
        return -1;
    *ret_runs = s.power != HYPER_OFF || !s.ended;
    if (!*ret_runs)
        return 0;
    if (s.power == HYPER_OFF) {
        instance_clear(&c);
        if (instance_prepare(op->v, a, &c, err) < 0 || hyper_start(&c.i, err) < 0)
            return -1;
    }
    return connect_console(op, &c, err) < 0 ? -1 : hyper_resume(&c.i, err);
}

static int start_new(struct operation *op, const struct record *a, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    bool runs = false;
    int r = let_run(op, a, &runs, err);
    if (r < 0 && op->from_reserve) { /* which ends by itself if the domain did */
        op->from_reserve = false;
        error_clear(err);
        r = let_run(op, a, &runs, err);
    }
    if (r == 0 && runs)
        r = instance_open(op->v, a, &c, err);
    if (r < 0 || !runs)
        return r;
    context_stage(op->v, op->name, "RUN");
    if (a->saved)
        (void)hyper_wake(&c.i, NULL); /* there need not be an agent */
    guard_spawn(op->v, a);
    recorder_spawn(op->v, a);
    return 0;
}

/* Destroying the old instance takes time that nobody needs to wait for: where PREPARE has built the new one beside it,
 * and the driver can, it only steps aside, and is destroyed when the new one runs. false: it is to be destroyed first.
 */
static bool make_way(const struct operation *op, const struct record *old, const struct record *new)
{
    AUTO_INSTANCE struct instance_ctx o = {0}, n = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    if (!old || !old->running || !new || op->old_first || instance_open(op->v, old, &o, NULL) < 0 ||
        !o.i.driver->step_aside || instance_open(op->v, new, &n, NULL) < 0 || look_at_new(op, &n.i, &s, NULL) < 0)
        return false;
    return s.power == HYPER_PAUSED && !s.ended && hyper_step_aside(&o.i, NULL) == 0;
}

/* Where there is no room for two branches at once: the old ones go, then the new ones are made. The origin is safe
 * either way, but until the new ones stand there is none. */
static int replace_branches(struct operation *op, struct vmundo_error *err)
{
    return remove_old(op, err) < 0 ? -1 : make_branches(op, err);
}

/* The marks of those that have another parent now. */
static int write_moved_marks(const struct operation *op, struct vmundo_error *err)
{
    for (size_t i = 0; i < op->n_moved; i++) {
        AUTO_CHECKPOINT struct checkpoint c = {0};
        if (store_checkpoint(op->v, op->name, op->moved[i].id, &c, err) < 0 ||
            checkpoint_write_mark(op->v, &c, !c.recorded, err) < 0)
            return -1;
    }
    return 0;
}

/* The marks from which the database can be rebuilt. What recording changes in a record follows from the checkpoints,
 * but where the domain goes on in other branches. */
static int write_mark(const struct operation *op, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    AUTO_FREE char *text = NULL;
    if (!op->after)
        return 0;
    if (op->made.id && checkpoint_write_mark(op->v, &op->made, !op->made.recorded, err) < 0)
        return -1;
    if (str_eq(op->verb, STORE_RECORDING) && !merge_is_needed(op->after))
        return write_moved_marks(op, err);
    if (record_to_text(op->after, &text, err) < 0 || context_domain_dir(op->v, op->name, true, &dir, err) < 0 ||
        sys_write_file(dir, "record.json", text, strlen(text), err) < 0)
        return -1;
    return write_moved_marks(op, err);
}

/* Where there is no room for it, CLEAN may make some first. */
static int write_mark_or_later(const struct operation *op, bool *ret_later, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    if (write_mark(op, &e) == 0)
        return 0;
    *ret_later = e.errnum == ENOSPC || e.errnum == EDQUOT;
    if (*ret_later)
        return 0;
    if (err)
        *err = e;
    return -1;
}

/* ---- COMMIT ---------------------------------------------------------------------------------------------------------
 */

struct keep_progress {
    const struct operation *op;
    const char *origin;
};

static void tell_progress(void *data, uint64_t done, uint64_t total)
{
    const struct keep_progress *k = data;
    context_progress(k->op->v, k->op->name, k->origin, done, total);
}

/* That all is merged is noted in the journal before CLEAN begins: a branch that is gone cannot be asked whether it was.
 */
static int commit(struct operation *op, struct vmundo_error *err)
{
    if (op->journal.stage >= STAGE_CLEAN)
        return 0;
    context_stage(op->v, op->name, stage_name(STAGE_COMMIT));
    for (size_t i = 0; i < op->before->n_branches; i++) {
        const struct branch *b = &op->before->branches[i];
        struct keep_progress k = {.op = op, .origin = b->origin};
        struct progress p = {.fn = tell_progress, .data = &k};
        AUTO_LOCK struct lock writing = LOCK_INIT;
        if (lock_origin(op->v, b->origin, true, &writing, err) < 0 || storage_keep(b, &p, err) < 0)
            return -1;
    }
    op->journal.stage = STAGE_CLEAN;
    return store_switched(op->v, &op->journal, NULL, err);
}

/* ---- CLEAN ----------------------------------------------------------------------------------------------------------
 */

static int clean(struct operation *op, bool mark, const char *outcome, struct vmundo_error *err)
{
    bool durable = !str_eq(op->verb, STORE_RECORDING); /* of what recording gives up nobody was told */
    context_stage(op->v, op->name, stage_name(STAGE_CLEAN));
    if (remove_old(op, err) < 0)
        return -1;
    if (reserve_is_only_in(op->before, op->after) && reserve_remove(op->v, op->before, err) < 0)
        return -1;
    for (size_t i = 0; i < op->gone.n; i++)
        if (checkpoint_remove(op->v, &op->gone.items[i], op->after, durable && i + 1 == op->gone.n, err) < 0)
            return -1;
    if ((!op->after && context_remove_domain_dir(op->v, op->name, err) < 0) || (mark && write_mark(op, err) < 0))
        return -1;
    return store_finish(op->v, &op->journal, op->after, outcome, NULL, err);
}

/* ---- the two ways out
 * ------------------------------------------------------------------------------------------------- */

/* The switch is made but the new instance does not start: the domain is then off, on its new branches, rather than
 * stuck in an operation that can never end. */
static int settle_for_off(struct operation *op, struct vmundo_error *err)
{
    int r = end_instance(op, op->after, NULL, err);
    op->after->running = false;
    record_forget_ram(op->after);
    return r;
}

int operation_finish(struct operation *op, const char *outcome, struct vmundo_error *err)
{
    const struct record *old = ending(op), *new = starting(op);
    struct vmundo_error start = {0};
    bool aside = make_way(op, old, new), mark_later = false;
    if ((old && !aside && end_instance(op, old, op->after, err) < 0) ||
        (op->old_first && replace_branches(op, err) < 0) ||
        (new && start_new(op, new, &start) < 0 && settle_for_off(op, err) < 0) ||
        (aside && end_instance(op, old, op->after, err) < 0) || write_mark_or_later(op, &mark_later, err) < 0 ||
        (op->keep && commit(op, err) < 0) || (op->to && keep_to_publish(op, err) < 0) ||
        clean(op, mark_later, start.code ? "failed" : outcome, err) < 0) {
        if (err)
            err->code = VMUNDO_INTERRUPTED;
        return error_wrap(err, "%s: %s is not finished ('vmundo recover' will try again)", op->name, op->verb);
    }
    if (start.code)
        return error_set(err, VMUNDO_FAILED,
                         "%s: the new branches stand, but it is off, since it could not be started: "
                         "%s",
                         op->name, start.msg);
    return 0;
}

/* The guest goes on in the new branches already, and what it has written there since must not be lost: the checkpoint is
 * undone, but the new branches stay. */
static int settle_for_moved(struct operation *op, const char *why, struct vmundo_error *err)
{
    if (checkpoint_remove(op->v, &op->made, op->before, !op->made.recorded, err) < 0)
        return -1;
    checkpoint_clear(&op->made);
    op->after->base = op->before->base;
    return switch_over(op, err) < 0 ? -1 : operation_finish(op, why ? "failed" : "undone", err);
}

static int undo_all(struct operation *op, const char *why, struct vmundo_error *err)
{
    const struct record *new = starting(op);
    bool moved = false;
    if (takes_snapshot(op) && op->before && snapshot_has_moved(op, &moved, err) < 0)
        return -1;
    if (moved)
        return settle_for_moved(op, why, err);
    if ((new && end_instance(op, new, op->before, err) < 0) || remove_new(op, err) < 0 ||
        (reserve_is_only_in(op->after, op->before) && reserve_remove(op->v, op->after, err) < 0) ||
        (op->made.id && checkpoint_remove(op->v, &op->made, op->before, !op->made.recorded, err) < 0) ||
        (!op->before && context_remove_domain_dir(op->v, op->name, err) < 0) || (op->to && keep_to_undo(op, err) < 0) ||
        store_abandon(op->v, &op->journal, why ? "failed" : "undone", why, err) < 0)
        return -1;
    return 0;
}

int operation_undo(struct operation *op, const char *why, struct vmundo_error *err)
{
    if (undo_all(op, why, err) == 0)
        return 0;
    if (err)
        err->code = VMUNDO_INTERRUPTED;
    return error_wrap(err, "%s: %s is not undone ('vmundo recover' will try again)", op->name, op->verb);
}

/* With a reserve that has loaded what is wanted there is nothing to prepare, and so nothing that would have to be
 * undone: the journal's first entry is that of SWITCH. */
static bool stands_already(struct operation *op)
{
    if (!op->from_reserve || !op->before->reserve_at || op->old_first)
        return false;
    context_stage(op->v, op->name, stage_name(STAGE_PREPARE));
    return reserve_use(op, NULL) == 0;
}

int operation_execute(struct operation *op, struct vmundo_error *err)
{
    struct vmundo_error e = {0}, undo = {0};
    report_actions(op);
    if (op->v->dry_run)
        return 0;
    if (fill_journal(op, err) < 0)
        return -1;
    if (stands_already(op))
        return switch_over(op, err) < 0 ? -1 : operation_finish(op, "done", err);
    if (write_journal(op, err) < 0)
        return -1;
    int r = build(op, &e);
    bool built = r == 0;
    if (built && (r = switch_over(op, &e)) == 0)
        return operation_finish(op, "done", err);
    if (built && e.code == VMUNDO_INTERRUPTED) /* has it switched? Until that is known nothing may go */
        return error_set(err, e.code, "%s: %s", op->name, e.msg);
    if (op->has_shut_down)
        error_set(&e, e.code, "%s; its guest has been shut down, 'vmundo start %s' goes on with it", e.msg, op->name);
    if (operation_undo(op, e.msg, &undo) < 0)
        return error_set(err, VMUNDO_INTERRUPTED, "%s; then %s", e.msg, undo.msg);
    if (err)
        *err = e;
    return -1;
}

int operation_load(struct operation *op, struct vmundo *v, struct store_operation *entry, struct vmundo_error *err)
{
    op->v = v;
    op->journal = *entry;
    *entry = (struct store_operation){0};
    op->verb = op->journal.verb;
    op->name = op->journal.domain;
    return load_options(op, err) < 0 || load_record(op->journal.before, &op->before, err) < 0 ||
                   load_record(op->journal.after, &op->after, err) < 0
               ? -1
               : 0;
}

int operation_recover(struct operation *op, struct vmundo_error *err)
{
    if (op->journal.stage >= STAGE_SWITCH)
        return operation_finish(op, "recovered", err);
    return operation_undo(op, NULL, err);
}
