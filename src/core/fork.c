/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fork.c: other domains of one's state. Each fork is a domain like any other: its first checkpoint is a copy of the
 * state that it was forked from, in its own name, and it runs on branches of that. Disks are cloned, and RAM and saved
 * devices get a second name (nobody writes to a checkpoint's): so nothing of a fork depends on its parent, and whatever
 * can be done to the parent and its checkpoints afterwards does not concern it. (Overlays rest on the parent's, whose files stay
 * for as long as that is so: storage/qcow2-chain.h.)
 *
 * Each fork is one operation in a journal entry of its own. What they are made of holds still, because the parent's
 * lock is ours until all of them stand. They are started side by side, by threads that each have a handle of their own.
 */
#include "core/instance.h"
#include "core/plan.h"
#include "core/verbs.h"
#include "config/config.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <pthread.h>

#define MAX_FORKS 1000
#define THREADS_PER_CPU 2

struct forking {
    const struct vmundo *v;
    const struct vmundo_fork_options *o;
    const struct checkpoint *from;
    const char *parent; /* what they are forked from, for people */
    struct strv names;
    pthread_mutex_t mutex; /* for the rest, and the caller's report */
    size_t next;
    bool *made;                /* of each name: it stands */
    struct vmundo_error first; /* what went wrong first */
};

static void forking_clear(struct forking *f)
{
    strv_clear(&f->names);
    free(f->made);
    pthread_mutex_destroy(&f->mutex);
}

/* ---- who it is ------------------------------------------------------------------------------------------------------
 */

/* Random, of version 4 (RFC 9562). */
static int make_uuid(char ret[37], struct vmundo_error *err)
{
    char hex[33];
    if (sys_random_hex(hex, err) < 0)
        return -1;
    hex[12] = '4';
    hex[16] = "89ab"[hex[16] & 3];
    snprintf(ret, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return 0;
}

/* In the range that Xen's guests have from their own maker's. */
static int make_macs(size_t n, struct strv *ret, struct vmundo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        char hex[33];
        if (sys_random_hex(hex, err) < 0 || strv_addf(ret, err, "00:16:3e:%.2s:%.2s:%.2s", hex, hex + 2, hex + 4) < 0)
            return -1;
    }
    return 0;
}

/* Another machine of the same kind: r, a copy of the parent's record, becomes that of `name`. */
static int identify(const struct forking *f, const char *name, struct record *r, struct vmundo_error *err)
{
    CLEANUP(domain_clear) struct domain d = {0};
    AUTO_STRV struct strv macs = {0};
    char uuid[37];
    const struct hyper_driver *h = hyper_find(r->hypervisor);
    if (config_parse(r->config_text, r->config_path, &d, err) < 0 || make_macs(d.n_vifs, &macs, err) < 0 ||
        make_uuid(uuid, err) < 0)
        return -1;
    r->isolated = !f->o->network;
    struct config_identity id = {.uuid = uuid, .macs = (const char *const *)macs.items};
    id.no_vifs = r->isolated && !(h && h->flags & HYPER_ISOLATES);
    if (id.no_vifs && d.n_vifs && f->from->saved && !f->o->boot)
        return error_set(err, VMUNDO_REFUSED,
                         "with the hypervisor driver %s a guest that goes on with its RAM must have its network: "
                         "--network, or --boot", r->hypervisor);
    AUTO_FREE char *text = NULL;
    if (config_identify(r->config_text, r->config_path, &id, &text, err) < 0)
        return -1;
    free(r->config_text);
    r->config_text = TAKE(text);
    free(TAKE(r->name));
    free(TAKE(r->parent));
    return str_copy(name, &r->name, err) < 0 ? -1 : str_copy(f->parent, &r->parent, err);
}

/* ---- one ------------------------------------------------------------------------------------------------------------
 */

/* op->after: on branches of op->made, and running. */
static int plan_running(struct operation *op, struct vmundo_error *err)
{
    struct record *a = op->after = calloc(1, sizeof(*op->after));
    if (!a)
        return error_nomem(err);
    a->generation = a->counter = op->made.id + 1;
    a->instance = 1;
    a->created_ms = op->made.created_ms;
    if (checkpoint_apply(&op->made, true, a, err) < 0 || plan_name_branches(op->v, a, err) < 0)
        return -1;
    op->name = a->name;
    return a->ram_private ? 0 : record_plan_ram(op->v->store_id, a, a->instance, err);
}

static int fork_one(const struct forking *f, struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    op.from = f->from;
    if (operation_begin(&op, v, "fork", name, err) < 0 || record_copy(&f->from->record, &op.made.record, err) < 0 ||
        identify(f, name, &op.made.record, err) < 0 || verbs_check_name_free(&op, &op.made.record, err) < 0 ||
        checkpoint_plan_fork(v, f->from, !f->o->boot, &op.made, err) < 0 ||
        plan_preflight(&op.made.record, NULL, err) < 0 || plan_running(&op, err) < 0)
        return -1;
    return operation_execute(&op, err);
}

/* ---- all of them ----------------------------------------------------------------------------------------------------
 */

/* One event at a time, whoever it comes from. */
static void relay(void *data, const struct vmundo_event *event)
{
    struct forking *f = data;
    pthread_mutex_lock(&f->mutex);
    if (f->v->report)
        f->v->report(f->v->report_data, event);
    pthread_mutex_unlock(&f->mutex);
}

/* The next name that is to be forked, or the number of them when there is none, or one has failed. */
static size_t take_next(struct forking *f)
{
    pthread_mutex_lock(&f->mutex);
    size_t i = f->first.code ? f->names.n : f->next;
    f->next += f->next < f->names.n;
    pthread_mutex_unlock(&f->mutex);
    return i;
}

static void settle(struct forking *f, size_t i, const struct vmundo_error *e)
{
    pthread_mutex_lock(&f->mutex);
    if (e->code && !f->first.code)
        f->first = *e;
    else if (!e->code && i < f->names.n)
        f->made[i] = true;
    pthread_mutex_unlock(&f->mutex);
}

static void *work(void *data)
{
    struct forking *f = data;
    struct vmundo *v = NULL;
    struct vmundo_error e = {0};
    const struct vmundo_options o = {.state_dir = f->v->state_dir, .report = relay, .report_data = f};
    if (vmundo_open(&o, &v, &e) < 0)
        settle(f, f->names.n, &e);
    for (size_t i; v && (i = take_next(f)) < f->names.n;) {
        e = (struct vmundo_error){0};
        if (fork_one(f, v, f->names.items[i], &e) < 0)
            error_wrap(&e, "%s", f->names.items[i]);
        settle(f, i, &e);
    }
    vmundo_close(v);
    return NULL;
}

static size_t count_threads(size_t forks)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = THREADS_PER_CPU * (size_t)(cpus > 0 ? cpus : 1);
    return n < forks ? n : forks;
}

static void work_in_threads(struct forking *f)
{
    size_t n = count_threads(f->names.n), begun = 0;
    AUTO_FREE pthread_t *threads = calloc(n, sizeof(*threads));
    while (threads && begun < n && pthread_create(&threads[begun], NULL, work, f) == 0)
        begun++;
    if (!begun)
        work(f);
    for (size_t i = 0; i < begun; i++)
        pthread_join(threads[i], NULL);
}

/* All or none: those that stand go again. */
static int take_back(struct forking *f, struct vmundo *v, struct vmundo_error *err)
{
    if (err)
        *err = f->first;
    for (size_t i = 0; i < f->names.n; i++) {
        struct vmundo_error e = {0};
        if (f->made[i] && vmundo_drop(v, f->names.items[i], &e) < 0)
            return error_set(err, VMUNDO_INTERRUPTED, "%s; and %s is left: 'vmundo drop %s' (%s)", f->first.msg,
                             f->names.items[i], f->names.items[i], e.msg);
    }
    return -1;
}

static int fork_all(struct forking *f, struct vmundo *v, struct vmundo_error *err)
{
    bool here = v->dry_run || f->names.n == 1;
    for (size_t i = 0; here && i < f->names.n; i++)
        if (fork_one(f, v, f->names.items[i], err) < 0)
            return error_wrap(err, "%s", f->names.items[i]);
    if (here)
        return 0;
    work_in_threads(f);
    return f->first.code ? take_back(f, v, err) : 0;
}

/* ---- what to fork, and what to call them ----------------------------------------------------------------------------
 */

/* Of what is off the branches hold still as they are, unless forks rested on them. */
static bool holds_still(const struct record *r, bool running)
{
    for (size_t i = 0; i < r->n_branches && !running; i++)
        running = r->branches[i].driver->flags & STORAGE_ON_BRANCH;
    return !running;
}

/* What does not hold still gets a checkpoint. */
static int take_state(struct operation *op, const struct vmundo_fork_options *o, struct vmundo_error *err)
{
    bool running = false;
    const struct hyper_driver *h = hyper_find(op->before->hypervisor);
    if (verbs_is_running(op, &running, err) < 0)
        return -1;
    if (holds_still(op->before, running))
        return checkpoint_of_leftover(op->before, &op->made, err) < 0 ? -1
                                                                      : str_copy("off", &op->made.consistency, err);
    bool ram = running && !o->boot && h && h->save && (o->network || h->flags & HYPER_ISOLATES);
    op->verb = "checkpoint";
    return verbs_plan_checkpoint(op, NULL, false, ram, err) < 0 ? -1 : operation_execute(op, err);
}

/* There are no forks, and so the checkpoint that was made for them goes. Returns -1. */
static int forget_state(struct operation *op)
{
    const char *const labels[] = {op->made.label, NULL};
    const struct vmundo_prune_options o = {.labels = labels};
    bool ours = op->after && !op->v->dry_run; /* not one that the user has named */
    lock_release(&op->lock);
    if (ours)
        vmundo_prune(op->v, op->name, &o, NULL, NULL);
    return -1;
}

static int find_state(struct operation *op, const struct vmundo_fork_options *o, struct vmundo_error *err)
{
    if (checkpoint_check_fork(op->before, err) < 0)
        return error_wrap(err, "%s", op->name);
    if (!o->checkpoint)
        return take_state(op, o, err);
    return store_get_checkpoint(op->v, op->name, o->checkpoint, &op->made, err);
}

/* PREFIX-1, PREFIX-2 and so on, but those that exist. */
static int choose_names(struct forking *f, struct vmundo *v, const char *prefix, struct vmundo_error *err)
{
    unsigned count = f->o->count ? f->o->count : 1;
    if (count == 1 && f->o->name) {
        AUTO_FREE char *text = NULL;
        if (store_get(v, f->o->name, &text, err) < 0)
            return -1;
        return text ? error_set(err, VMUNDO_CONFLICT, "the name '%s' is in use: give another", f->o->name)
                    : strv_add(&f->names, f->o->name, err);
    }
    for (unsigned n = 1; f->names.n < count; n++) {
        AUTO_FREE char *name = str_printf(err, "%s-%u", prefix, n), *text = NULL;
        if (!name || store_get(v, name, &text, err) < 0 || (!text && strv_add(&f->names, name, err) < 0))
            return -1;
    }
    return 0;
}

static int check_options(const struct vmundo_fork_options *o, struct vmundo_error *err)
{
    if (o->count > MAX_FORKS)
        return error_set(err, VMUNDO_USAGE, "%u forks at once are too many: %d at most", o->count, MAX_FORKS);
    if (!o->name || domain_name_check(o->name, err) == 0)
        return 0;
    if (err)
        err->code = VMUNDO_USAGE;
    return -1;
}

/* What a guest that is resumed with its RAM believes of its network is what its parent is. */
static void warn_of_network(const struct vmundo *v, const struct forking *f, const char *name)
{
    CLEANUP(domain_clear) struct domain d = {0};
    const struct record *r = &f->from->record;
    if (!f->o->network || f->o->boot || !f->from->saved || config_parse(r->config_text, r->config_path, &d, NULL) < 0 ||
        !d.n_vifs)
        return;
    context_report(v, VMUNDO_EVENT_WARNING, name,
                   "its forks go on with its network addresses, hardware and IP, until they are told otherwise inside "
                   "(or --boot)");
}

void vmundo_names_free(struct vmundo_names *names)
{
    if (!names)
        return;
    strv_free_items(names->names);
    *names = (struct vmundo_names){0};
}

int vmundo_fork(struct vmundo *v, const char *name, const struct vmundo_fork_options *o, struct vmundo_names *ret,
                struct vmundo_error *err)
{
    static const struct vmundo_fork_options defaults;
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    CLEANUP(forking_clear) struct forking f = {.v = v, .o = o ? o : &defaults, .mutex = PTHREAD_MUTEX_INITIALIZER};
    if (check_options(f.o, err) < 0 || verbs_begin(&op, v, "fork", name, err) < 0 ||
        choose_names(&f, v, f.o->name ? f.o->name : name, err) < 0 || find_state(&op, f.o, err) < 0)
        return -1;
    AUTO_FREE char *parent =
        op.made.label ? str_printf(err, "%s@%s", name, op.made.label) : str_printf(err, "%s", name);
    f.made = calloc(f.names.n + 1, sizeof(*f.made));
    if (!parent || !f.made)
        return error_nomem(err);
    f.from = &op.made;
    f.parent = parent;
    warn_of_network(v, &f, name);
    if (fork_all(&f, v, err) < 0)
        return forget_state(&op);
    if (ret) {
        ret->n = f.names.n;
        ret->names = strv_steal(&f.names);
    }
    return 0;
}
