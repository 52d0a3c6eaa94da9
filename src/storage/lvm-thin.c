/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-thin.c: a branch is a thin snapshot of a thin volume, in the same pool. It has no size of its own: what can run
 * full is the pool, for all that is in it.
 */
#include "storage/lvm.h"

#include <inttypes.h>

/* A pool this full is about to stop all its volumes: nothing new is begun in it. */
#define MAX_DATA_PERCENT 98
#define MAX_METADATA_PERCENT 95
#define GROW ((uint64_t)64 << 20)
#define GROW_METADATA ((uint64_t)16 << 20)

static int thin_claim(const struct stack *s, const char *format, struct claim *ret, struct vmundo_error *err)
{
    (void)format;
    if (lvm_claim(s, true, ret, err) < 0 || !ret->possible)
        return ret->why ? 0 : -1;
    return str_copy("one lvcreate, no space until the guest writes; the space is the pool's", &ret->cost, err);
}

static int thin_name(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err)
{
    b->limit = 0;
    return lvm_name_branch(b, m, state_dir, err);
}

static int thin_preflight(const struct branch *b, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct lvm_lv *lv = NULL;
    if (lvm_check_origin(b, &vg, &lv, err) < 0)
        return -1;
    const struct lvm_lv *pool = lvm_find(&vg, lv->pool);
    if (!pool)
        return error_set(err, VMUNDO_FAILED, "%s has no thin pool", b->origin);
    if (pool->data_percent >= MAX_DATA_PERCENT || pool->metadata_percent >= MAX_METADATA_PERCENT) {
        error_set(
            err, VMUNDO_REFUSED,
            "the thin pool %s/%s is nearly full (data %.1f%%, metadata %.1f%%): extend it first (lvextend), or remove "
            "volumes from it",
            vg.name, pool->name, pool->data_percent, pool->metadata_percent);
        if (err)
            err->errnum = ENOSPC;
        return -1;
    }
    return *pool->health ? error_set(err, VMUNDO_REFUSED, "the thin pool %s/%s is not well: %s", vg.name, pool->name,
                                     pool->health)
                         : 0;
}

static int thin_create(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    /* Otherwise a thin snapshot would be skipped whenever its group is activated. */
    static const char *const args[] = {"--setactivationskip", "n", "--activate", "y", NULL};
    return lvm_create(b, m, args, err);
}

static int inspect_metadata(const struct lvm_name *n, struct branch_status *ret, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct vmundo_error e = {0};
    if (lvm_report(n->vg, &vg, &e) < 0 && e.errnum != ENOENT)
        return error_set(err, e.code, "%s", e.msg);
    ret->exists = lvm_find(&vg, n->lv) != NULL;
    return str_copy(ret->exists ? "ok" : "gone", &ret->health, err);
}

/* What the kernel knows of it: nothing, while it is not active. */
static int thin_glance(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    AUTO_LVM_DM struct lvm_dm d = {0}, pool = {0};
    if (lvm_split_path(b->path, &n, err) < 0)
        return -1;
    AUTO_FREE char *dm_name = lvm_dm_name(&n, NULL, err);
    if (!dm_name || lvm_dm_look(dm_name, LVM_DM_STATUS, &d, err) < 0)
        return -1;
    if (!d.exists || !str_eq(d.target, "thin"))
        return 0;
    ret->exists = true;
    return lvm_pool_status(dm_name, &pool, err) < 0 ? -1 : lvm_thin_status(d.params, pool.params, pool.size, ret, err);
}

static int thin_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (thin_glance(b, ret, err) < 0)
        return -1;
    return ret->exists ? 0 : lvm_split_path(b->path, &n, err) < 0 ? -1 : inspect_metadata(&n, ret, err);
}

/* Its metadata, of which LVM also keeps a spare of the same size, by a step that is small against any data. */
static int extend_metadata(const struct lvm_vg *vg, const char *path, struct vmundo_error *err)
{
    uint64_t more = vg->free / 2 < GROW_METADATA ? vg->free / 2 / vg->extent * vg->extent : GROW_METADATA;
    AUTO_FREE char *by = str_printf(err, "+%" PRIu64 "b", more);
    const char *args[] = {"lvextend", "--yes", "--poolmetadatasize", by, path, NULL};
    if (!by)
        return -1;
    return more ? lvm_run(vg->name, args, NULL, err)
                : error_set(err, VMUNDO_REFUSED, "volume group %s has no room left (vgextend)", vg->name);
}

/* A fifth more, at least GROW or what is wanted, and no more than there is; but what its metadata need to grow stays, since a
 * pool whose metadata are full is worse off than one whose data are. */
static int extend_data(const struct lvm_vg *vg, const struct lvm_lv *pool, uint64_t want, const char *path,
                       struct vmundo_error *err)
{
    uint64_t more = pool->size / 5 > GROW ? pool->size / 5 : GROW;
    uint64_t room = vg->free > 2 * GROW_METADATA ? vg->free - 2 * GROW_METADATA : 0;
    more = more > want ? more : want;
    more = more < room ? more : room;
    AUTO_FREE char *by = str_printf(err, "+%" PRIu64 "b", more / vg->extent * vg->extent);
    const char *args[] = {"lvextend", "--yes", "--size", by, path, NULL};
    if (!by)
        return -1;
    return more >= vg->extent ? lvm_run(vg->name, args, NULL, err)
                              : error_set(err, VMUNDO_REFUSED, "volume group %s has no room left, but for metadata (vgextend)", vg->name);
}

/* Of the pool, whatever of it is fuller. */
static int thin_extend(const struct branch *b, uint64_t want, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct lvm_lv *lv = NULL;
    struct vmundo_error e = {0};
    if (lvm_check_origin(b, &vg, &lv, err) < 0)
        return -1;
    const struct lvm_lv *pool = lvm_find(&vg, lv->pool);
    AUTO_FREE char *path = str_printf(err, "%s/%s", vg.name, pool ? pool->name : "");
    if (!pool || !path)
        return error_set(err, VMUNDO_FAILED, "%s has no thin pool", b->origin);
    bool metadata = pool->metadata_percent > pool->data_percent;
    if ((metadata ? extend_metadata(&vg, path, &e) : extend_data(&vg, pool, want, path, &e)) == 0)
        return 0;
    return error_set(err, e.errnum == ENOSPC ? VMUNDO_REFUSED : e.code, "%s", e.msg);
}

const struct storage_driver storage_lvm_thin = {
    .name = "lvm-thin",
    .flags = STORAGE_UNMOUNTED | STORAGE_FROM_BRANCH,
    .claim = thin_claim,
    .name_branch = thin_name,
    .preflight = thin_preflight,
    .create = thin_create,
    .attach = lvm_attach,
    .detach = lvm_detach,
    .locate = lvm_locate,
    .remove = lvm_remove,
    .inspect = thin_inspect,
    .glance = thin_glance,
    .extend = thin_extend,
    .changed = lvm_changed,
    .changes = lvm_changes,
    .keep_check = lvm_keep_check,
    .keep = lvm_keep,
};
