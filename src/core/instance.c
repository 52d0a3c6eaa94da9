/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * instance.c: see instance.h. The directory domains/NAME/run.N is made anew for every start and removed when the
 * instance has ended and is no longer of interest.
 */
#include "core/instance.h"

#include "config/config.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <sys/statvfs.h>

void instance_clear(struct instance_ctx *c)
{
    domain_clear(&c->domain);
    free(c->dir);
    free(c->config);
    free(c->console_log);
    free(c->saved_of);
    *c = (struct instance_ctx){0};
}

int instance_has_ram(const struct record *r, bool *ret, struct vmundo_error *err)
{
    *ret = r->ram && access(r->ram, F_OK) == 0;
    return *ret || !r->ram || errno == ENOENT || errno == ENOTDIR ? 0 : error_errno(err, errno, "cannot look for %s", r->ram);
}

static int fill_names(const struct vmundo *v, const struct record *r, struct instance_ctx *c, struct vmundo_error *err)
{
    const struct hyper_driver *driver = hyper_find(r->hypervisor);
    if (!driver)
        return error_set(err, VMUNDO_FAILED, "%s runs with the hypervisor driver '%s', which this vmundo does not have",
                         r->name, r->hypervisor);
    c->dir = str_printf(err, "%s/domains/%s/run.%llu", v->state_dir, r->name, (unsigned long long)r->instance);
    c->config = c->dir ? str_printf(err, "%s/domain.cfg", c->dir) : NULL;
    c->console_log = c->config ? str_printf(err, "%s/domains/%s/console.log", v->state_dir, r->name) : NULL;
    if (!c->console_log)
        return -1;
    c->i.driver = driver;
    c->i.config = c->config;
    c->i.dir = c->dir;
    c->i.console_log = c->console_log;
    c->i.options = (struct hyper_options){.accel = r->accel, .net = r->net, .isolated = r->isolated};
    bool ram = false;
    if (instance_has_ram(r, &ram, err) < 0)
        return -1;
    c->i.ram = ram ? r->ram : NULL;
    return 0;
}

int instance_open(const struct vmundo *v, const struct record *r, struct instance_ctx *ret, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    if (fill_names(v, r, &c, err) < 0 || str_copy(r->name, &c.domain.name, err) < 0)
        return -1;
    *ret = c;
    ret->i.domain = &ret->domain;
    c = (struct instance_ctx){0};
    return 0;
}

/* The branches' places, as the rewriting of the configuration wants them. The strings are the caller's: one each of
 * *ret_paths for each of *ret_targets. */
static int collect_targets(const struct record *r, struct config_target *targets, struct strv *paths,
                           struct vmundo_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_disks; i++) {
        const struct record_disk *d = &r->disks[i];
        if (d->branch < 0)
            continue;
        AUTO_FREE char *path = NULL, *format = NULL;
        bool block = false;
        if (storage_locate(&r->branches[d->branch], d->inside, &path, &format, &block, err) < 0 ||
            strv_add(paths, path, err) < 0)
            return error_wrap(err, "%s", d->vdev);
        targets[n++] = (struct config_target){
            .vdev = d->vdev,
            .target = paths->items[paths->n - 1],
            .format = disk_format_parse(format ? format : d->format),
            .block = block,
        };
    }
    return (int)n;
}

static int write_config(const struct vmundo *v, const struct record *r, const struct instance_ctx *c, const char *text,
                        struct vmundo_error *err)
{
    AUTO_CLOSE int domain = -1, run = -1;
    const char *run_name = strrchr(c->dir, '/') + 1;
    if (context_domain_dir(v, r->name, true, &domain, err) < 0 || sys_remove_tree(domain, run_name, err) < 0 ||
        sys_ensure_dir(domain, run_name, 0700, &run, err) < 0)
        return -1;
    return sys_put_file(run, "domain.cfg", text, strlen(text), err);
}

/* A guest whose RAM file runs out of room dies, so there must be room for all of it, and for the copy-on-write of a
 * checkpoint; else its RAM is anonymous. */
static int has_room(const char *path, uint64_t size, bool *ret, struct vmundo_error *err)
{
    AUTO_FREE char *copy = str_printf(err, "%s", path);
    struct statvfs s;
    if (!copy)
        return -1;
    char *folder = strstr(copy, "/.vmundo/");
    *ret = false;
    if (!folder)
        return 0;
    folder[folder == copy] = '\0';
    if (statvfs(copy, &s) < 0)
        return error_errno(err, errno, "cannot see how much room is in %s", copy);
    *ret = (uint64_t)s.f_bavail * s.f_frsize / 4 >= size;
    return 0;
}

struct mark instance_base_mark(const struct vmundo *v, const struct record *r)
{
    struct mark m = {.store = v->store_id, .domain = r->name, .generation = r->base};
    if (r->ram_of) {
        m.domain = r->ram_of;
        m.generation = r->ram_at;
    }
    return m;
}

/* The RAM of a new instance: that of the checkpoint that it starts from, or a new file, or none. */
static int make_ram(const struct vmundo *v, const struct record *r, struct instance_ctx *c, struct vmundo_error *err)
{
    struct mark m = {.store = v->store_id, .domain = r->name, .generation = r->generation};
    uint64_t size = r->ram ? hyper_ram_size(c->i.driver, &c->domain) : 0;
    c->i.ram = NULL;
    c->i.saved = r->saved;
    struct mark base = instance_base_mark(v, r);
    if (r->saved && !(c->i.saved_of = c->saved_of = mark_text(&base, err)))
        return -1;
    c->i.ram_private = r->saved && r->ram_base && r->ram_private;
    if (c->i.ram_private) {
        c->i.ram = r->ram_base;
        return storage_ram_check(r->ram_base, &base, err);
    }
    if (r->saved && r->ram_base && !r->ram)
        return error_set(err, VMUNDO_REFUSED, "the checkpoint's RAM is in a file, and there is no place for a copy of it");
    bool room = r->saved && r->ram_base; /* else it may do without */
    if (r->ram && !r->saved && size && has_room(r->ram, size, &room, err) < 0)
        return -1;
    if (!r->ram || !room)
        return 0;
    if (r->saved && storage_ram_check(r->ram_base, &base, err) < 0)
        return -1;
    if (storage_ram_make(r->ram, r->saved ? r->ram_base : NULL, size, &m, false, err) < 0)
        return -1;
    c->i.ram = r->ram;
    return 0;
}

int instance_prepare(const struct vmundo *v, const struct record *r, struct instance_ctx *ret, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    AUTO_STRV struct strv paths = {0};
    AUTO_FREE char *text = NULL;
    AUTO_FREE struct config_target *targets = calloc(r->n_disks + 1, sizeof(*targets));
    if (!targets)
        return error_nomem(err);
    if (fill_names(v, r, &c, err) < 0)
        return -1;
    for (size_t i = 0; i < r->n_branches; i++)
        if (storage_attach(&r->branches[i], err) < 0)
            return -1;
    int n = collect_targets(r, targets, &paths, err);
    if (n < 0 ||
        config_rewrite(r->config_text, r->config_path, targets, (size_t)n, r->name, &text, err) < 0 ||
        config_parse(text, r->config_path, &c.domain, err) < 0 || write_config(v, r, &c, text, err) < 0 ||
        make_ram(v, r, &c, err) < 0)
        return -1;
    *ret = c;
    ret->i.domain = &ret->domain;
    c = (struct instance_ctx){0};
    return 0;
}

int instance_remove(const struct vmundo *v, const struct record *r, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    AUTO_CLOSE int domain = -1;
    struct vmundo_error e = {0};
    if (r->instance == 0)
        return 0;
    if (context_domain_dir(v, r->name, false, &domain, &e) < 0)
        return e.errnum == ENOENT ? 0 : error_set(err, e.code, "%s", e.msg);
    if (instance_open(v, r, &c, err) < 0 || hyper_destroy(&c.i, err) < 0)
        return -1;
    return sys_remove_tree(domain, strrchr(c.dir, '/') + 1, err);
}
