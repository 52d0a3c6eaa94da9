/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verbs.c: the changing commands of the public interface. Each says what the domain's record is to look like afterwards
 * and checks what only it has to check; the engine (operation.c) does the work.
 */
#include "core/instance.h"
#include "core/keep.h"
#include "core/operation.h"
#include "core/plan.h"
#include "core/reserve.h"
#include "core/verbs.h"
#include "util/cleanup.h"

#define STOP_TIMEOUT_MS 60000

/* As operation_begin(), and the domain must be there. */
int verbs_begin(struct operation *op, struct vmundo *v, const char *verb, const char *name,
                    struct vmundo_error *err)
{
    if (operation_begin(op, v, verb, name, err) < 0)
        return -1;
    if (!op->before)
        return error_set(err, VMUNDO_NOT_FOUND, "there is no domain '%s': 'vmundo list' shows those that there are",
                         name);
    return 0;
}

int verbs_copy_before(struct operation *op, struct vmundo_error *err)
{
    op->after = calloc(1, sizeof(*op->after));
    if (!op->after)
        return error_nomem(err);
    return record_copy(op->before, op->after, err);
}

void verbs_keep_reserve(struct operation *op)
{
    lock_release(&op->lock);
    if (op->after)
        reserve_spawn(op->v, op->after);
}

int verbs_is_running(struct operation *op, bool *ret, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    *ret = false;
    if (!op->before->running)
        return 0;
    if (instance_open(op->v, op->before, &c, err) < 0 || hyper_state(&c.i, &s, err) < 0)
        return -1;
    *ret = s.power != HYPER_OFF;
    return 0;
}

/* ---- run ---------------------------------------------------------------------------------------------------------- */

int verbs_check_name_free(const struct operation *op, const struct record *r, struct vmundo_error *err)
{
    bool taken = false;
    if (op->before)
        return error_set(err, VMUNDO_CONFLICT,
                         "the name '%s' is in use, by a domain from %s: 'vmundo start', 'rollback', 'keep' or 'drop' it, "
                         "or give another with --name", r->name, op->before->config_path);
    if (hyper_name_taken(hyper_find(r->hypervisor), r->name, &taken, err) < 0)
        return -1;
    return taken ? error_set(err, VMUNDO_CONFLICT, "a domain '%s' is running already, outside vmundo: shut it down first",
                             r->name)
                 : 0;
}

int vmundo_run(struct vmundo *v, const struct vmundo_run_options *o, struct vmundo_error *err)
{
    AUTO_PLAN struct plan plan = {0};
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    struct record *r = &plan.record;
    if (plan_make(v, o, &plan, err) < 0)
        return -1;
    for (size_t i = 0; i < plan.warnings.n; i++)
        context_report(v, VMUNDO_EVENT_WARNING, r->name, plan.warnings.items[i]);
    if (operation_begin(&op, v, "run", r->name, err) < 0 || verbs_check_name_free(&op, r, err) < 0 ||
        plan_check_in_use(v, r, o->allow_in_use, err) < 0 || plan_check_unprotected(v, r, o->allow_in_use, err) < 0 ||
        plan_preflight(r, NULL, err) < 0)
        return -1;
    if (o->ret_name)
        snprintf(o->ret_name, VMUNDO_NAME_SIZE, "%s", r->name);
    op.ret_console = o->ret_console;
    op.after = calloc(1, sizeof(*op.after));
    if (!op.after)
        return error_nomem(err);
    *op.after = plan.record;
    plan.record = (struct record){0};
    op.name = op.after->name;
    op.after->counter = op.after->generation;
    op.after->anonymous = o->anonymous_ram;
    op.after->keep_reserve = o->reserve;
    if (record_plan_ram(v->store_id, op.after, op.after->instance, err) < 0)
        return -1;
    return operation_execute(&op, err);
}

/* ---- drop, keep ------------------------------------------------------------------------------------------- */

/* The domain goes, and with it its checkpoints. */
static int forget_checkpoints(struct operation *op, struct vmundo_error *err)
{
    if (store_checkpoints(op->v, op->name, &op->gone, err) < 0)
        return -1;
    for (size_t i = 0; i < op->gone.n; i++)
        if (op->gone.items[i].pinned)
            return error_set(err, VMUNDO_REFUSED, "%s has the pinned checkpoint %s: 'vmundo unpin %s %s' first", op->name,
                             op->gone.items[i].label, op->name, op->gone.items[i].label);
    return 0;
}

int vmundo_drop(struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    return verbs_begin(&op, v, "drop", name, err) < 0 || forget_checkpoints(&op, err) < 0 ? -1
                                                                                          : operation_execute(&op, err);
}

/* Whether somebody uses the origin cannot be asked while the domain itself does: the engine asks when it is off. */
static int check_keepable(const struct branch *b, bool force, bool running, struct vmundo_error *err)
{
    AUTO_FREE char *what = NULL;
    CLEANUP(branch_status_clear) struct branch_status status = {0};
    bool changed = false;
    if (storage_inspect(b, &status, err) < 0)
        return -1;
    if (!status.exists)
        return error_set(err, VMUNDO_FAILED, "the branch %s is gone: there is nothing to keep", b->path);
    if (!str_eq(status.health, "ok"))
        return error_set(err, VMUNDO_REFUSED, "the branch %s cannot be kept: it is %s%s", b->path, status.health,
                         status.lost ? " ('vmundo rollback' makes a fresh one, 'vmundo drop' gives it up)" : "");
    if (!force && storage_changed(b, &changed, &what, err) < 0)
        return -1;
    if (changed)
        return error_set(err, VMUNDO_REFUSED,
                         "%s has changed since the branch was made (%s); keep would overwrite that: 'vmundo drop' gives up "
                         "the branch, keep --force gives up the other change", b->origin, what ? what : "contents");
    return running ? 0 : storage_keep_check(b, err);
}

int vmundo_keep(struct vmundo *v, const char *name, const struct vmundo_keep_options *o, struct vmundo_error *err)
{
    static const struct vmundo_keep_options defaults;
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    bool running = false;
    o = o ? o : &defaults;
    if (verbs_begin(&op, v, "keep", name, err) < 0 || verbs_is_running(&op, &running, err) < 0)
        return -1;
    if (running && !o->stop)
        return error_set(err, VMUNDO_CONFLICT, "%s is running: 'vmundo stop %s' first, or keep --stop", name, name);
    if (o->to && keep_to_plan(&op, o->to, err) < 0)
        return -1;
    if (!o->to && keep_check_shared(&op, err) < 0)
        return -1;
    for (size_t i = 0; !o->to && i < op.before->n_branches; i++)
        if (check_keepable(&op.before->branches[i], o->force, running, err) < 0)
            return error_wrap(err, "%s", name);
    if (forget_checkpoints(&op, err) < 0)
        return -1;
    op.keep = !o->to;
    op.shut_down = running;
    op.timeout_ms = o->timeout_ms ? o->timeout_ms : STOP_TIMEOUT_MS;
    return operation_execute(&op, err);
}

/* ---- stop, start, console --------------------------------------------------------------------------------------------- */

int vmundo_stop(struct vmundo *v, const char *name, const struct vmundo_stop_options *o, struct vmundo_error *err)
{
    static const struct vmundo_stop_options defaults;
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    o = o ? o : &defaults;
    if (verbs_begin(&op, v, "stop", name, err) < 0 || verbs_copy_before(&op, err) < 0)
        return -1;
    if (!op.before->running)
        return 0;
    op.after->running = false;
    record_forget_reserve(op.after);
    record_forget_ram(op.after);
    op.force = o->force;
    op.timeout_ms = o->timeout_ms || o->force ? o->timeout_ms : STOP_TIMEOUT_MS;
    op.shut_down = op.timeout_ms > 0;
    return operation_execute(&op, err);
}

/* An overlay shows its origin where the guest has not written: another origin, and both together are garbage. */
static int check_base(const struct record *r, const struct branch *b, struct vmundo_error *err)
{
    AUTO_FREE char *what = NULL;
    bool changed = false;
    if (!(b->driver->flags & STORAGE_READS_ORIGIN))
        return 0;
    if (storage_changed(b, &changed, &what, err) < 0)
        return -1;
    return changed ? error_set(err, VMUNDO_REFUSED,
                               "%s has changed under the branch of %s (%s), which is worth nothing any more: 'vmundo "
                               "rollback %s' makes a fresh one", b->origin, r->name, what ? what : "contents", r->name)
                   : 0;
}

static int check_branches(const struct record *r, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++) {
        CLEANUP(branch_status_clear) struct branch_status s = {0};
        if (storage_inspect(&r->branches[i], &s, err) < 0 || check_base(r, &r->branches[i], err) < 0)
            return -1;
        if (!s.exists || !str_eq(s.health, "ok"))
            return error_set(err, VMUNDO_FAILED, "%s cannot start on the branch %s: it is %s ('vmundo rollback %s' makes a "
                             "fresh one)", r->name, r->branches[i].path, s.exists ? s.health : "gone", r->name);
    }
    return 0;
}

int vmundo_start(struct vmundo *v, const char *name, int *ret_console, struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    bool running = false;
    if (verbs_begin(&op, v, "start", name, err) < 0 || verbs_is_running(&op, &running, err) < 0)
        return -1;
    if (running)
        return error_set(err, VMUNDO_CONFLICT, "%s is running already", name);
    if (check_branches(op.before, err) < 0 || verbs_copy_before(&op, err) < 0)
        return -1;
    op.after->running = true;
    op.after->instance = reserve_next_instance(op.before);
    record_forget_reserve(op.after);
    record_forget_ram(op.after);
    if (record_plan_ram(v->store_id, op.after, op.after->instance, err) < 0)
        return -1;
    op.ret_console = ret_console;
    if (operation_execute(&op, err) < 0)
        return -1;
    if (!v->dry_run)
        verbs_keep_reserve(&op);
    return 0;
}

int vmundo_console(struct vmundo *v, const char *name, int *ret_fd, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(record_clear) struct record r = {0};
    if (store_get_record(v, name, &r, err) < 0)
        return -1;
    if (!r.running)
        return error_set(err, VMUNDO_CONFLICT, "%s is off: 'vmundo start %s' first", name, name);
    return instance_open(v, &r, &c, err) < 0 ? -1 : hyper_console(&c.i, ret_fd, err);
}
