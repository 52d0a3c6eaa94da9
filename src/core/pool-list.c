/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pool-list.c: what pools there are, and how full. Groups are asked of LVM, file systems of the kernel; pools.json only
 * says where to look for those that are not usable now.
 */
#include "core/pools.h"

#include "storage/block.h"
#include "util/process.h"

#include <sys/statvfs.h>

void vmundo_pools_free(struct vmundo_pools *p)
{
    for (size_t i = 0; p && i < p->n_pools; i++) {
        struct vmundo_pool *q = &p->pools[i];
        char *texts[] = {q->name, q->kind, q->devices, q->mount, q->health};
        for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
            free(texts[k]);
    }
    if (p) {
        free(p->pools);
        *p = (struct vmundo_pools){0};
    }
}

static struct vmundo_pool *add(struct vmundo_pools *p, struct vmundo_error *err)
{
    struct vmundo_pool *more = realloc(p->pools, (p->n_pools + 1) * sizeof(*more));
    if (!more) {
        error_nomem(err);
        return NULL;
    }
    p->pools = more;
    p->pools[p->n_pools] = (struct vmundo_pool){.fill = -1, .thin_data = -1, .thin_metadata = -1};
    return &p->pools[p->n_pools++];
}

/* ---- volume groups -------------------------------------------------------------------------------------------------- */

static char *joined(const struct strv *v, struct vmundo_error *err)
{
    char *text = str_printf(err, "%s", v->n ? v->items[0] : "");
    for (size_t i = 1; text && i < v->n; i++) {
        char *more = str_printf(err, "%s %s", text, v->items[i]);
        free(text);
        text = more;
    }
    return text;
}

/* What a group has given away, with a thin pool counted as far as it is full. */
static void measure(const struct lvm_group *g, const struct lvm_vg *vg, struct vmundo_pool *q)
{
    const struct lvm_lv *pool = lvm_thin_pool(vg);
    q->size = g->size;
    q->used = g->size - g->free;
    if (pool && pool->data_percent >= 0) {
        q->thin_data = pool->data_percent / 100;
        q->thin_metadata = pool->metadata_percent / 100;
        q->used -= (uint64_t)((double)pool->size * (1 - q->thin_data));
    }
    q->fill = g->size ? (double)q->used / (double)g->size : -1;
    for (size_t i = 0; i < vg->n_lvs; i++)
        q->volumes += !str_eq(vg->lvs[i].segtype, "thin-pool");
}

static const char *health_of(const struct lvm_group *g, const struct lvm_vg *vg)
{
    const struct lvm_lv *pool = lvm_thin_pool(vg);
    if (g->missing)
        return "disks are missing";
    if (g->exported)
        return "exported";
    return pool && pool->health && *pool->health ? pool->health : "ok";
}

static int add_group(const struct lvm_group *g, const json_t *known, struct vmundo_pools *p, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct vmundo_pool *q = add(p, err);
    struct pool_entry e;
    if (!q || (!g->exported && lvm_report(g->name, &vg, err) < 0))
        return -1;
    measure(g, &vg, q);
    bool file = pools_find(known, g->name, &e);
    q->devices = file && g->pvs.n == 1 ? str_printf(err, "%s", e.path) : joined(&g->pvs, err);
    if (!q->devices)
        return -1;
    return str_copy(g->name, &q->name, err) < 0 || str_copy(lvm_thin_pool(&vg) ? "lvm-thin" : "lvm", &q->kind, err) < 0 ||
                   str_copy(file && e.making ? "half made: 'vmundo pool remove' it" : health_of(g, &vg), &q->health,
                            err) < 0
               ? -1
               : 0;
}

static int add_groups(const struct vmundo *v, const json_t *known, struct vmundo_pools *p, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    if (geteuid() != 0 || !process_have("lvm")) {
        context_report(v, VMUNDO_EVENT_WARNING, NULL,
                       geteuid() ? "volume groups are not shown: LVM is for root"
                                 : "volume groups are not shown: there is no lvm in PATH (package lvm2)");
        return 0;
    }
    if (lvm_groups(&g, err) < 0)
        return -1;
    for (size_t i = 0; i < g.n; i++)
        if (add_group(&g.groups[i], known, p, err) < 0)
            return -1;
    return 0;
}

/* ---- files ------------------------------------------------------------------------------------------------------------ */

static int look_at_xfs(const struct pool_entry *e, struct vmundo_pool *q, const char **ret_health,
                       struct vmundo_error *err)
{
    char node[LOOP_NODE_SIZE];
    struct stat st;
    struct statvfs fs;
    *ret_health = "missing: the file is not there";
    if (stat(e->path, &st) < 0)
        return 0;
    q->size = S_ISBLK(st.st_mode) ? block_size(st.st_rdev) : (uint64_t)st.st_size;
    *ret_health = "not mounted: 'vmundo pool mount' it";
    bool attached = S_ISBLK(st.st_mode) || loop_find(&st, node, NULL);
    if (attached && pool_mounted_at(S_ISBLK(st.st_mode) ? e->path : node, &q->mount, err) < 0)
        return -1;
    if (!q->mount || statvfs(q->mount, &fs) < 0)
        return 0;
    *ret_health = "ok";
    q->size = (uint64_t)fs.f_blocks * fs.f_frsize;
    q->used = (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize;
    q->fill = q->size ? (double)q->used / (double)q->size : -1;
    return 0;
}

static bool is_listed(const struct vmundo_pools *p, const char *name)
{
    for (size_t i = 0; i < p->n_pools; i++)
        if (str_eq(p->pools[i].name, name))
            return true;
    return false;
}

static int add_known(const json_t *known, struct vmundo_pools *p, struct vmundo_error *err)
{
    for (size_t i = 0; i < json_array_size(known); i++) {
        struct pool_entry e;
        const char *health = "not attached: 'vmundo pool mount' it";
        pools_entry(json_array_get(known, i), &e);
        if (!e.name || !e.path || is_listed(p, e.name))
            continue;
        struct vmundo_pool *q = add(p, err);
        if (!q || (str_eq(e.kind, "xfs") && look_at_xfs(&e, q, &health, err) < 0))
            return -1;
        if (e.making)
            health = "half made: 'vmundo pool remove' it";
        if (str_copy(e.name, &q->name, err) < 0 || str_copy(e.kind, &q->kind, err) < 0 ||
            str_copy(e.path, &q->devices, err) < 0 || str_copy(health, &q->health, err) < 0)
            return -1;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct vmundo_pool *x = a, *y = b;
    return strcmp(x->name, y->name);
}

int vmundo_pool_list(struct vmundo *v, struct vmundo_pools *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *known = NULL;
    CLEANUP(vmundo_pools_free) struct vmundo_pools p = {0};
    if (pools_read(v, &known, err) < 0 || add_groups(v, known, &p, err) < 0 || add_known(known, &p, err) < 0)
        return -1;
    if (p.n_pools)
        qsort(p.pools, p.n_pools, sizeof(*p.pools), by_name);
    *ret = p;
    p = (struct vmundo_pools){0};
    return 0;
}
