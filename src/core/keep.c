/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keep.c: see keep.h. DIR/NAME.cfg and DIR/VDEV.img, or VDEV.qcow2 and so on, for each disk that is on a branch.
 */
#include "core/keep.h"

#include "config/config.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PART ".part"

/* ---- where ----------------------------------------------------------------------------------------------------------
 */

/* The canonical path of what need not be there, in a directory that is. */
static char *canonical(const char *to, struct vmundo_error *err)
{
    AUTO_FREE char *copy = str_printf(err, "%s", to), *dir = NULL;
    size_t len = strlen(to);
    while (copy && len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    char *slash = copy ? strrchr(copy, '/') : NULL;
    const char *base = slash ? slash + 1 : copy;
    if (!copy)
        return NULL;
    if (!*base || str_eq(base, ".") || str_eq(base, "..")) {
        error_set(err, VMUNDO_USAGE, "'%.200s' is not the name of a new directory", to);
        return NULL;
    }
    if (slash)
        *slash = '\0';
    dir = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
    if (!dir) {
        error_errno(err, errno, "%s", slash ? copy : ".");
        return NULL;
    }
    return str_printf(err, "%s/%s", str_eq(dir, "/") ? "" : dir, base);
}

static int open_parent(const struct operation *op, int *ret, const char **ret_base, char **ret_part,
                       struct vmundo_error *err)
{
    if (sys_open_parent(op->to, ret, ret_base, err) < 0)
        return -1;
    *ret_part = str_printf(err, "%s" PART, *ret_base);
    return *ret_part ? 0 : -1;
}

int keep_to_plan(struct operation *op, const char *to, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    AUTO_FREE char *part = NULL;
    const char *base;
    op->to = canonical(to, err);
    if (!op->to || open_parent(op, &dir, &base, &part, err) < 0)
        return -1;
    const char *const names[] = {base, part};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (faccessat(dir, names[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return error_set(err, VMUNDO_CONFLICT, "there is a %s%s already: keep --to makes a new directory", op->to,
                             i ? PART : "");
    if (!op->before->n_branches)
        return error_set(err, VMUNDO_REFUSED, "%s has no disk on a branch: there is nothing to keep", op->name);
    return 0;
}

/* ---- what -----------------------------------------------------------------------------------------------------------
 */

static const char *suffix_of(const char *format)
{
    return str_eq(format, "raw") ? "img" : format;
}

static void tell_progress(void *data, uint64_t done, uint64_t total)
{
    const struct operation *op = data;
    context_progress(op->v, op->name, op->to, done, total);
}

static int make_images(struct operation *op, int dir, struct vmundo_error *err)
{
    const struct record *r = op->before;
    struct progress p = {.fn = tell_progress, .data = op};
    for (size_t i = 0; i < r->n_disks; i++) {
        const struct record_disk *d = &r->disks[i];
        AUTO_FREE char *name = str_printf(err, "%s.%s", d->vdev, suffix_of(d->format));
        struct export_options o = {
            .inside = d->inside, .format = d->format, .dirfd = dir, .name = name, .progress = &p};
        if (!name)
            return -1;
        if (d->branch >= 0 && storage_export(&r->branches[d->branch], &o, err) < 0)
            return error_wrap(err, "%s", d->vdev);
    }
    return 0;
}

/* Also of what is only passed through: a relative name would mean something else from there. */
static int make_targets(const struct operation *op, struct config_target *targets, struct strv *paths, size_t *ret_n,
                        struct vmundo_error *err)
{
    const struct record *r = op->before;
    for (size_t i = 0; i < r->n_disks; i++) {
        const struct record_disk *d = &r->disks[i];
        struct stat st;
        bool own = d->branch >= 0;
        if (!own && (!d->target || d->target[0] != '/'))
            continue;
        if ((own ? strv_addf(paths, err, "%s/%s.%s", op->to, d->vdev, suffix_of(d->format))
                 : strv_add(paths, d->target, err)) < 0)
            return -1;
        targets[(*ret_n)++] = (struct config_target){.vdev = d->vdev,
                                                     .target = paths->items[paths->n - 1],
                                                     .format = disk_format_parse(d->format),
                                                     .block = !own && stat(d->target, &st) == 0 && S_ISBLK(st.st_mode)};
    }
    return 0;
}

static int make_config(const struct operation *op, int dir, struct vmundo_error *err)
{
    const struct record *r = op->before;
    AUTO_STRV struct strv paths = {0};
    AUTO_FREE char *text = NULL, *name = str_printf(err, "%s.cfg", r->name);
    AUTO_FREE struct config_target *targets = calloc(r->n_disks + 1, sizeof(*targets));
    size_t n = 0;
    if (!name || !targets)
        return error_nomem(err);
    if (make_targets(op, targets, &paths, &n, err) < 0 ||
        config_rewrite(r->config_text, r->config_path, targets, n, r->name, &text, err) < 0)
        return -1;
    return sys_write_file(dir, name, text, strlen(text), err);
}

int keep_to_make(struct operation *op, struct vmundo_error *err)
{
    AUTO_CLOSE int parent = -1, dir = -1;
    AUTO_FREE char *part = NULL;
    const char *base;
    if (open_parent(op, &parent, &base, &part, err) < 0 || sys_remove_tree(parent, part, err) < 0)
        return -1;
    if (sys_ensure_dir(parent, part, 0700, &dir, err) < 0 || make_images(op, dir, err) < 0 ||
        make_config(op, dir, err) < 0)
        return error_wrap(err, "%s", op->to);
    return sys_fsync_dir(dir) < 0 || sys_fsync_dir(parent) < 0
               ? error_errno(err, errno, "cannot make %s durable", op->to)
               : 0;
}

int keep_to_publish(const struct operation *op, struct vmundo_error *err)
{
    AUTO_CLOSE int parent = -1;
    AUTO_FREE char *part = NULL;
    const char *base;
    if (open_parent(op, &parent, &base, &part, err) < 0)
        return -1;
    if (sys_renameat2(parent, part, parent, base, RENAME_NOREPLACE) < 0 && errno != ENOENT)
        return error_errno(err, errno, "%s" PART " cannot get the name %s", op->to, base);
    return sys_fsync_dir(parent) < 0 ? error_errno(err, errno, "cannot make %s durable", op->to) : 0;
}

int keep_to_undo(const struct operation *op, struct vmundo_error *err)
{
    AUTO_CLOSE int parent = -1;
    AUTO_FREE char *part = NULL;
    const char *base;
    struct vmundo_error e = {0};
    if (open_parent(op, &parent, &base, &part, &e) < 0)
        return e.errnum == ENOENT ? 0 : error_set(err, e.code, "%s", e.msg);
    return sys_remove_tree(parent, part, err);
}

/* ---- the shared origin ----------------------------------------------------------------------------------------------
 */

static const char *shared_origin(const struct record *a, const struct record *b)
{
    for (size_t i = 0; i < a->n_branches; i++)
        for (size_t k = 0; k < b->n_branches; k++)
            if (str_eq(a->branches[i].origin, b->branches[k].origin))
                return a->branches[i].origin;
    return NULL;
}

static int check_against(const struct operation *op, const char *other, struct vmundo_error *err)
{
    CLEANUP(record_clear) struct record r = {0};
    AUTO_FREE char *text = NULL;
    if (store_get(op->v, other, &text, err) < 0 || (text && record_from_text(text, &r, err) < 0))
        return -1;
    const char *origin = shared_origin(op->before, &r);
    return origin
               ? error_set(err, VMUNDO_REFUSED,
                           "%s is a fork of %s, and %s is a disk of %s, too: keep would put the fork's state into it. "
                           "'vmundo keep %s --to DIR' makes images of its own",
                           op->name, op->before->parent, origin, other, op->name)
               : 0;
}

int keep_check_shared(const struct operation *op, struct vmundo_error *err)
{
    struct store_domain *rows = NULL;
    size_t n = 0;
    int r = 0;
    if (!op->before->home)
        return 0;
    if (store_list(op->v, &rows, &n, err) < 0)
        return -1;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!str_eq(rows[i].name, op->name))
            r = check_against(op, rows[i].name, err);
    store_domains_free(rows, n);
    return r;
}
