/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-group.c: volume groups. One report (pvs) tells of all groups and of the disks in them, also of groups without a
 * volume. A group is made by vgcreate, which makes all of it or nothing; a thin pool in it comes after, and takes the
 * group along when it fails.
 */
#include "storage/pool.h"

#include "util/json.h"

#include <inttypes.h>
#include <stdarg.h>

#define MAX_ARGS 200
#define ALL_GROUPS "#orphans" /* LVM's own name of the lock for disks without a group: no name of a group */
#define LOCK_WAIT_MS 30000
#define LEAST_EXTENTS 4

/* ---- steps -------------------------------------------------------------------------------------------------------- */

bool steps_take(const struct steps *s, const char *fmt, ...)
{
    char text[800];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return s->step(s->data, text);
}

void steps_warn(const struct steps *s, const char *fmt, ...)
{
    char text[800];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    s->warn(s->data, text);
}

const char *pool_size_text(uint64_t bytes, char buf[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double n = (double)bytes;
    size_t u = 0;
    for (; n >= 1024 && u + 1 < ARRAY_SIZE(units); u++)
        n /= 1024;
    snprintf(buf, 32, n == (double)(uint64_t)n ? "%.0f %s" : "%.1f %s", n, units[u]);
    return buf;
}

/* ---- looking -------------------------------------------------------------------------------------------------------- */

void lvm_groups_clear(struct lvm_groups *g)
{
    for (size_t i = 0; i < g->n; i++) {
        free(g->groups[i].name);
        strv_clear(&g->groups[i].tags);
        strv_clear(&g->groups[i].pvs);
    }
    free(g->groups);
    strv_clear(&g->single);
    *g = (struct lvm_groups){0};
}

struct lvm_group *lvm_groups_find(const struct lvm_groups *g, const char *name)
{
    for (size_t i = 0; i < g->n; i++)
        if (str_eq(g->groups[i].name, name))
            return &g->groups[i];
    return NULL;
}

static int take_group(const json_t *row, struct lvm_group *g, struct vmundo_error *err)
{
    uint64_t extent = 0, missing = 0;
    if (lvm_get_text(row, "vg_name", &g->name, err) < 0 || lvm_get_number(row, "vg_size", &g->size, err) < 0 ||
        lvm_get_number(row, "vg_free", &g->free, err) < 0 ||
        lvm_get_number(row, "vg_extent_size", &extent, err) < 0 ||
        lvm_get_number(row, "vg_missing_pv_count", &missing, err) < 0 ||
        lvm_get_list(row, "vg_tags", &g->tags, err) < 0)
        return -1;
    if (extent == 0 || extent > UINT32_MAX)
        return error_set(err, VMUNDO_FAILED, "volume group %s has extents of %" PRIu64 " bytes", g->name, extent);
    g->extent = (uint32_t)extent;
    g->missing = (unsigned)missing;
    g->exported = lvm_is_set(row, "vg_exported");
    return 0;
}

static int take_pv(const json_t *row, struct lvm_groups *g, struct vmundo_error *err)
{
    AUTO_FREE char *pv = NULL, *vg = NULL;
    if (lvm_get_text(row, "pv_name", &pv, err) < 0 || lvm_get_text(row, "vg_name", &vg, err) < 0)
        return -1;
    if (!*vg)
        return strv_take(&g->single, TAKE(pv), err);
    struct lvm_group *group = lvm_groups_find(g, vg);
    if (!group) {
        group = &g->groups[g->n++];
        if (take_group(row, group, err) < 0)
            return -1;
    }
    return strv_take(&group->pvs, TAKE(pv), err);
}

int lvm_parse_groups(const char *text, struct lvm_groups *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *j = NULL;
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    if (json_parse(text, "lvm's report", &j, err) < 0)
        return -1;
    const json_t *rows = json_object_get(json_array_get(json_object_get(j, "report"), 0), "pv");
    if (!json_is_array(rows))
        return error_set(err, VMUNDO_FAILED, "lvm's report has no physical volumes in it");
    g.groups = calloc(json_array_size(rows) + 1, sizeof(*g.groups));
    if (!g.groups)
        return error_nomem(err);
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (take_pv(json_array_get(rows, i), &g, err) < 0)
            return -1;
    *ret = g;
    g = (struct lvm_groups){0};
    return 0;
}

int lvm_groups(struct lvm_groups *ret, struct vmundo_error *err)
{
    const char *args[] = {"pvs", LVM_REPORT_OPTIONS, "-o",
                          "pv_name,vg_name,vg_tags,vg_size,vg_free,vg_extent_size,vg_missing_pv_count,vg_exported",
                          NULL};
    AUTO_FREE char *text = NULL;
    return lvm_run(ALL_GROUPS, args, &text, err) < 0 ? -1 : lvm_parse_groups(text, ret, err);
}

int lvm_group_look(const char *name, struct lvm_groups *g, struct lvm_group **ret, struct vmundo_error *err)
{
    if (lvm_check_lock(name, LOCK_WAIT_MS, err) < 0 || lvm_groups(g, err) < 0)
        return -1;
    struct lvm_group *group = lvm_groups_find(g, name);
    if (!group)
        return error_set(err, VMUNDO_NOT_FOUND,
                         "there is no volume group '%s': 'vmundo pool list' shows those that there are", name);
    if (group->exported)
        return error_set(err, VMUNDO_REFUSED, "volume group %s is exported: 'vgimport %s' first", name, name);
    if (group->missing)
        return error_set(err, VMUNDO_REFUSED,
                         "%u of the disks of volume group %s cannot be found, and LVM changes nothing in it until they "
                         "are back or taken out (vgreduce --removemissing)",
                         group->missing, name);
    *ret = group;
    return 0;
}

const struct lvm_lv *lvm_thin_pool(const struct lvm_vg *vg)
{
    const struct lvm_lv *found = NULL;
    unsigned n = 0;
    for (size_t i = 0; i < vg->n_lvs; i++) {
        const struct lvm_lv *l = &vg->lvs[i];
        if (!str_eq(l->segtype, "thin-pool"))
            continue;
        if (strv_has(&l->tags, POOL_TAG))
            return l;
        found = l;
        n++;
    }
    return n == 1 ? found : NULL;
}

/* ---- making ---------------------------------------------------------------------------------------------------------- */

static int join(const struct strv *devices, char **ret, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    for (size_t i = 0; i < devices->n; i++) {
        char *more = str_printf(err, "%s%s%s", text ? text : "", text ? ", " : "", devices->items[i]);
        free(text);
        if (!(text = more))
            return -1;
    }
    *ret = TAKE(text);
    return 0;
}

/* vgcreate or vgextend with these arguments, then the devices. */
static int run_with(const char *vg, const char *const *first, const struct strv *devices, struct vmundo_error *err)
{
    const char *args[MAX_ARGS];
    size_t n = 0;
    for (; *first; first++)
        args[n++] = *first;
    for (size_t i = 0; i < devices->n; i++) {
        if (n + 1 >= MAX_ARGS)
            return error_set(err, VMUNDO_USAGE, "too many devices at once: add the others with 'vmundo pool grow'");
        args[n++] = devices->items[i];
    }
    args[n] = NULL;
    return lvm_run(vg, args, NULL, err);
}

/* Would LVM take them? It knows of filters and of its devices file. A device with content is asked about no further, for
 * in that case even a test may say yes only after a wipe. */
static int try_devices(const struct strv *devices, struct vmundo_error *err)
{
    for (size_t i = 0; i < devices->n; i++) {
        AUTO_FREE char *content = NULL;
        const char *args[] = {"pvcreate", "--test", "--yes", devices->items[i], NULL};
        if (signature_find(devices->items[i], &content, err) < 0 || (!content && lvm_run(ALL_GROUPS, args, NULL, err) < 0))
            return -1;
    }
    return 0;
}

static int wipe_devices(const struct strv *devices, const struct steps *s, struct vmundo_error *err)
{
    for (size_t i = 0; i < devices->n; i++) {
        AUTO_FREE char *content = NULL;
        if (signature_find(devices->items[i], &content, err) < 0)
            return -1;
        if (content && steps_take(s, "destroy what is on %s ('%s')", devices->items[i], content) &&
            signature_wipe(devices->items[i], err) < 0)
            return -1;
    }
    return 0;
}

static int run_thin_pool(const char *vg, uint64_t size, unsigned stripes, struct vmundo_error *err)
{
    char bytes[32], count[16];
    snprintf(bytes, sizeof(bytes), "%" PRIu64 "b", size);
    snprintf(count, sizeof(count), "%u", stripes ? stripes : 1);
    const char *args[] = {"lvcreate", "--yes",    "--type", "thin-pool", "--name",   POOL_THIN_NAME, "--size", bytes,
                          "--stripes", count, "--addtag", POOL_TAG, vg, NULL};
    return lvm_run(vg, args, NULL, err);
}

static int make_thin_pool(const struct lvm_new_group *n, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    struct lvm_group *group = NULL;
    char text[32];
    if (lvm_group_look(n->name, &g, &group, err) < 0)
        return -1;
    uint64_t size = lvm_thin_pool_size(group->free, group->extent, n->stripes);
    if (size < (uint64_t)group->extent * LEAST_EXTENTS)
        return error_set(err, VMUNDO_REFUSED, "%s is too small for a thin pool: it has room for %s", n->name,
                         pool_size_text(group->free, text));
    if (run_thin_pool(n->name, size, n->stripes, err) == 0)
        return 0;
    if (err && err->errnum == ENOSPC)
        err->code = VMUNDO_REFUSED;
    return error_wrap(err, "the thin pool of %s", n->name);
}

static int undo_create(const struct lvm_new_group *n, struct vmundo_error *err)
{
    const char *args[] = {"vgremove", "--yes", n->name, NULL};
    const char *wipe[] = {"pvremove", "--yes", NULL};
    struct vmundo_error e = {0};
    if (lvm_run(n->name, args, NULL, &e) < 0 || run_with(n->name, wipe, n->devices, &e) < 0) {
        if (err)
            err->code = VMUNDO_INTERRUPTED;
        return error_wrap(err, "half made, and could not be taken back (%s): 'vmundo pool remove %s'", e.msg, n->name);
    }
    return -1;
}

int lvm_group_create(const struct lvm_new_group *n, const struct steps *s, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    AUTO_FREE char *devices = NULL;
    const char *args[] = {"vgcreate", "--yes", "--addtag", POOL_TAG, n->name, NULL};
    if (lvm_groups(&g, err) < 0 || join(n->devices, &devices, err) < 0)
        return -1;
    if (lvm_groups_find(&g, n->name))
        return error_set(err, VMUNDO_CONFLICT, "there is a volume group '%s' already: give another name, or "
                         "'vmundo pool grow' it", n->name);
    if (try_devices(n->devices, err) < 0 || wipe_devices(n->devices, s, err) < 0)
        return -1;
    bool go = steps_take(s, "make the volume group %s of %s", n->name, n->what ? n->what : devices);
    if (go && run_with(n->name, args, n->devices, err) < 0)
        return -1;
    if (!n->thin || !steps_take(s, "make a thin pool of most of it%s", n->stripes > 1 ? ", striped" : ""))
        return 0;
    return make_thin_pool(n, err) < 0 ? undo_create(n, err) : 0;
}

/* ---- growing ----------------------------------------------------------------------------------------------------------- */

static int grow_thin_pool(const char *name, const struct steps *s, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct lvm_group *group = NULL;
    struct vmundo_error e = {0};
    char share[32];
    if (lvm_group_look(name, &g, &group, err) < 0 || lvm_report(name, &vg, err) < 0)
        return -1;
    const struct lvm_lv *pool = lvm_thin_pool(&vg);
    uint64_t wanted = lvm_thin_pool_size(group->size, group->extent, 0);
    uint64_t more = lvm_thin_pool_size(group->free, group->extent, 0);
    if (!pool || more == 0 || wanted <= pool->size)
        return 0;
    more = more < wanted - pool->size ? more : wanted - pool->size;
    /* As a share of what is free, since LVM then takes as much of it as stripes over disks of different sizes allow. */
    snprintf(share, sizeof(share), "+%u%%FREE", (unsigned)(more * 100 / group->free));
    AUTO_FREE char *path = str_printf(err, "%s/%s", name, pool->name);
    const char *args[] = {"lvextend", "--yes", "--extents", share, path, NULL};
    if (!path)
        return -1;
    if (steps_take(s, "let the thin pool %s have most of the new room", path) && lvm_run(name, args, NULL, &e) < 0)
        steps_warn(s, "the thin pool %s did not grow: %s (a striped one needs as many new disks as it has stripes)",
                   path, e.msg);
    return 0;
}

static int resize_pvs(const struct lvm_group *group, struct vmundo_error *err)
{
    for (size_t i = 0; i < group->pvs.n; i++) {
        const char *args[] = {"pvresize", "--yes", group->pvs.items[i], NULL};
        if (lvm_run(group->name, args, NULL, err) < 0)
            return -1;
    }
    return 0;
}

int lvm_group_grow(const char *name, const struct strv *devices, const struct steps *s, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    AUTO_FREE char *text = NULL;
    struct lvm_group *group = NULL;
    const char *args[] = {"vgextend", "--yes", name, NULL};
    if (lvm_group_look(name, &g, &group, err) < 0 || join(devices, &text, err) < 0 ||
        try_devices(devices, err) < 0 || wipe_devices(devices, s, err) < 0)
        return -1;
    if (devices->n > 0 && steps_take(s, "add %s to the volume group %s", text, name) &&
        run_with(name, args, devices, err) < 0)
        return -1;
    if (devices->n == 0 && steps_take(s, "let the volume group %s have what its disks have grown by", name) &&
        resize_pvs(group, err) < 0)
        return -1;
    return grow_thin_pool(name, s, err);
}

/* ---- removing ------------------------------------------------------------------------------------------------------------ */

int lvm_group_check_empty(const struct lvm_vg *vg, const char *name, struct vmundo_error *err)
{
    char names[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < vg->n_lvs; i++) {
        const struct lvm_lv *l = &vg->lvs[i];
        if (str_eq(l->segtype, "thin-pool") && strv_has(&l->tags, POOL_TAG))
            continue;
        size_t used = strlen(names);
        if (n++ < 4)
            snprintf(names + used, sizeof(names) - used, "%s%.50s", used ? ", " : "", l->name);
    }
    if (n == 0)
        return 0;
    return error_set(err, VMUNDO_REFUSED,
                     "there %s %zu volume%s in %s (%s%s): 'vmundo volume remove' what is not needed, 'vmundo drop' "
                     "domains that have branches there",
                     n == 1 ? "is" : "are", n, n == 1 ? "" : "s", name, names, n > 4 ? ", …" : "");
}

static int remove_thin_pool(const char *name, const struct lvm_vg *vg, struct vmundo_error *err)
{
    const struct lvm_lv *pool = lvm_thin_pool(vg);
    /* As long as there is no volume in it, whatever has come since we looked. */
    const char *args[] = {"lvremove", "--yes", "--select", "lv_tags=" POOL_TAG " && thin_count=0", name, NULL};
    return pool ? lvm_run(name, args, NULL, err) : 0;
}

int lvm_group_remove(const char *name, const struct steps *s, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct lvm_group *group = NULL;
    if (lvm_group_look(name, &g, &group, err) < 0 || lvm_report(name, &vg, err) < 0 ||
        lvm_group_check_empty(&vg, name, err) < 0)
        return -1;
    if (!strv_has(&group->tags, POOL_TAG))
        return error_set(err, VMUNDO_REFUSED,
                         "volume group %s was not made by vmundo: 'vgremove %s' removes it, 'vgchange --addtag " POOL_TAG
                         " %s' hands it over to vmundo",
                         name, name, name);
    const char *args[] = {"vgremove", name, NULL};
    const char *wipe[] = {"pvremove", "--yes", NULL};
    if (!steps_take(s, "remove the volume group %s", name))
        return 0;
    if (remove_thin_pool(name, &vg, err) < 0 || lvm_run(name, args, NULL, err) < 0)
        return -1;
    return run_with(name, wipe, &group->pvs, err);
}
