/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rewrite.c: a copy of a configuration with other disk targets, and maybe another name, byte for byte the same
 * elsewhere.
 *
 * scan.c says where the strings of the disk list stand, diskspec.c what each must become; here these edits are put into
 * the text. The result is then parsed like any configuration and must be exactly the domain wanted.
 */
#include "config/config.h"

#include "config/diskspec.h"
#include "config/scan.h"

#include <limits.h>

/* Bytes start to end (exclusive) of the text become new. */
struct edit {
    size_t start, end;
    char *new;
};

struct rewrite {
    const char *text;
    struct domain want; /* the domain that the new text must describe */
    struct scan scan;
    struct edit *edits; /* room for one per target and one for the name */
    size_t n_edits;
};

static void rewrite_clear(struct rewrite *w)
{
    domain_clear(&w->want);
    scan_clear(&w->scan);
    for (size_t i = 0; i < w->n_edits; i++)
        free(w->edits[i].new);
    free(w->edits);
}

static int add_edit(struct rewrite *w, size_t start, size_t end, char *new)
{
    if (!new)
        return -1;
    w->edits[w->n_edits++] = (struct edit){.start = start, .end = end, .new = new};
    return 0;
}

static char quote_of(const char *text, const struct scan_value *value)
{
    return text[value->start] == '\'' ? '\'' : '"';
}

/* Change the literal of one disk, and in w->want the disk itself. */
static int retarget_disk(struct rewrite *w, const struct scan_value *literal, const struct config_target *target,
                         struct domain_disk *disk, struct vmundo_error *err)
{
    AUTO_FREE char *spec = NULL, *new = NULL;
    if (scan_string(w->text, literal, &spec, err) < 0 || diskspec_retarget(spec, target, &new, err) < 0)
        return -1;

    CLEANUP(domain_disk_clear) struct domain_disk changed = {0};
    if (diskspec_parse(new, target->vdev, "", &changed, err) < 0)
        return -1;
    if (!str_eq(changed.vdev, disk->vdev) || !str_eq(changed.target, target->target) ||
        changed.format != target->format)
        return error_set(err, VMUNDO_FAILED, "line %u: the text of disk %s cannot be located", literal->line,
                         target->vdev);
    domain_disk_clear(disk);
    *disk = changed;
    changed = (struct domain_disk){0};
    return add_edit(w, literal->start, literal->end, scan_quote(new, quote_of(w->text, literal), err));
}

static int retarget_disks(struct rewrite *w, const struct config_target *targets, size_t n, struct vmundo_error *err)
{
    AUTO_FREE struct scan_value *literals = NULL;
    size_t n_literals = 0;
    if (scan_list(&w->scan, "disk", &literals, &n_literals, err) < 0)
        return -1;
    if (n_literals != w->want.n_disks)
        return error_set(err, VMUNDO_FAILED, "the text of its disks cannot be located");
    for (size_t i = 0; i < n; i++) {
        struct domain_disk *disk = domain_find_disk(&w->want, targets[i].vdev);
        if (!disk)
            return error_set(err, VMUNDO_FAILED, "no disk %s", targets[i].vdev);
        for (size_t k = 0; k < i; k++)
            if (str_eq(targets[i].vdev, targets[k].vdev))
                return error_set(err, VMUNDO_FAILED, "two new targets for disk %s", targets[i].vdev);
        if (retarget_disk(w, &literals[disk - w->want.disks], &targets[i], disk, err) < 0)
            return -1;
    }
    return 0;
}

static int rename_domain(struct rewrite *w, const char *name, struct vmundo_error *err)
{
    if (domain_name_check(name, err) < 0)
        return -1;
    free(w->want.name);
    w->want.name = NULL;
    if (str_copy(name, &w->want.name, err) < 0)
        return -1;
    const struct scan_setting *set = scan_find(&w->scan, "name");
    if (set && !set->add && !set->value.list)
        return add_edit(w, set->value.start, set->value.end, scan_quote(name, quote_of(w->text, &set->value), err));
    /* put together with += : say it again at the end, where it counts */
    size_t len = strlen(w->text);
    bool ended = len == 0 || w->text[len - 1] == '\n';
    return add_edit(w, len, len, str_printf(err, "%sname = \"%s\"\n", ended ? "" : "\n", name));
}

static int compare_edits(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

/* The text with all edits done. The caller frees it. */
static char *apply_edits(struct rewrite *w, struct vmundo_error *err)
{
    size_t len = strlen(w->text) + 1, from = 0;
    for (size_t i = 0; i < w->n_edits; i++)
        len += strlen(w->edits[i].new);
    char *out = malloc(len), *o = out;
    if (!out) {
        error_nomem(err);
        return NULL;
    }
    qsort(w->edits, w->n_edits, sizeof(*w->edits), compare_edits);
    for (size_t i = 0; i < w->n_edits; i++) {
        o = mempcpy(o, w->text + from, w->edits[i].start - from);
        o = stpcpy(o, w->edits[i].new);
        from = w->edits[i].end;
    }
    strcpy(o, w->text + from);
    return out;
}

static int rewrite_text(struct rewrite *w, const struct config_target *targets, size_t n_targets, const char *name,
                        struct vmundo_error *err)
{
    w->edits = calloc(n_targets + 1, sizeof(*w->edits));
    if (!w->edits)
        return error_nomem(err);
    if (scan_text(w->text, &w->scan, err) < 0 || retarget_disks(w, targets, n_targets, err) < 0)
        return -1;
    return name ? rename_domain(w, name, err) : 0;
}

int config_rewrite(const char *text, const char *path, const struct config_target *targets, size_t n_targets,
                   const char *name, char **ret, struct vmundo_error *err)
{
    CLEANUP(rewrite_clear) struct rewrite w = {.text = text};
    CLEANUP(domain_clear) struct domain got = {0};
    AUTO_FREE char *shown = str_escape(path, PATH_MAX), *out = NULL;
    if (!shown)
        return error_nomem(err);
    if (config_parse(text, path, &w.want, err) < 0)
        return -1;
    if (rewrite_text(&w, targets, n_targets, name, err) < 0)
        return error_wrap(err, "cannot rewrite %s", shown);
    out = apply_edits(&w, err);
    if (!out)
        return -1;
    if (config_parse(out, path, &got, err) < 0)
        return error_wrap(err, "cannot rewrite %s", shown);
    if (!domain_equal(&w.want, &got))
        return error_set(err, VMUNDO_FAILED, "cannot rewrite %s: the result would not be the same domain", shown);
    *ret = TAKE(out);
    return 0;
}
