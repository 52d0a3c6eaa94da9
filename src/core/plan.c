/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plan.c: which driver protects which disk, and why. The configuration is read and parsed, each disk's target is
 * followed down to its storage, storage_choose() asks the drivers, and disks that share a volume share a branch.
 */
#include "core/plan.h"

#include "core/guard.h"

#include "config/config.h"
#include "hyper/hyper.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <sys/stat.h>

void plan_clear(struct plan *p)
{
    record_clear(&p->record);
    free(p->hypervisor_why);
    strv_clear(&p->ignored);
    strv_clear(&p->warnings);
    *p = (struct plan){0};
}

/* What plan_disk() needs besides the disk: kept in one place instead of in seven parameters. */
struct planning {
    const struct vmundo_run_options *options;
    struct plan *plan;
    struct stack *stacks;    /* of the writable disks, by disk number */
};

static bool is_unprotected(const struct vmundo_run_options *o, const char *vdev)
{
    for (size_t i = 0; o->unprotected && o->unprotected[i]; i++)
        if (str_eq(o->unprotected[i], vdev))
            return true;
    return false;
}

static int check_unprotected(const struct vmundo_run_options *o, const struct domain *d, struct vmundo_error *err)
{
    for (size_t i = 0; o->unprotected && o->unprotected[i]; i++)
        if (!domain_find_disk(d, o->unprotected[i]))
            return error_set(err, VMUNDO_USAGE, "%s has no disk '%.40s' to leave unprotected", d->name,
                             o->unprotected[i]);
    return 0;
}

static int pass_through(const struct domain_disk *d, struct record_disk *r, const char *why, struct vmundo_error *err)
{
    struct stat st;
    r->branch = -1;
    if (d->target && d->target[0] == '/' && !d->backend && !d->script) {
        if (stat(d->target, &st) < 0)
            return error_errno(err, errno, "%s: %s", d->vdev, d->target);
        if (storage_check_image(d->target, r->format, err) < 0)
            return error_wrap(err, "%s", d->vdev);
    }
    return str_copy(why, &r->why, err);
}

static int add_branch(struct planning *p, const struct storage_driver *driver, const char *origin, bool whole,
                      const char *format, struct vmundo_error *err)
{
    struct record *r = &p->plan->record;
    struct branch *b = &r->branches[r->n_branches++];
    b->driver = driver;
    b->limit = p->options->size;
    return str_copy(origin, &b->origin, err) < 0 ? -1 : str_copy(whole ? format : NULL, &b->origin_format, err);
}

/* Put the disk on a branch: one that another disk of the same volume has already, or a new one. */
static int assign_branch(struct planning *p, struct record_disk *d, const struct storage_driver *driver,
                         const struct claim *c, struct vmundo_error *err)
{
    struct record *r = &p->plan->record;
    size_t i = 0;
    while (i < r->n_branches && !(r->branches[i].driver == driver && str_eq(r->branches[i].origin, c->volume)))
        i++;
    if (i == r->n_branches && add_branch(p, driver, c->volume, !c->inside, d->format, err) < 0)
        return -1;
    d->branch = (int64_t)i;
    if (c->inside && strv_add(&r->branches[i].inside, c->inside, err) < 0)
        return -1;
    return str_copy(c->inside, &d->inside, err) < 0 || str_copy(c->why, &d->why, err) < 0 ||
                   str_copy(c->cost, &d->cost, err) < 0 || str_copy(c->cannot, &d->cannot, err) < 0
               ? -1
               : 0;
}

/* Two names for one file, or two hard links, would give two branches that disagree. */
static int check_distinct(const struct planning *p, size_t n, struct vmundo_error *err)
{
    const struct stack *s = &p->stacks[n];
    for (size_t i = 0; i < n; i++)
        if (p->stacks[i].path && s->kind != STACK_RBD && p->stacks[i].kind == s->kind && p->stacks[i].dev == s->dev &&
            (s->kind == STACK_BLOCK || p->stacks[i].ino == s->ino))
            return error_set(err, VMUNDO_FAILED, "the disks %s and %s are the same %s, %s",
                             p->plan->record.disks[i].vdev, p->plan->record.disks[n].vdev,
                             s->kind == STACK_FILE ? "file" : "device", s->path);
    return 0;
}

static int protect(struct planning *p, size_t n, const struct domain_disk *d, struct vmundo_error *err)
{
    const struct storage_driver *driver = NULL;
    CLEANUP(claim_clear) struct claim c = {0};
    struct record_disk *r = &p->plan->record.disks[n];
    if (stack_resolve(d->target, &p->stacks[n], err) < 0 || check_distinct(p, n, err) < 0)
        return -1;
    if (p->stacks[n].kind != STACK_RBD && storage_check_image(p->stacks[n].path, r->format, err) < 0)
        return error_wrap(err, "%s", d->vdev);
    if (storage_choose(&p->stacks[n], r->format, p->options->method, &driver, &c, err) < 0)
        return err && err->code == VMUNDO_REFUSED
                   ? error_wrap(err, "%s (to run on the origin itself: --unprotected %s)", d->vdev, d->vdev)
                   : error_wrap(err, "%s", d->vdev);
    return assign_branch(p, r, driver, &c, err);
}

static int plan_disk(struct planning *p, size_t n, const struct domain_disk *d, struct vmundo_error *err)
{
    struct record_disk *r = &p->plan->record.disks[n];
    if (str_copy(d->vdev, &r->vdev, err) < 0 || str_copy(d->target, &r->target, err) < 0 ||
        str_copy(disk_format_name(d->format), &r->format, err) < 0)
        return -1;
    r->readonly = d->readonly;
    r->cdrom = d->cdrom;
    if (!d->target)
        return pass_through(d, r, "empty drive", err);
    if (d->cdrom || d->readonly)
        return pass_through(d, r, d->cdrom ? "CD-ROM, passed through" : "read-only, passed through", err);
    if (is_unprotected(p->options, d->vdev))
        return pass_through(d, r, "UNPROTECTED on request: runs on its origin", err);
    if (d->script || d->backend)
        return error_set(err, VMUNDO_REFUSED,
                         "%s comes from the %s '%s', which no storage driver can take a branch of (to run on the origin "
                         "itself: --unprotected %s)", d->vdev, d->script ? "block script" : "driver domain",
                         d->script ? d->script : d->backend, d->vdev);
    return protect(p, n, d, err);
}

static int plan_disks(struct planning *p, const struct domain *d, struct vmundo_error *err)
{
    struct record *r = &p->plan->record;
    r->disks = calloc(d->n_disks + 1, sizeof(*r->disks));
    r->branches = calloc(d->n_disks + 1, sizeof(*r->branches));
    if (!r->disks || !r->branches)
        return error_nomem(err);
    for (; r->n_disks < d->n_disks; r->n_disks++)
        if (plan_disk(p, r->n_disks, &d->disks[r->n_disks], err) < 0) {
            r->n_disks++;
            return -1;
        }
    return 0;
}

static int plan_hypervisor(struct planning *p, const struct domain *d, struct vmundo_error *err)
{
    const struct vmundo_run_options *o = p->options;
    struct record *r = &p->plan->record;
    const struct hyper_driver *h = NULL;
    struct hyper_options options = {.accel = o->accel, .net = o->net};
    if (hyper_choose(o->hypervisor, &h, &p->plan->hypervisor_why, err) < 0 ||
        hyper_check(h, d, &options, &p->plan->ignored, err) < 0)
        return -1;
    return str_copy(h->name, &r->hypervisor, err) < 0 || str_copy(o->accel, &r->accel, err) < 0 ||
                   str_copy(o->net, &r->net, err) < 0
               ? -1
               : 0;
}

static int rename_domain(struct domain *d, const char *name, struct vmundo_error *err)
{
    if (!name)
        return 0;
    if (domain_name_check(name, err) < 0) {
        if (err)
            err->code = VMUNDO_USAGE;
        return -1;
    }
    free(d->name);
    d->name = NULL;
    return str_copy(name, &d->name, err);
}

static int check_options(const struct vmundo_run_options *o, struct vmundo_error *err)
{
    static const char *const nets[] = {"bridge", "user", "none"};
    if (!o->config || !*o->config)
        return error_set(err, VMUNDO_USAGE, "no configuration file given");
    if (o->method && !storage_find(o->method))
        return error_set(err, VMUNDO_USAGE, "no storage driver is called '%.40s'", o->method);
    if (o->accel && !str_eq(o->accel, "kvm") && !str_eq(o->accel, "tcg"))
        return error_set(err, VMUNDO_USAGE, "no accelerator is called '%.40s': kvm or tcg", o->accel);
    if (guard_check_levels(o->extend_at, o->pause_at, err) < 0)
        return -1;
    for (size_t i = 0; o->net && i < ARRAY_SIZE(nets); i++)
        if (str_eq(o->net, nets[i]))
            return 0;
    return o->net ? error_set(err, VMUNDO_USAGE, "no network is called '%.40s': bridge, user or none", o->net) : 0;
}

static void free_stacks(struct planning *p)
{
    for (size_t i = 0; p->stacks && i < p->plan->record.n_disks; i++)
        stack_clear(&p->stacks[i]);
    free(p->stacks);
}

int plan_make(const struct vmundo *v, const struct vmundo_run_options *o, struct plan *ret, struct vmundo_error *err)
{
    CLEANUP(domain_clear) struct domain d = {0};
    AUTO_PLAN struct plan plan = {0};
    CLEANUP(free_stacks) struct planning p = {.options = o, .plan = &plan};
    struct record *r = &plan.record;
    if (check_options(o, err) < 0 || config_load(o->config, &r->config_text, &r->config_path, err) < 0 ||
        config_parse(r->config_text, r->config_path, &d, err) < 0 || rename_domain(&d, o->name, err) < 0 ||
        check_unprotected(o, &d, err) < 0 || str_copy(d.name, &r->name, err) < 0)
        return -1;
    p.stacks = calloc(d.n_disks + 1, sizeof(*p.stacks));
    if (!p.stacks)
        return error_nomem(err);
    r->generation = 1;
    r->instance = 1;
    r->running = true;
    r->created_ms = sys_realtime_ms();
    r->extend_at = o->extend_at;
    r->pause_at = o->pause_at;
    r->unguarded = o->no_guard;
    if (plan_hypervisor(&p, &d, err) < 0 || plan_disks(&p, &d, err) < 0 || plan_name_branches(v, r, err) < 0)
        return error_wrap(err, "%s", d.name);
    for (size_t i = 0; i < r->n_branches; i++) {
        const char *warning = json_string_value(json_object_get(r->branches[i].detail, "warning"));
        if (warning && strv_add(&plan.warnings, warning, err) < 0)
            return -1;
    }
    if (r->n_branches == 0 &&
        strv_add(&plan.warnings, "no disk of this domain is on a branch: there will be nothing to roll back", err) < 0)
        return -1;
    free_stacks(&p);
    p.stacks = NULL;
    *ret = plan;
    plan = (struct plan){0};
    return 0;
}

/* All that naming and making a branch fill in; but for one that starts from another the fingerprint is that one's. */
static void forget_made(struct branch *b)
{
    char **texts[] = {&b->path, &b->format, &b->mount, &b->fingerprint};
    for (size_t i = 0; i < ARRAY_SIZE(texts) - (b->base ? 1 : 0); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    json_decref(b->detail);
    b->detail = NULL;
}

int plan_name_branch(const struct vmundo *v, struct record *r, size_t branch, uint64_t generation,
                     struct vmundo_error *err)
{
    struct mark m = {.store = v->store_id, .domain = r->name, .generation = generation};
    forget_made(&r->branches[branch]);
    return storage_name(&r->branches[branch], &m, v->state_dir, err);
}

int plan_name_branches(const struct vmundo *v, struct record *r, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (plan_name_branch(v, r, i, r->generation, err) < 0)
            return -1;
    return 0;
}

int plan_preflight(const struct record *r, const struct record *gone, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++) {
        const struct branch *b = &r->branches[i];
        if ((gone ? storage_preflight_replacing(b, &gone->branches[i], err) : storage_preflight(b, err)) < 0)
            return error_wrap(err, "%s", r->name);
    }
    return 0;
}

static int set_consistency(struct branch *b, const char *what, struct vmundo_error *err)
{
    free(b->consistency);
    b->consistency = NULL;
    return str_copy(what, &b->consistency, err);
}

static int check_disk(const struct vmundo *v, struct record *r, const struct record_disk *d, bool allow,
                      struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    AUTO_FREE char *who = NULL;
    if (stack_resolve(d->target, &s, err) < 0 || storage_in_use(&s, true, &who, err) < 0 ||
        (!who && hyper_disk_in_use(s.path, &who, err) < 0))
        return error_wrap(err, "%s: %s", r->name, d->vdev);
    if (!who)
        return 0;
    if (!allow)
        return error_set(err, VMUNDO_CONFLICT,
                         "%s: %s is being written to by %s: stop that first (or --allow-in-use, for a branch as after a "
                         "power cut)", r->name, s.path, who);
    AUTO_FREE char *warning = str_printf(err, "%s is being written to by %s: the branch is only crash-consistent",
                                         s.path, who);
    if (!warning)
        return -1;
    context_report(v, VMUNDO_EVENT_WARNING, r->name, warning);
    return d->branch < 0 ? 0 : set_consistency(&r->branches[d->branch], "crash", err);
}

int plan_check_in_use(const struct vmundo *v, struct record *r, bool allow, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (set_consistency(&r->branches[i], "off", err) < 0)
            return -1;
    for (size_t i = 0; i < r->n_disks; i++)
        if (r->disks[i].branch >= 0 && r->disks[i].target[0] == '/' && check_disk(v, r, &r->disks[i], allow, err) < 0)
            return -1;
    return 0;
}

int plan_check_unprotected(const struct vmundo *v, struct record *r, bool allow, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_disks; i++)
        if (record_disk_is_unprotected(&r->disks[i]) && r->disks[i].target[0] == '/' &&
            check_disk(v, r, &r->disks[i], allow, err) < 0)
            return -1;
    return 0;
}
