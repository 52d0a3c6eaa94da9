/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm.c: a branch is a classic LVM snapshot (dm-snapshot) of a logical volume. It has a size of its own for what
 * changes and is lost when that is full, so by default it is as large as it can ever need to be.
 *
 * Chunks: CHUNK is what is copied from the origin when the guest writes to a place for the first time, and what one
 * entry of the exception store stands for. Measured (bench/xen, bench-chunks): first writes at random places cost about the same
 * with 16, 64 and 256 KiB, writes in sequence twice as much with 4 KiB, and what they take up grows from 69 MiB (4 KiB) over 85
 * and 131 to 187 MiB (256 KiB). 64 KiB is what a guest's file system tends to write at a time.
 */
#include "storage/lvm.h"

#include <inttypes.h>

#define CHUNK (64u << 10)
#define MIB 20
#define GROW ((uint64_t)64 << 20)

static int classic_claim(const struct stack *s, const char *format, struct claim *ret, struct vmundo_error *err)
{
    (void)format;
    if (lvm_claim(s, false, ret, err) < 0 || !ret->possible)
        return ret->why ? 0 : -1;
    if (str_copy("one lvcreate, space in the volume group as large as the volume or --size; the first write to a place "
                 "copies 64 KiB",
                 &ret->cost, err) < 0)
        return -1;
    return str_copy("no checkpoint of a running branch: LVM has no snapshot of a classic snapshot (a thin volume, or "
                    "images on XFS or btrfs, have)",
                    &ret->cannot, err);
}

/* ---- size
 * --------------------------------------------------------------------------------------------------------------- */

static uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* As much as it can ever need where there is room; else all the room there is. */
static int default_limit(struct branch *b, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct lvm_lv *lv = NULL;
    if (lvm_check_origin(b, &vg, &lv, err) < 0)
        return -1;
    uint64_t full = lvm_full_cow(lv->size, CHUNK, vg.extent);
    b->limit = vg.free >= full || vg.free == 0 ? full : vg.free;
    if (b->limit == full)
        return 0;
    b->detail =
        json_pack("{so}", "warning",
                  json_sprintf("the branch of %s holds %" PRIu64 " MiB of changes, all that volume group %s has "
                               "room for, and is lost when it is full: %" PRIu64 " MiB would be safe",
                               b->origin, b->limit >> MIB, vg.name, full >> MIB));
    return b->detail ? 0 : error_nomem(err);
}

static int classic_name(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err)
{
    if (lvm_name_branch(b, m, state_dir, err) < 0)
        return -1;
    return b->limit ? 0 : default_limit(b, err);
}

/* gone NULL: nothing is removed before. */
static int check_room(const struct branch *b, const struct branch *gone, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    AUTO_LVM_NAME struct lvm_name old = {0};
    struct lvm_lv *lv = NULL;
    if (lvm_check_origin(b, &vg, &lv, err) < 0 || (gone && lvm_split_path(gone->path, &old, err) < 0))
        return -1;
    const struct lvm_lv *leaves = lvm_find(&vg, old.lv);
    uint64_t full = lvm_full_cow(lv->size, CHUNK, vg.extent), size = round_up(b->limit, vg.extent);
    uint64_t room = vg.free + (leaves ? leaves->size : 0);
    size = size < full ? size : full;
    if (size <= room)
        return 0;
    error_set(err, VMUNDO_REFUSED,
              "a branch of %s for %" PRIu64 " MiB of changes does not fit: volume group %s has %" PRIu64
              " MiB free of %" PRIu64 " MiB (a smaller --size, or vgextend)",
              b->origin, size >> MIB, vg.name, room >> MIB, vg.size >> MIB);
    if (err)
        err->errnum = ENOSPC;
    return -1;
}

static int classic_preflight(const struct branch *b, struct vmundo_error *err)
{
    return check_room(b, NULL, err);
}

/* A fifth more, at least GROW or what is wanted, and no more than it can ever need or there is. */
static int classic_extend(const struct branch *b, uint64_t want, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    AUTO_LVM_NAME struct lvm_name n = {0};
    struct lvm_lv *origin = NULL;
    if (lvm_check_origin(b, &vg, &origin, err) < 0 || lvm_split_path(b->path, &n, err) < 0)
        return -1;
    const struct lvm_lv *lv = lvm_find(&vg, n.lv);
    uint64_t full = lvm_full_cow(origin->size, CHUNK, vg.extent), size = lv ? lv->size : full;
    if (size >= full)
        return error_set(err, VMUNDO_REFUSED, lv ? "it is as large as it can ever need to be" : "it is gone");
    uint64_t more = size / 5 > GROW ? size / 5 : GROW;
    more = more > want ? more : want;
    more = more < full - size ? more : full - size;
    more = more < vg.free ? more : vg.free;
    if (more < vg.extent)
        return error_set(err, VMUNDO_REFUSED, "volume group %s has no room left (vgextend)", vg.name);
    /* Rounded down, since lvextend rounds up; full and size are whole extents. */
    AUTO_FREE char *by = str_printf(err, "+%" PRIu64 "b", more / vg.extent * vg.extent);
    AUTO_FREE char *path = str_printf(err, "%s/%s", n.vg, n.lv);
    const char *args[] = {"lvextend", "--yes", "--size", by, path, NULL};
    return by && path ? lvm_run(n.vg, args, NULL, err) : -1;
}

static int classic_create(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    AUTO_FREE char *size = str_printf(err, "%" PRIu64 "b", round_up(b->limit, 512));
    AUTO_FREE char *chunk = str_printf(err, "%uk", CHUNK >> 10);
    const char *args[] = {"--chunksize", chunk, "--size", size, NULL};
    return size && chunk ? lvm_create(b, m, args, err) : -1;
}

/* ---- inspect
 * ------------------------------------------------------------------------------------------------------------ */

/* It is not active: after a reboot, or because it is being merged. */
static int inspect_metadata(const struct branch *b, const struct lvm_name *n, struct branch_status *ret,
                            struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct vmundo_error e = {0};
    if (lvm_report(n->vg, &vg, &e) < 0 && e.errnum != ENOENT)
        return error_set(err, e.code, "%s", e.msg);
    const struct lvm_lv *lv = lvm_find(&vg, n->lv);
    ret->exists = lv != NULL;
    ret->limit = lv ? lv->size : b->limit;
    ret->lost = lv && lv->invalid;
    return str_copy(!lv           ? "gone"
                    : lv->invalid ? "invalid: it was full, and all that was changed in it is lost"
                    : lv->merging ? "merging: it is being brought back into its origin"
                                  : "ok",
                    &ret->health, err);
}

/* What the kernel knows of it: nothing, while it is not active. */
static int classic_glance(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    AUTO_LVM_DM struct lvm_dm d = {0};
    if (lvm_split_path(b->path, &n, err) < 0)
        return -1;
    AUTO_FREE char *dm_name = lvm_dm_name(&n, NULL, err);
    if (!dm_name || lvm_dm_look(dm_name, LVM_DM_STATUS, &d, err) < 0)
        return -1;
    if (!d.exists || !str_eq(d.target, "snapshot"))
        return 0;
    ret->exists = true;
    return lvm_snapshot_status(d.params, lvm_full_cow(d.size, CHUNK, 1), ret, err);
}

static int classic_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (classic_glance(b, ret, err) < 0)
        return -1;
    return ret->exists ? 0 : lvm_split_path(b->path, &n, err) < 0 ? -1 : inspect_metadata(b, &n, ret, err);
}

const struct storage_driver storage_lvm = {
    .name = "lvm",
    .flags = STORAGE_UNMOUNTED,
    .claim = classic_claim,
    .name_branch = classic_name,
    .preflight = classic_preflight,
    .preflight_replacing = check_room,
    .create = classic_create,
    .attach = lvm_attach,
    .detach = lvm_detach,
    .locate = lvm_locate,
    .remove = lvm_remove,
    .inspect = classic_inspect,
    .glance = classic_glance,
    .extend = classic_extend,
    .changed = lvm_changed,
    .changes = lvm_changes,
    .keep_check = lvm_keep_check,
    .keep = lvm_keep,
};
