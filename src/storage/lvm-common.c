/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-common.c: what a branch is to both LVM drivers: a logical volume that bears our tags, and, where the disks are
 * image files, a mounted copy of the file system that they are in.
 *
 * Creating tries first and asks afterwards: lvcreate changes everything or nothing as far as names go, and its "already
 * exists" is where a second look begins. Only after a power cut can there be a volume of our name that is not yet a
 * snapshot; it is made anew.
 */
#include "storage/lvm.h"

#include "util/process.h"

#include <fcntl.h>
#include <inttypes.h>

#define LOCK_WAIT_MS 30000
#define DM_UUID_LEN (strlen("LVM-") + 64)
#define MAX_ARGS 32

/* ---- claim
 * ------------------------------------------------------------------------------------------------------------ */

/* Path of the image from the root of its file system, whatever part of that is mounted where. NULL: not known. */
static char *path_inside(const struct stack *s, struct vmundo_error *err)
{
    const char *root = str_eq(s->fs_root, "/") ? "" : s->fs_root;
    const char *below = s->path;
    size_t n = strlen(s->mount_point);
    if (!str_eq(s->mount_point, "/"))
        below = strncmp(s->path, s->mount_point, n) ? "" : s->path + n;
    AUTO_FREE char *whole = str_printf(err, "%s%s", root, below);
    return whole && whole[0] == '/' && whole[1] ? str_printf(err, "%s", whole + 1) : NULL;
}

static const char *why_not_target(const char *target, bool thin)
{
    if (str_eq(target, "thin"))
        return thin ? NULL : "it is a thin volume, for lvm-thin";
    if (str_eq(target, "snapshot"))
        return "it is a classic snapshot itself, and LVM has no snapshot of a snapshot: use its origin, or a thin "
               "volume";
    if (str_eq(target, "snapshot-merge"))
        return "a snapshot is being merged into it: wait until that has ended (lvs shows it)";
    if (str_eq(target, "thin-pool"))
        return "it is a thin pool and not a volume";
    return thin ? "it is not a thin volume" : NULL;
}

static int why_not(const struct stack *s, bool thin, const char **ret, struct vmundo_error *err)
{
    AUTO_LVM_DM struct lvm_dm d = {0};
    const char *where =
        s->kind == STACK_FILE ? "it is not in a file system on a logical volume" : "it is not a logical volume";
    *ret = NULL;
    if (!s->dm_uuid || !str_has_prefix(s->dm_uuid, "LVM-"))
        *ret = s->kind == STACK_FILE && str_eq(s->fs_type, "overlay")
                   ? "it is in an overlay, which lies over several file systems"
                   : where;
    else if (strlen(s->dm_uuid) != DM_UUID_LEN)
        *ret = "it is an inner part of a logical volume";
    else if (s->kind == STACK_FILE && (str_eq(s->fs_type, "btrfs") || str_eq(s->fs_type, "zfs")))
        *ret = "a copy of its file system cannot be mounted beside it";
    else if (geteuid() != 0)
        *ret = "only root can make snapshots with LVM";
    else if (!process_have("lvm"))
        *ret = "there is no lvm in PATH (package lvm2)";
    if (*ret)
        return 0;
    if (lvm_dm_look(s->dm_name, LVM_DM_TABLE, &d, err) < 0)
        return -1;
    *ret = why_not_target(d.exists ? d.target : "", thin);
    return 0;
}

int lvm_claim(const struct stack *s, bool thin, struct claim *ret, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    AUTO_FREE char *layer = NULL;
    const char *reason = NULL;
    if (why_not(s, thin, &reason, err) < 0)
        return -1;
    if (!reason && s->kind == STACK_FILE && !(ret->inside = path_inside(s, err)))
        reason = "its place in its file system cannot be told";
    if (reason)
        return str_copy(reason, &ret->why, err);
    if (lvm_split_dm_name(s->dm_name, &n, &layer, err) < 0)
        return -1;
    ret->volume = str_printf(err, "/dev/%s/%s", n.vg, n.lv);
    ret->why = ret->volume
                   ? str_printf(err, "it is %s%slogical volume %s/%s",
                                s->kind == STACK_FILE ? "a file on the " : "the ", thin ? "thin " : "", n.vg, n.lv)
                   : NULL;
    ret->possible = ret->why != NULL;
    return ret->why ? 0 : -1;
}

/* ---- name
 * ------------------------------------------------------------------------------------------------------------- */

int lvm_name_branch(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (lvm_split_path(b->origin, &n, err) < 0)
        return -1;
    char *name = lvm_branch_name(&n, m, err);
    if (!name)
        return -1;
    free(n.lv);
    n.lv = name;
    if (!(b->path = str_printf(err, "/dev/%s/%s", n.vg, n.lv)) || str_copy(b->origin_format, &b->format, err) < 0)
        return -1;
    if (b->inside.n == 0)
        return 0;
    AUTO_FREE char *dm_name = lvm_dm_name(&n, NULL, err);
    b->mount = dm_name ? str_printf(err, "%s/mnt/%s", state_dir, dm_name) : NULL;
    return b->mount ? 0 : -1;
}

/* ---- checks
 * ------------------------------------------------------------------------------------------------------------ */

int lvm_check_origin(const struct branch *b, struct lvm_vg *ret_vg, struct lvm_lv **ret_lv, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    AUTO_LVM_VG struct lvm_vg vg = {0};
    if (lvm_split_path(b->origin, &n, err) < 0 || lvm_check_lock(n.vg, LOCK_WAIT_MS, err) < 0 ||
        lvm_report(n.vg, &vg, err) < 0)
        return -1;
    struct lvm_lv *lv = lvm_find(&vg, n.lv);
    if (!lv)
        return error_set(err, VMUNDO_FAILED, "volume group %s has no volume %s", n.vg, n.lv);
    if (vg.exported)
        return error_set(err, VMUNDO_REFUSED, "volume group %s is exported: 'vgimport %s' first", n.vg, n.vg);
    if (vg.missing)
        return error_set(
            err, VMUNDO_REFUSED,
            "%u physical volume%s of volume group %s %s missing, and LVM changes nothing in it until %s back "
            "or taken out (vgreduce --removemissing)",
            vg.missing, vg.missing > 1 ? "s" : "", n.vg, vg.missing > 1 ? "are" : "is",
            vg.missing > 1 ? "they are" : "it is");
    if (lv->merging)
        return error_set(err, VMUNDO_CONFLICT,
                         "a snapshot is being merged into %s: wait until that has ended (lvs shows it)", b->origin);
    *ret_vg = vg;
    *ret_lv = lv;
    vg = (struct lvm_vg){0};
    return 0;
}

/* ---- create
 * ------------------------------------------------------------------------------------------------------------ */

static int make_tags(const struct mark *m, struct strv *ret, struct vmundo_error *err)
{
    return strv_add(ret, "vmundo", err) < 0 || strv_addf(ret, err, "vmundo.store=%s", m->store) < 0 ||
                   strv_addf(ret, err, "vmundo.domain=%s", m->domain) < 0 ||
                   strv_addf(ret, err, "vmundo.generation=%" PRIu64, m->generation) < 0
               ? -1
               : 0;
}

static int run_lvcreate(const struct lvm_name *origin, const char *name, const struct strv *tags,
                        const char *const *more, struct vmundo_error *err)
{
    const char *args[MAX_ARGS] = {"lvcreate", "--yes", "--snapshot", "--name", name};
    AUTO_FREE char *target = str_printf(err, "%s/%s", origin->vg, origin->lv);
    size_t n = 5;
    if (!target)
        return -1;
    for (size_t i = 0; i < tags->n; i++) {
        args[n++] = "--addtag";
        args[n++] = tags->items[i];
    }
    for (; *more; more++)
        args[n++] = *more;
    args[n] = target;
    return lvm_run(origin->vg, args, NULL, err);
}

static int run_lvremove(const char *vg, const char *name, struct vmundo_error *err)
{
    AUTO_FREE char *select = str_printf(err, "lv_name=\"%s\" && lv_tags=vmundo", name);
    const char *args[] = {"lvremove", "--yes", "--select", select, vg, NULL};
    return select ? lvm_run(vg, args, NULL, err) : -1;
}

/* A volume of the branch's name is there. *ret_whole: it is the branch; otherwise it is ours, and only half made. */
static int examine(const struct lvm_name *origin, const char *name, const struct strv *tags, bool *ret_whole,
                   struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    if (lvm_report(origin->vg, &vg, err) < 0)
        return -1;
    const struct lvm_lv *lv = lvm_find(&vg, name);
    for (size_t i = 0; lv && i < tags->n; i++)
        if (!strv_has(&lv->tags, tags->items[i]))
            return error_set(err, VMUNDO_CONFLICT,
                             "there is a volume %s/%s, and it is not ours (it does not bear the tag %s): rename it",
                             origin->vg, name, tags->items[i]);
    *ret_whole = lv && str_eq(lv->origin, origin->lv);
    return 0;
}

static int make_volume(const struct branch *b, const struct mark *m, const char *const *more, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name origin = {0}, branch = {0};
    AUTO_STRV struct strv tags = {0};
    if (lvm_split_path(b->base ? b->base : b->origin, &origin, err) < 0 ||
        lvm_split_path(b->path, &branch, err) < 0 || make_tags(m, &tags, err) < 0)
        return -1;
    for (int attempt = 0; attempt < 2; attempt++) {
        struct vmundo_error e = {0};
        bool whole = false;
        if (run_lvcreate(&origin, branch.lv, &tags, more, &e) == 0)
            return 0;
        if (e.errnum != EEXIST) {
            if (err)
                *err = e;
            if (err && e.errnum == ENOSPC)
                err->code = VMUNDO_REFUSED;
            return -1;
        }
        if (examine(&origin, branch.lv, &tags, &whole, err) < 0)
            return -1;
        if (whole)
            return 0;
        if (run_lvremove(origin.vg, branch.lv, err) < 0)
            return -1;
    }
    return error_set(err, VMUNDO_FAILED, "%s/%s is made half again and again", origin.vg, branch.lv);
}

static int fingerprint_branch(struct branch *b, struct vmundo_error *err)
{
    AUTO_CLOSE int root = open(b->mount, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    AUTO_FREE char *print = NULL;
    if (root < 0)
        return error_errno(err, errno, "cannot open %s", b->mount);
    if (lvm_fingerprint_inside(root, &b->inside, &print, err) < 0)
        return -1;
    free(b->fingerprint);
    b->fingerprint = TAKE(print);
    return 0;
}

/* A device is looked at before the snapshot is taken, so that a change in between shows. Files are looked at in the
 * snapshot: that is what they were at that very moment. It stays mounted, for the attach that comes next. */
int lvm_create(struct branch *b, const struct mark *m, const char *const *args, struct vmundo_error *err)
{
    AUTO_FREE char *print = NULL;
    if (b->base)
        return make_volume(b, m, args, err);
    if (b->inside.n == 0 && fingerprint_take(b->origin, &print, err) < 0)
        return -1;
    if (make_volume(b, m, args, err) < 0)
        return -1;
    if (b->inside.n > 0)
        return lvm_attach(b, err) < 0 ? -1 : fingerprint_branch(b, err);
    free(b->fingerprint);
    b->fingerprint = TAKE(print);
    return 0;
}

/* ---- attach, detach, remove
 * --------------------------------------------------------------------------------------------- */

/* What a reboot, or an lvm command that died in the middle, can have left undone. */
static int activate(const struct branch *b, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0}, o = {0};
    AUTO_LVM_DM struct lvm_dm d = {0}, origin = {0};
    if (lvm_split_path(b->path, &n, err) < 0 || lvm_split_path(b->origin, &o, err) < 0)
        return -1;
    AUTO_FREE char *dm_name = lvm_dm_name(&n, NULL, err), *dm_origin = lvm_dm_name(&o, NULL, err);
    if (!dm_name || !dm_origin || lvm_dm_look(dm_name, LVM_DM_TABLE, &d, err) < 0)
        return -1;
    if (d.exists && !d.suspended)
        return 0;
    AUTO_FREE char *target = str_printf(err, "%s/%s", n.vg, n.lv), *below = str_printf(err, "%s/%s", o.vg, o.lv);
    const char *refresh[] = {"lvchange", "--yes", "--refresh", below, NULL};
    const char *args[] = {"lvchange", "--yes", "-ay", "-K", target, NULL};
    if (!target || !below || lvm_dm_look(dm_origin, LVM_DM_TABLE, &origin, err) < 0)
        return -1;
    if (origin.exists && lvm_run(o.vg, refresh, NULL, err) < 0)
        return -1;
    return lvm_run(n.vg, args, NULL, err);
}

int lvm_attach(const struct branch *b, struct vmundo_error *err)
{
    if (activate(b, err) < 0)
        return -1;
    return b->mount ? lvm_mount(b->path, b->mount, err) : 0;
}

int lvm_detach(const struct branch *b, struct vmundo_error *err)
{
    return b->mount ? lvm_unmount(b->path, b->mount, err) : 0;
}

int lvm_remove(const struct branch *b, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (lvm_detach(b, err) < 0 || lvm_split_path(b->path, &n, err) < 0)
        return -1;
    return run_lvremove(n.vg, n.lv, err);
}

int lvm_locate(const struct branch *b, const char *inside, char **ret_path, char **ret_format, bool *ret_block,
               struct vmundo_error *err)
{
    if ((inside != NULL) != (b->mount != NULL))
        return error_set(err, VMUNDO_FAILED, "%s is %s", b->path,
                         inside ? "a disk and holds no images" : "no disk but holds images");
    AUTO_FREE char *path = inside ? str_printf(err, "%s/%s", b->mount, inside) : str_printf(err, "%s", b->path);
    if (!path || str_copy(b->format, ret_format, err) < 0)
        return -1;
    *ret_path = TAKE(path);
    *ret_block = !inside;
    return 0;
}

/* ---- changed
 * ------------------------------------------------------------------------------------------------------------ */

int lvm_changed(const struct branch *b, bool *ret, char **ret_what, struct vmundo_error *err)
{
    AUTO_CLOSE int root = -1;
    if (b->inside.n == 0)
        return fingerprint_compare(b->origin, b->fingerprint, ret, ret_what, err);
    if (lvm_open_root(b->origin, false, &root, err) < 0 ||
        lvm_compare_inside(root, &b->inside, b->fingerprint, ret_what, err) < 0)
        return -1;
    *ret = *ret_what != NULL;
    return 0;
}
