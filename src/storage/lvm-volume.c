/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-volume.c: making volumes, with a file system if asked for, making them larger or smaller together with it, and
 * removing them.
 *
 * ext4 is resized by LVM's own fsadm, which knows how to do both ways. XFS is made larger by the kernel at our asking,
 * through a mount of our own that nobody sees (lvm_open_root), so that a volume that is not mounted need not be.
 */
#include "storage/pool.h"

#include "util/process.h"

#include <inttypes.h>

#define LOCK_WAIT_MS 30000
#define MAX_ARGS 24

static char *path_of(const struct lvm_name *n, const char *before, struct vmundo_error *err)
{
    return str_printf(err, "%s%s/%s", before, n->vg, n->lv);
}

/* ---- looking ------------------------------------------------------------------------------------------------------ */

static int why_not_changeable(const struct lvm_lv *lv, const struct lvm_name *n, struct vmundo_error *err)
{
    for (size_t i = 0; i < lv->tags.n; i++)
        if (str_has_prefix(lv->tags.items[i], "vmundo.domain="))
            return error_set(err, VMUNDO_REFUSED, "%s/%s is a branch of the domain %s: 'vmundo drop %s' or 'keep' ends it",
                             n->vg, n->lv, lv->tags.items[i] + strlen("vmundo.domain="),
                             lv->tags.items[i] + strlen("vmundo.domain="));
    if (str_eq(lv->segtype, "thin-pool"))
        return error_set(err, VMUNDO_REFUSED, "%s/%s is the thin pool that volumes are in: 'vmundo pool grow %s' makes it "
                         "larger, 'vmundo pool remove %s' removes it", n->vg, n->lv, n->vg, n->vg);
    if (lv->merging)
        return error_set(err, VMUNDO_REFUSED, "a snapshot is being merged into %s/%s: wait until that has ended (lvs "
                         "shows it)", n->vg, n->lv);
    return 0;
}

int lvm_volume_look(const struct lvm_name *n, struct lvm_vg *vg, const struct lvm_lv **ret_lv, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    struct lvm_group *group = NULL;
    if (lvm_group_look(n->vg, &g, &group, err) < 0 || lvm_report(n->vg, vg, err) < 0)
        return -1;
    const struct lvm_lv *lv = lvm_find(vg, n->lv);
    if (!lv)
        return error_set(err, VMUNDO_NOT_FOUND, "there is no volume '%s' in %s: 'vmundo volume list' shows those that "
                         "there are", n->lv, n->vg);
    if (why_not_changeable(lv, n, err) < 0)
        return -1;
    *ret_lv = lv;
    return 0;
}

int lvm_volume_check_single(const struct lvm_vg *vg, const struct lvm_lv *lv, bool thin_too, const char *what,
                            struct vmundo_error *err)
{
    for (size_t i = 0; i < vg->n_lvs; i++) {
        const struct lvm_lv *s = &vg->lvs[i];
        const char *domain = NULL;
        for (size_t k = 0; k < s->tags.n; k++)
            if (str_has_prefix(s->tags.items[k], "vmundo.domain="))
                domain = s->tags.items[k] + strlen("vmundo.domain=");
        if (!str_eq(s->origin, lv->name) || (str_eq(s->segtype, "thin") && !domain && !thin_too))
            continue;
        if (domain)
            return error_set(err, VMUNDO_REFUSED, "%s/%s cannot be %s while the domain %s has a branch of it: 'vmundo keep "
                             "%s' or 'drop' first", vg->name, lv->name, what, domain, domain);
        return error_set(err, VMUNDO_REFUSED, "%s/%s cannot be %s while there is a snapshot of it (%s): remove that first",
                         vg->name, lv->name, what, s->name);
    }
    return 0;
}

/* ---- making ---------------------------------------------------------------------------------------------------------- */

static uint64_t round_up(uint64_t size, uint64_t unit)
{
    return size / unit * unit + (size % unit ? unit : 0);
}

static uint64_t virtual_total(const struct lvm_vg *vg, const char *pool)
{
    uint64_t total = 0;
    for (size_t i = 0; i < vg->n_lvs; i++)
        total += str_eq(vg->lvs[i].pool, pool) ? vg->lvs[i].size : 0;
    return total;
}

static int check_room(const struct lvm_new_volume *n, const struct lvm_vg *vg, const struct lvm_group *g,
                      const struct steps *s, struct vmundo_error *err)
{
    char want[32], have[32];
    const struct lvm_lv *pool = n->thin ? lvm_thin_pool(vg) : NULL;
    uint64_t size = round_up(n->size, g->extent);
    if (n->thin && !pool)
        return error_set(err, VMUNDO_CONFLICT, "%s has no thin pool, or several: 'vmundo pool create --thin' makes a group "
                         "with one; without --thin the volume is a classic one", n->name->vg);
    if (n->stripes > g->pvs.n)
        return error_set(err, VMUNDO_CONFLICT, "%u stripes need as many disks, and %s has %zu", n->stripes, n->name->vg,
                         g->pvs.n);
    if (!n->thin && size > g->free)
        return error_set(err, VMUNDO_REFUSED, "%s does not fit: volume group %s has %s free",
                         pool_size_text(size, want), n->name->vg, pool_size_text(g->free, have));
    if (n->thin && virtual_total(vg, pool->name) + size > pool->size)
        steps_warn(s, "the volumes of thin pool %s/%s are %s together, and it has room for %s: watch it with 'vmundo pool "
                   "list'", n->name->vg, pool->name, pool_size_text(virtual_total(vg, pool->name) + size, want),
                   pool_size_text(pool->size, have));
    return 0;
}

static int run_lvcreate(const struct lvm_new_volume *n, const struct lvm_vg *vg, struct vmundo_error *err)
{
    char size[32], stripes[16];
    const char *args[MAX_ARGS] = {"lvcreate", "--yes", "--name", n->name->lv, "--addtag", VOLUME_TAG};
    size_t i = 6;
    snprintf(size, sizeof(size), "%" PRIu64 "b", n->size);
    snprintf(stripes, sizeof(stripes), "%u", n->stripes);
    if (n->thin) {
        const char *more[] = {"--type", "thin", "--thinpool", lvm_thin_pool(vg)->name, "--virtualsize", size};
        memcpy(&args[i], more, sizeof(more));
        i += ARRAY_SIZE(more);
    } else {
        /* What an earlier volume had at this place must not look like this one's content. */
        const char *more[] = {"--wipesignatures", "y", "--zero", "y", "--size", size};
        memcpy(&args[i], more, sizeof(more));
        i += ARRAY_SIZE(more);
    }
    if (n->stripes) {
        args[i++] = "--stripes";
        args[i++] = stripes;
    }
    if (n->fs) {
        args[i++] = "--addtag";
        args[i++] = VOLUME_UNFINISHED_TAG;
    }
    args[i] = n->name->vg;
    if (lvm_run(n->name->vg, args, NULL, err) == 0)
        return 0;
    if (err && err->errnum == ENOSPC)
        err->code = VMUNDO_REFUSED;
    return -1;
}

static int make_fs(const struct lvm_new_volume *n, struct vmundo_error *err)
{
    AUTO_FREE char *device = path_of(n->name, "/dev/", err), *target = path_of(n->name, "", err);
    const char *ext4[] = {"mkfs.ext4", "-q", device, NULL}, *xfs[] = {"mkfs.xfs", "-q", "-m", "reflink=1", device, NULL};
    const char *done[] = {"lvchange", "--yes", "--deltag", VOLUME_UNFINISHED_TAG, target, NULL};
    if (!device || !target || process_run(str_eq(n->fs, "xfs") ? xfs : ext4, 0, NULL, err) < 0)
        return -1;
    return lvm_run(n->name->vg, done, NULL, err);
}

static int run_lvremove(const struct lvm_name *n, struct vmundo_error *err)
{
    AUTO_FREE char *target = path_of(n, "", err);
    const char *args[] = {"lvremove", "--yes", target, NULL};
    return target ? lvm_run(n->vg, args, NULL, err) : -1;
}

/* One of that name may be there because making its file system was cut off: then it is made anew. */
static int check_name(const struct lvm_new_volume *n, const struct lvm_vg *vg, struct lvm_group *group,
                      const struct steps *s, struct vmundo_error *err)
{
    const struct lvm_lv *lv = lvm_find(vg, n->name->lv);
    if (!lv)
        return 0;
    if (!strv_has(&lv->tags, VOLUME_UNFINISHED_TAG))
        return error_set(err, VMUNDO_CONFLICT, "there is a volume '%s' in %s already: give another name", n->name->lv,
                         n->name->vg);
    group->free += str_eq(lv->segtype, "thin") ? 0 : lv->size;
    return steps_take(s, "remove %s/%s, which was left half made", n->name->vg, n->name->lv) ? run_lvremove(n->name, err)
                                                                                             : 0;
}

int lvm_volume_create(const struct lvm_new_volume *n, const struct steps *s, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct lvm_group *group = NULL;
    AUTO_FREE char *program = n->fs ? str_printf(err, "mkfs.%s", n->fs) : NULL;
    char size[32];
    if (program && !process_have(program))
        return error_set(err, VMUNDO_FAILED, "there is no %s in PATH: install %s", program,
                         str_eq(n->fs, "xfs") ? "xfsprogs" : "e2fsprogs");
    if (lvm_group_look(n->name->vg, &g, &group, err) < 0 || lvm_report(n->name->vg, &vg, err) < 0 ||
        check_name(n, &vg, group, s, err) < 0 || check_room(n, &vg, group, s, err) < 0)
        return -1;
    if (steps_take(s, "make the %svolume %s/%s of %s", n->thin ? "thin " : "", n->name->vg, n->name->lv,
                   pool_size_text(round_up(n->size, group->extent), size)) &&
        run_lvcreate(n, &vg, err) < 0)
        return -1;
    if (!n->fs || !steps_take(s, "make a file system (%s) in it", n->fs) || make_fs(n, err) == 0)
        return 0;
    struct vmundo_error e = {0};
    if (run_lvremove(n->name, &e) < 0)
        return error_wrap(err, "half made, and could not be taken back (%s)", e.msg);
    return -1;
}

/* ---- another size ---------------------------------------------------------------------------------------------------- */

static bool is_ext(const char *content)
{
    return str_eq(content, "ext4") || str_eq(content, "ext3") || str_eq(content, "ext2");
}

/* The least that the file system on the device can be made, in bytes, as resize2fs(8) estimates it. */
static int least_ext(const char *device, uint64_t *ret, struct vmundo_error *err)
{
    const char *args[] = {"resize2fs", "-P", device, NULL}, *look[] = {"dumpe2fs", "-h", device, NULL};
    AUTO_FREE char *text = NULL, *header = NULL;
    if (process_run(args, 0, &text, err) < 0 || process_run(look, 0, &header, err) < 0)
        return -1;
    const char *blocks = strrchr(text, ':'), *size = strstr(header, "Block size:");
    uint64_t n = blocks ? strtoull(blocks + 1, NULL, 10) : 0, unit = size ? strtoull(size + 11, NULL, 10) : 0;
    if (n == 0 || unit == 0)
        return error_set(err, VMUNDO_FAILED, "cannot tell how small the file system on %s can be", device);
    *ret = n * unit;
    return 0;
}

static int check_shrink(const char *device, const char *content, uint64_t size, struct vmundo_error *err)
{
    AUTO_FREE char *mounted = NULL;
    uint64_t least = 0;
    char text[32];
    if (str_eq(content, "xfs"))
        return error_set(err, VMUNDO_REFUSED, "%s cannot be made smaller: XFS has no way to; make a new volume and copy",
                         device);
    if (!content)
        return error_set(err, VMUNDO_REFUSED, "%s cannot be made smaller: what is in it cannot be told, and its end would "
                         "be lost", device);
    if (!is_ext(content))
        return error_set(err, VMUNDO_REFUSED, "%s cannot be made smaller: it holds '%s', whose end would be lost", device,
                         content);
    if (pool_mounted_at(device, &mounted, err) < 0)
        return -1;
    if (mounted)
        return error_set(err, VMUNDO_REFUSED, "%s is mounted at %s: a file system can be made smaller only when it is not",
                         device, mounted);
    if (least_ext(device, &least, err) < 0)
        return -1;
    return size < least ? error_set(err, VMUNDO_REFUSED, "%s cannot be made that small: its file system needs %s", device,
                                    pool_size_text(least, text))
                        : 0;
}

static int run_resize(const char *command, const struct lvm_name *n, uint64_t size, bool with_fs,
                      struct vmundo_error *err)
{
    char bytes[32];
    AUTO_FREE char *target = path_of(n, "", err);
    snprintf(bytes, sizeof(bytes), "%" PRIu64 "b", size);
    const char *args[] = {command, "--yes", "--size", bytes, target, with_fs ? "--resizefs" : NULL, NULL};
    return target ? lvm_run(n->vg, args, NULL, err) : -1;
}

static int grow(const struct lvm_name *n, const struct lvm_lv *lv, uint64_t size, const char *content,
                struct vmundo_error *err)
{
    AUTO_FREE char *device = path_of(n, "/dev/", err);
    if (!device)
        return -1;
    if ((size > lv->size || is_ext(content)) && run_resize("lvextend", n, size, is_ext(content), err) < 0)
        return -1;
    return str_eq(content, "xfs") ? pool_xfs_grow(device, err) : 0;
}

int lvm_volume_resize(const struct lvm_name *n, uint64_t size, const struct steps *s, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    const struct lvm_lv *lv = NULL;
    AUTO_FREE char *device = path_of(n, "/dev/", err), *content = NULL;
    char want[32], have[32];
    if (!device || lvm_volume_look(n, &vg, &lv, err) < 0)
        return -1;
    size = round_up(size, vg.extent);
    bool smaller = size < lv->size, thin = str_eq(lv->segtype, "thin");
    if (!lv->active)
        return error_set(err, VMUNDO_CONFLICT, "%s/%s is not active: 'lvchange -ay %s/%s' first", n->vg, n->lv, n->vg, n->lv);
    if (lvm_volume_check_single(&vg, lv, smaller, smaller ? "made smaller" : "made larger", err) < 0 ||
        signature_find(device, &content, err) < 0 || (smaller && check_shrink(device, content, size, err) < 0))
        return -1;
    if (!thin && !smaller && size - lv->size > vg.free)
        return error_set(err, VMUNDO_REFUSED, "%s more do not fit: volume group %s has %s free",
                         pool_size_text(size - lv->size, want), n->vg, pool_size_text(vg.free, have));
    bool with_fs = is_ext(content) || str_eq(content, "xfs");
    if (content && !with_fs)
        steps_warn(s, "%s/%s holds '%s': that stays as large as it is", n->vg, n->lv, content);
    if (!steps_take(s, "make the volume %s/%s%s %s instead of %s", n->vg, n->lv,
                    with_fs ? " and the file system in it" : "", pool_size_text(size, want),
                    pool_size_text(lv->size, have)))
        return 0;
    return smaller ? run_resize("lvreduce", n, size, true, err) : grow(n, lv, size, content, err);
}

/* ---- removing -------------------------------------------------------------------------------------------------------- */

int lvm_volume_remove(const struct lvm_name *n, const struct steps *s, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    const struct lvm_lv *lv = NULL;
    if (lvm_volume_look(n, &vg, &lv, err) < 0 || lvm_volume_check_single(&vg, lv, true, "removed", err) < 0)
        return -1;
    return steps_take(s, "remove the volume %s/%s and all that is in it", n->vg, n->lv) ? run_lvremove(n, err) : 0;
}
