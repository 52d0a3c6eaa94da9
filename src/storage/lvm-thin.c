/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-thin.c: a branch is a thin snapshot of a thin volume, in the same pool. It has no size of its own: what can run
 * full is the pool, for all that is in it.
 */
#include "storage/lvm.h"

/* A pool this full is about to stop all its volumes: nothing new is begun in it. */
#define MAX_DATA_PERCENT 98
#define MAX_METADATA_PERCENT 95
#define METADATA_STEP "+16M"

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

static int thin_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    AUTO_LVM_DM struct lvm_dm d = {0};
    AUTO_FREE char *pool = NULL;
    if (lvm_split_path(b->path, &n, err) < 0)
        return -1;
    AUTO_FREE char *dm_name = lvm_dm_name(&n, NULL, err);
    if (!dm_name || lvm_dm_look(dm_name, LVM_DM_STATUS, &d, err) < 0)
        return -1;
    if (!d.exists || !str_eq(d.target, "thin"))
        return inspect_metadata(&n, ret, err);
    ret->exists = true;
    return lvm_pool_status(dm_name, &pool, err) < 0 ? -1 : lvm_thin_status(d.params, pool, ret, err);
}

/* Of the pool, whatever of it is fuller: a fifth more. The metadata's step is small against any data. */
static int thin_extend(const struct branch *b, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct lvm_lv *lv = NULL;
    struct vmundo_error e = {0};
    if (lvm_check_origin(b, &vg, &lv, err) < 0)
        return -1;
    const struct lvm_lv *pool = lvm_find(&vg, lv->pool);
    AUTO_FREE char *path = str_printf(err, "%s/%s", vg.name, pool ? pool->name : "");
    bool metadata = pool && pool->metadata_percent > pool->data_percent;
    const char *data_args[] = {"lvextend", "--yes", "--extents", "+20%LV", path, NULL};
    const char *metadata_args[] = {"lvextend", "--yes", "--poolmetadatasize", METADATA_STEP, path, NULL};
    if (!pool || !path)
        return error_set(err, VMUNDO_FAILED, "%s has no thin pool", b->origin);
    if (lvm_run(vg.name, metadata ? metadata_args : data_args, NULL, &e) == 0)
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
    .extend = thin_extend,
    .changed = lvm_changed,
    .keep_check = lvm_keep_check,
    .keep = lvm_keep,
};
