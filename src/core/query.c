/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * query.c: the looking half of the public interface. Whether a domain runs, how full its branches are and whether its
 * origins changed is asked of the hypervisor and the storage, never taken from a record.
 */
#include "core/guard.h"
#include "core/instance.h"
#include "core/plan.h"
#include "core/recorder.h"
#include "core/reserve.h"
#include "core/store.h"
#include "util/cleanup.h"

static void free_disks(struct vmundo_disk *disks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *texts[] = {disks[i].vdev, disks[i].origin, disks[i].format, disks[i].driver,      disks[i].why,
                         disks[i].cost, disks[i].cannot, disks[i].branch, disks[i].consistency, disks[i].health};
        for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
            free(texts[k]);
    }
    free(disks);
}

void vmundo_domain_free(struct vmundo_domain *d)
{
    if (!d)
        return;
    free_disks(d->disks, d->n_disks);
    free(d->name);
    free(d->state);
    free(d->detail);
    free(d->hypervisor);
    free(d->config);
    free(d->parent);
    free(d->console_log);
    free(d->recording);
    *d = (struct vmundo_domain){0};
}

void vmundo_domains_free(struct vmundo_domains *d)
{
    for (size_t i = 0; d && i < d->n_domains; i++)
        vmundo_domain_free(&d->domains[i]);
    if (d) {
        free(d->domains);
        *d = (struct vmundo_domains){0};
    }
}

void vmundo_plan_free(struct vmundo_plan *p)
{
    if (!p)
        return;
    free_disks(p->disks, p->n_disks);
    free(p->name);
    free(p->hypervisor);
    free(p->hypervisor_why);
    strv_free_items(p->ignored);
    strv_free_items(p->warnings);
    *p = (struct vmundo_plan){0};
}

void vmundo_log_free(struct vmundo_log *log)
{
    for (size_t i = 0; log && i < log->n_entries; i++) {
        free(log->entries[i].domain);
        free(log->entries[i].operation);
        free(log->entries[i].outcome);
        free(log->entries[i].message);
    }
    if (log) {
        free(log->entries);
        *log = (struct vmundo_log){0};
    }
}

/* ---- state --------------------------------------------------------------------------------------------------------
 */

static const char *power_name(const struct hyper_status *s)
{
    if (s->power == HYPER_RUNNING)
        return "running";
    if (s->power == HYPER_PAUSED)
        return "paused";
    return s->ended && strstr(s->ended, "crash") ? "crashed" : "off";
}

static char *say_unguarded(const char *paused, struct vmundo_error *err)
{
    return str_printf(err, "%s%snobody watches whether its branches fill up: 'vmundo recover' starts a guard",
                      paused ? paused : "", paused ? "; " : "");
}

/* Of a running domain that is to be recorded. */
static char *say_recording(const struct vmundo *v, const struct record *r, struct vmundo_domain *d,
                           struct vmundo_error *err)
{
    CLEANUP(recorder_note_clear) struct recorder_note n = {0};
    if (recorder_is_missing(v, r))
        return str_printf(err, "its recorder is gone: 'vmundo recover' starts a new one");
    recorder_read_note(v, r->name, &n);
    if (n.for_us)
        d->recording_paused = (double)n.paused_us / (double)n.for_us;
    return n.text ? TAKE(n.text) : str_printf(err, "recorded every %g s", (double)r->every_ms / 1e3);
}

/* What the hypervisor says of the instance of r, into d; closely: it may ask the running process. */
static int ask_hypervisor(const struct vmundo *v, const struct record *r, bool closely, struct vmundo_domain *d,
                          struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    d->recording_paused = -1;
    if (instance_open(v, r, &c, err) < 0)
        return -1;
    d->console_log = TAKE(c.console_log);
    if (!r->running)
        return str_copy("off", &d->state, err);
    if ((closely ? hyper_state(&c.i, &s, err) : hyper_glance(&c.i, &s, err)) < 0)
        return -1;
    d->pid = s.pid;
    d->started = s.since;
    CLEANUP(guard_note_clear) struct guard_note guarded = {0};
    bool unguarded = false;
    if (s.power == HYPER_PAUSED && guard_read_note(v, r->name, r->instance, &guarded, err) < 0)
        return -1;
    if (closely && s.power != HYPER_OFF && guard_is_missing(v, r, &unguarded, NULL) < 0)
        unguarded = false;
    const char *detail = guarded.why ? guarded.why : s.ended;
    AUTO_FREE char *gone = NULL;
    if (s.unwatched)
        detail = c.i.driver->rewatch
                     ? "its monitor is gone: 'vmundo recover' starts a new one"
                     : "the process that watched it is gone: when its guest ends or reboots, nobody acts "
                       "on it until 'vmundo rollback', 'stop' or 'drop'";
    else if (!detail && s.no_room)
        detail = "there is no room for what it writes: it goes on by itself when there is";
    else if (unguarded && !(detail = gone = say_unguarded(guarded.why, err)))
        return -1;
    else if (!detail && s.power != HYPER_OFF && r->every_ms && !(detail = gone = say_recording(v, r, d, err)))
        return -1;
    else if (s.power == HYPER_OFF && !detail)
        detail = "it was running when the host went down";
    return str_copy(power_name(&s), &d->state, err) < 0 ? -1 : str_copy(detail, &d->detail, err);
}

/* What is wrong with its branches says more than anything else that there is to say. */
static int say_lost(const struct record *r, bool closely, struct vmundo_domain *d, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++) {
        CLEANUP(branch_status_clear) struct branch_status s = {0};
        const struct branch *b = &r->branches[i];
        if ((closely ? storage_inspect(b, &s, NULL) : storage_glance(b, &s, NULL)) < 0)
            continue;
        d->used += s.used;
        if (!s.exists || !s.health || str_eq(s.health, "ok"))
            continue;
        free(d->detail);
        d->detail = str_printf(
            err, s.lost ? "LOST: the branch %s is %s ('vmundo rollback %s' makes a fresh one)" : "the branch %s is %s",
            b->path, s.health, r->name);
        if (!d->detail)
            return -1;
    }
    return 0;
}

static int glance_at_branches(struct vmundo *v, struct vmundo_domain *d, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    CLEANUP(record_clear) struct record r = {0};
    if (store_get(v, d->name, &text, err) < 0)
        return -1;
    if (!text)
        return 0;
    return record_from_text(text, &r, err) < 0 ? error_wrap(err, "%s", d->name) : say_lost(&r, false, d, err);
}

static int say_interrupted(struct vmundo_domain *d, const char *verb, struct vmundo_error *err)
{
    free(d->state);
    free(d->detail);
    d->state = d->detail = NULL;
    d->detail = str_printf(err, "'%s' is under way, or was cut off ('vmundo recover' then finishes it)", verb);
    return !d->detail ? -1 : str_copy("unfinished", &d->state, err);
}

static int describe_row(struct vmundo *v, const struct store_domain *row, struct vmundo_domain *d,
                        struct vmundo_error *err)
{
    d->generation = row->generation;
    d->created = row->created_ms / 1000;
    if (str_copy(row->name, &d->name, err) < 0 || str_copy(row->hypervisor, &d->hypervisor, err) < 0 ||
        str_copy(row->config, &d->config, err) < 0)
        return -1;
    struct record r = {.name = row->name,
                       .hypervisor = row->hypervisor,
                       .instance = row->instance,
                       .running = row->running,
                       .every_ms = row->every_ms};
    if (r.every_ms && !(d->recording = str_printf(err, "every %g s", (double)r.every_ms / 1e3)))
        return -1;
    if (!row->pending)
        return ask_hypervisor(v, &r, false, d, err) < 0 ? -1 : row->bounded ? glance_at_branches(v, d, err) : 0;
    return say_interrupted(d, row->pending, err);
}

/* web-2 before web-10 */
static int by_name(const void *a, const void *b)
{
    const struct store_domain *x = a, *y = b;
    return strverscmp(x->name, y->name);
}

int vmundo_list(struct vmundo *v, struct vmundo_domains *ret, struct vmundo_error *err)
{
    struct store_domain *rows = NULL;
    size_t n = 0;
    if (store_list(v, &rows, &n, err) < 0)
        return -1;
    if (n > 1)
        qsort(rows, n, sizeof(*rows), by_name);
    CLEANUP(vmundo_domains_free) struct vmundo_domains list = {.domains = calloc(n + 1, sizeof(*list.domains))};
    int r = list.domains ? 0 : error_nomem(err);
    while (r == 0 && list.n_domains < n) {
        r = describe_row(v, &rows[list.n_domains], &list.domains[list.n_domains], err);
        list.n_domains++;
    }
    store_domains_free(rows, n);
    if (r < 0)
        return -1;
    *ret = list;
    list = (struct vmundo_domains){0};
    return 0;
}

/* ---- disks --------------------------------------------------------------------------------------------------------
 */

static int describe_disk(const struct record *r, const struct record_disk *d, struct vmundo_disk *ret,
                         struct vmundo_error *err)
{
    const struct branch *b = d->branch >= 0 ? &r->branches[d->branch] : NULL;
    ret->readonly = d->readonly;
    ret->cdrom = d->cdrom;
    if (str_copy(d->vdev, &ret->vdev, err) < 0 || str_copy(d->target, &ret->origin, err) < 0 ||
        str_copy(d->format, &ret->format, err) < 0 || str_copy(d->why, &ret->why, err) < 0 ||
        str_copy(d->cost, &ret->cost, err) < 0 || str_copy(d->cannot, &ret->cannot, err) < 0)
        return -1;
    if (!b)
        return 0;
    bool block;
    AUTO_FREE char *format = NULL;
    return str_copy(b->driver->name, &ret->driver, err) < 0 || str_copy(b->consistency, &ret->consistency, err) < 0 ||
                   storage_locate(b, d->inside, &ret->branch, &format, &block, err) < 0
               ? -1
               : 0;
}

/* How the branch is now. What cannot be found out is said in health, it does not fail the whole status. */
static int inspect_disk(const struct record *r, const struct record_disk *d, struct vmundo_disk *ret,
                        struct vmundo_error *err)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    CLEANUP(stack_clear) struct stack stack = {0};
    struct vmundo_error e = {0};
    if (d->target && stack_resolve(d->target, &stack, NULL) == 0)
        ret->size = str_eq(d->format, "raw") ? stack.size : storage_image_size(stack.path, d->format);
    if (d->branch < 0)
        return 0;
    const struct branch *b = &r->branches[d->branch];
    if (storage_inspect(b, &s, &e) < 0)
        return str_copy(e.msg, &ret->health, err);
    AUTO_FREE char *what = NULL;
    /* Of a thin pool that is full even the origin may keep whoever looks at it waiting. */
    bool well = s.exists && str_eq(s.health, "ok");
    if (well && storage_changed(b, &ret->origin_changed, &what, &e) < 0)
        ret->origin_changed = true;
    ret->used = s.used;
    return str_copy(s.exists ? s.health : "gone", &ret->health, err);
}

static int describe_disks(const struct record *r, bool closely, struct vmundo_disk **ret, size_t *ret_n,
                          struct vmundo_error *err)
{
    struct vmundo_disk *disks = calloc(r->n_disks + 1, sizeof(*disks));
    if (!disks)
        return error_nomem(err);
    for (size_t i = 0; i < r->n_disks; i++)
        if (describe_disk(r, &r->disks[i], &disks[i], err) < 0 ||
            (closely && inspect_disk(r, &r->disks[i], &disks[i], err) < 0)) {
            free_disks(disks, r->n_disks);
            return -1;
        }
    *ret = disks;
    *ret_n = r->n_disks;
    return 0;
}

static int describe_recording(struct vmundo *v, const struct record *r, char **ret, struct vmundo_error *err)
{
    CLEANUP(store_rows_clear) struct store_rows rows = {0};
    char space[48] = "";
    uint64_t n = 0;
    if (!r->every_ms)
        return 0;
    if (store_rows(v, r->name, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.n; i++)
        n += rows.items[i].recorded;
    if (r->keep_bytes)
        snprintf(space, sizeof(space), " in %llu MiB", (unsigned long long)(r->keep_bytes >> 20));
    *ret = str_printf(err, "every %g s%s, kept for %g min%s; %llu checkpoints", (double)r->every_ms / 1e3,
                      r->disks_only ? " without RAM" : "", (double)r->keep_ms / 6e4, space, (unsigned long long)n);
    return *ret ? 0 : -1;
}

int vmundo_status(struct vmundo *v, const char *name, struct vmundo_domain *ret, struct vmundo_error *err)
{
    CLEANUP(record_clear) struct record r = {0};
    CLEANUP(store_operation_clear) struct store_operation pending = {0};
    CLEANUP(vmundo_domain_free) struct vmundo_domain d = {0};
    if (store_get_record(v, name, &r, err) < 0 || store_unfinished(v, name, 0, &pending, err) < 0)
        return -1;
    d.generation = r.generation;
    d.reserve = reserve_is_ready(v, &r, r.base);
    d.created = r.created_ms / 1000;
    if (str_copy(r.name, &d.name, err) < 0 || str_copy(r.hypervisor, &d.hypervisor, err) < 0 ||
        str_copy(r.config_path, &d.config, err) < 0 || str_copy(r.parent, &d.parent, err) < 0 ||
        describe_disks(&r, true, &d.disks, &d.n_disks, err) < 0 ||
        describe_recording(v, &r, &d.recording, err) < 0 || ask_hypervisor(v, &r, true, &d, err) < 0 ||
        say_lost(&r, true, &d, err) < 0 ||
        (pending.id && !str_eq(pending.verb, STORE_RECORDING) && say_interrupted(&d, pending.verb, err) < 0))
        return -1;
    *ret = d;
    d = (struct vmundo_domain){0};
    return 0;
}

int vmundo_plan(struct vmundo *v, const struct vmundo_run_options *options, struct vmundo_plan *ret,
                struct vmundo_error *err)
{
    AUTO_PLAN struct plan plan = {0};
    CLEANUP(vmundo_plan_free) struct vmundo_plan p = {0};
    if (plan_make(v, options, &plan, err) < 0 || describe_disks(&plan.record, false, &p.disks, &p.n_disks, err) < 0)
        return -1;
    p.name = TAKE(plan.record.name);
    p.hypervisor = TAKE(plan.record.hypervisor);
    p.hypervisor_why = TAKE(plan.hypervisor_why);
    p.ignored = strv_steal(&plan.ignored);
    p.warnings = strv_steal(&plan.warnings);
    *ret = p;
    p = (struct vmundo_plan){0};
    return 0;
}

int vmundo_log(struct vmundo *v, const char *name, unsigned limit, struct vmundo_log *ret, struct vmundo_error *err)
{
    return store_log(v, name, limit, ret, err);
}

const char *const *vmundo_storage_names(void)
{
    static const char *names[16];
    const struct storage_driver *const *d = storage_drivers();
    for (size_t n = 0; *d && n < ARRAY_SIZE(names) - 1; d++)
        if (!((*d)->flags & STORAGE_NEVER_IMPLICIT))
            names[n++] = (*d)->name;
    return names;
}

const char *const *vmundo_hypervisor_names(void)
{
    static const char *names[16];
    const struct hyper_driver *const *d = hyper_drivers();
    for (size_t n = 0; *d && n < ARRAY_SIZE(names) - 1; d++)
        if (!((*d)->flags & HYPER_NEVER_IMPLICIT))
            names[n++] = (*d)->name;
    return names;
}
