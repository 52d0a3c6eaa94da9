/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reserve.c: see reserve.h.
 */
#include "core/reserve.h"

#include "core/instance.h"
#include "core/plan.h"
#include "core/verbs.h"
#include "util/cleanup.h"
#include "util/process.h"

uint64_t reserve_next_instance(const struct record *r)
{
    return (r->reserve_instance > r->instance ? r->reserve_instance : r->instance) + 1;
}

bool reserve_is_only_in(const struct record *one, const struct record *other)
{
    if (!one || !one->reserve)
        return false;
    return !other || (other->reserve != one->reserve && other->generation != one->reserve);
}

/* The record that r would have on its reserve: gone back to that checkpoint, or (NULL) of a domain that boots, on branches
 * of the origins, until more is known. */
static int describe(const struct vmundo *v, const struct record *r, const struct checkpoint *loaded, struct record *ret,
                    struct vmundo_error *err)
{
    CLEANUP(record_clear) struct record now = {0};
    if (record_copy(r, &now, err) < 0)
        return -1;
    record_forget_ram(&now);
    now.generation = r->reserve;
    now.instance = r->reserve_instance;
    for (size_t i = 0; i < now.n_branches; i++)
        free(TAKE(now.branches[i].base));
    if ((loaded && checkpoint_apply(loaded, true, &now, err) < 0) || plan_name_branches(v, &now, err) < 0 ||
        record_plan_ram(v->store_id, &now, now.instance, err) < 0)
        return -1;
    *ret = now;
    now = (struct record){0};
    return 0;
}

bool reserve_is_ready(const struct vmundo *v, const struct record *r, uint64_t checkpoint)
{
    CLEANUP(record_clear) struct record spare = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    AUTO_INSTANCE struct instance_ctx c = {0};
    return r->reserve && (!r->reserve_at || r->reserve_at == checkpoint) && describe(v, r, NULL, &spare, NULL) == 0 &&
           instance_open(v, &spare, &c, NULL) == 0 && hyper_glance(&c.i, &s, NULL) == 0 && s.power == HYPER_PAUSED &&
           !s.unwatched;
}

int reserve_remove(const struct vmundo *v, const struct record *r, struct vmundo_error *err)
{
    CLEANUP(record_clear) struct record spare = {0};
    if (!r->reserve)
        return 0;
    if (describe(v, r, NULL, &spare, err) < 0 || instance_remove(v, &spare, err) < 0)
        return -1;
    for (size_t i = 0; i < spare.n_branches; i++)
        if (storage_remove(&spare.branches[i], err) < 0)
            return -1;
    return spare.ram ? storage_ram_remove(spare.ram, err) : 0;
}

/* ---- making one -----------------------------------------------------------------------------------------------------
 */

/* Of some checkpoint: they all have the same disks. */
static int make_branches(const struct operation *op, struct record *spare, struct vmundo_error *err)
{
    const struct record *like = &op->like->record;
    struct mark m = {.store = op->v->store_id, .domain = op->name, .generation = spare->generation};
    for (size_t i = 0; i < spare->n_branches; i++) {
        struct branch *b = &spare->branches[i];
        free(TAKE(b->fingerprint));
        free(TAKE(b->base));
        if (str_copy(like->branches[i].path, &b->base, err) < 0 ||
            str_copy(like->branches[i].fingerprint, &b->fingerprint, err) < 0 || storage_create(b, &m, err) < 0)
            return -1;
    }
    return 0;
}

int reserve_make(struct operation *op, struct vmundo_error *err)
{
    CLEANUP(record_clear) struct record spare = {0};
    AUTO_INSTANCE struct instance_ctx c = {0};
    char beside[40];
    snprintf(beside, sizeof(beside), "run.%llu", (unsigned long long)op->after->instance);
    if (describe(op->v, op->after, op->after->reserve_at ? op->like : NULL, &spare, err) < 0 ||
        make_branches(op, &spare, err) < 0 || instance_prepare(op->v, &spare, &c, err) < 0)
        return -1;
    if (!c.i.ram)
        return error_set(err, VMUNDO_REFUSED, "there is no room for the RAM of a reserve of %s", op->name);
    c.i.reserve_for = beside;
    return hyper_start(&c.i, err);
}

/* ---- using it -------------------------------------------------------------------------------------------------------
 */

/* It has been loaded when it was made: all that is left to do is to see that it is what it should be. */
static int use_loaded(struct operation *op, struct vmundo_error *err)
{
    struct record *a = op->after;
    struct mark m = {.store = op->v->store_id, .domain = op->name, .generation = a->generation};
    for (size_t i = 0; i < a->n_branches; i++)
        if (storage_recall(&a->branches[i], &m, err) < 0)
            return -1;
    return storage_ram_check(a->ram, &m, err);
}

int reserve_use(struct operation *op, struct vmundo_error *err)
{
    struct record *a = op->after;
    struct mark m = {.store = op->v->store_id, .domain = op->name, .generation = a->generation};
    if (op->before->reserve_at)
        return use_loaded(op, err);
    AUTO_INSTANCE struct instance_ctx c = {0};
    for (size_t i = 0; i < a->n_branches; i++)
        if (storage_refill(&a->branches[i], &m, err) < 0)
            return -1;
    struct mark base = instance_base_mark(op->v, a);
    if (storage_ram_check(a->ram_base, &base, err) < 0 || storage_ram_refill(a->ram, a->ram_base, &m, err) < 0 ||
        instance_open(op->v, a, &c, err) < 0 || !(c.i.saved_of = c.saved_of = mark_text(&base, err)))
        return -1;
    c.i.saved = a->saved;
    return hyper_load(&c.i, err);
}

/* ---- when there is one ----------------------------------------------------------------------------------------------
 */

/* With its RAM in a file: the one that the domain was made or gone back to last (*ret_base), or the newest; ret->id
 * stays 0: there is none. */
static int find_with_ram(struct operation *op, struct checkpoint *ret, bool *ret_base, struct vmundo_error *err)
{
    CLEANUP(store_rows_clear) struct store_rows rows = {0};
    uint64_t base = op->before->base;
    if (base && store_checkpoint(op->v, op->name, base, ret, err) < 0)
        return -1;
    *ret_base = base && ret->saved && ret->record.ram && !ret->record.ram_private;
    if (*ret_base)
        return 0;
    checkpoint_clear(ret);
    if (store_rows(op->v, op->name, &rows, err) < 0)
        return -1;
    for (size_t i = rows.n; i > 0; i--) {
        if (!rows.items[i - 1].ram)
            continue;
        if (store_checkpoint(op->v, op->name, rows.items[i - 1].id, ret, err) < 0)
            return -1;
        if (ret->record.ram)
            return 0;
        checkpoint_clear(ret);
    }
    return 0;
}

static bool can_have(const struct record *r)
{
    const struct hyper_driver *h = hyper_find(r->hypervisor);
    bool can = r->keep_reserve && h && h->load && r->n_branches;
    for (size_t i = 0; can && i < r->n_branches; i++)
        can = r->branches[i].driver->refill != NULL;
    for (size_t i = 0; can && i < r->n_disks; i++)
        can = !record_disk_is_unprotected(&r->disks[i]); /* two instances cannot both have it */
    return can;
}

/* op->after: with a reserve, or without; at: that it is to have loaded, or 0. false: it has what it is to have. */
static bool plan_change(struct operation *op, bool running, uint64_t at)
{
    struct record *a = op->after;
    bool wanted = running && op->like && can_have(op->before);
    if (wanted ? op->before->reserve_at == at && reserve_is_ready(op->v, op->before, at) : !op->before->reserve)
        return false;
    record_forget_reserve(a);
    if (wanted) {
        a->reserve_instance = reserve_next_instance(op->before);
        a->reserve = ++a->counter;
        a->reserve_at = at;
    }
    return true;
}

int reserve_tend(struct operation *op, bool *ret_changed, struct vmundo_error *err)
{
    AUTO_CHECKPOINT struct checkpoint like = {0};
    bool running = false, changed = false, base = false;
    if (!op->before->keep_reserve && !op->before->reserve)
        return 0;
    if (verbs_copy_before(op, err) < 0 || find_with_ram(op, &like, &base, err) < 0 ||
        verbs_is_running(op, &running, err) < 0)
        return -1;
    op->like = like.id ? &like : NULL;
    /* Of a domain that is recorded, where every second another one is the last, it is to be good for all. */
    changed = plan_change(op, running, base && !op->before->every_ms ? like.id : 0);
    int r = changed ? operation_execute(op, err) : 0;
    op->like = NULL;
    *ret_changed = changed;
    return r;
}

int vmundo_reserve(struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    bool changed = false;
    return verbs_begin(&op, v, "reserve", name, err) < 0 ? -1 : reserve_tend(&op, &changed, err);
}

void reserve_spawn(const struct vmundo *v, const struct record *r)
{
    AUTO_FREE char *program = process_libexec("vmundo-reserve", NULL);
    struct process_options o = PROCESS_OPTIONS_INIT;
    struct vmundo_error e = {0};
    pid_t pid;
    o.new_session = true;
    if (!r->running || !can_have(r) || !program ||
        process_spawn((const char *const[]){program, v->state_dir, r->name, NULL}, &o, &pid, &e) == 0)
        return;
    AUTO_FREE char *text = str_printf(NULL, "it has no instance in reserve: %s", e.msg);
    context_report(v, VMUNDO_EVENT_WARNING, r->name, text ? text : e.msg);
}
