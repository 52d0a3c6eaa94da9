/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reflink.c: a branch is a clone of the image file that shares its blocks (FICLONE, ioctl_ficlone(2)): made in a moment
 * whatever its size, as fast to use as the original, and of the same format. XFS, btrfs, bcachefs.
 *
 * The time that a clone takes grows with the number of extents, not with the size: about 10 us each on XFS and 6 us on
 * btrfs, with the flush. An image in more than MAX_EXTENTS pieces (40 ms) is left to an overlay.
 *
 * Keep lets clone and image change places, which is one atomic step. Where that would lose something (another hard link
 * would go on showing the old content, a mount point cannot be renamed, an attribute cannot be given to another file)
 * the clone is cloned back into the image, which can be done again after an interruption since the clone stays whole.
 */
#include "storage/drivers.h"

#include "storage/attributes.h"
#include "storage/extents.h"
#include "storage/image.h"
#include "storage/sidecar.h"
#include "util/sys.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#define MAX_EXTENTS 4000

/* ---- claim ------------------------------------------------------------------------------------------------------ */

/* With room for no extents FIEMAP counts them, Documentation/filesystems/fiemap.rst. */
static int count_extents(int fd, uint64_t *ret, struct vmundo_error *err)
{
    struct fiemap f = {.fm_length = FIEMAP_MAX_OFFSET};
    if (ioctl(fd, FS_IOC_FIEMAP, &f) < 0)
        return error_errno(err, errno, "cannot count its extents");
    *ret = f.fm_mapped_extents;
    return 0;
}

static int check_format(int fd, const char *format, char **ret_not, struct vmundo_error *err)
{
    CLEANUP(image_header_clear) struct image_header h = {0};
    struct vmundo_error why = {0};
    const char *reason = NULL;
    if (image_read_header(fd, format, &h, &why) < 0 && why.errnum)
        return error_set(err, why.code, "%s", why.msg); /* nothing is known of it */
    if (why.code)
        reason = why.msg;
    else if (h.corrupt)
        reason = "the image is marked corrupt";
    else if (h.external_data)
        reason = "the image has its data in another file, which a clone would share with it";
    else if (h.has_backing && (!h.backing || h.backing[0] != '/'))
        reason = "the image is based on another by a relative name, which would not be found from the clone";
    return str_copy(reason, ret_not, err);
}

static int check_file(const struct stack *s, const char *format, uint64_t *ret_extents, char **ret_not,
                      struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    struct stat dir;
    if (sidecar_open_origin(s->path, O_RDONLY, &f, err) < 0)
        return -1;
    if (fstat(f.dirfd, &dir) < 0)
        return error_errno(err, errno, "%s", s->path);
    if (dir.st_dev != s->dev)
        return str_copy("the image is mounted there by itself, from another file system", ret_not, err);
    if (count_extents(f.fd, ret_extents, err) < 0)
        return error_wrap(err, "%s", s->path);
    if (*ret_extents <= MAX_EXTENTS)
        return check_format(f.fd, format, ret_not, err);
    *ret_not = str_printf(err, "the image is in %" PRIu64 " pieces: a clone would take long (limit: %d)", *ret_extents,
                          MAX_EXTENTS);
    return *ret_not ? 0 : -1;
}

/* *ret_not stays NULL when it can be cloned. */
static int why_not(const struct stack *s, const char *format, uint64_t *ret_extents, char **ret_not,
                   struct vmundo_error *err)
{
    if (s->kind != STACK_FILE)
        return str_copy("it is not a file", ret_not, err);
    if (!s->can_reflink) {
        *ret_not = str_printf(err, "%s at %s cannot share blocks between files", s->fs_type, s->mount_point);
        return *ret_not ? 0 : -1;
    }
    if (s->fs_readonly)
        return str_copy("its file system is read-only", ret_not, err);
    return check_file(s, format, ret_extents, ret_not, err);
}

static int reflink_claim(const struct stack *s, const char *format, struct claim *ret, struct vmundo_error *err)
{
    uint64_t extents = 0;
    if (why_not(s, format, &extents, &ret->why, err) < 0)
        return -1;
    if (ret->why)
        return 0;
    ret->possible = true;
    ret->why = str_printf(err, "%s shares blocks between files", s->fs_type);
    ret->cost = str_printf(err, "one clone of %" PRIu64 " extents, no space until the guest writes", extents);
    return ret->why && ret->cost ? str_copy(s->path, &ret->volume, err) : -1;
}

/* ---- create ----------------------------------------------------------------------------------------------------- */

static int reflink_name(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err)
{
    (void)state_dir;
    b->limit = 0;
    b->path = sidecar_path(b->origin, m, ".clone", err);
    return b->path ? str_copy(b->origin_format, &b->format, err) : -1;
}

/* btrfs shares blocks only between two files that both have, or both have not, checksums: chattr +C. */
static int match_nocow(int origin, int fd, struct vmundo_error *err)
{
    int theirs = 0, ours = 0;
    if (ioctl(origin, FS_IOC_GETFLAGS, &theirs) < 0 || ioctl(fd, FS_IOC_GETFLAGS, &ours) < 0 ||
        !((theirs ^ ours) & FS_NOCOW_FL))
        return 0;
    ours ^= FS_NOCOW_FL;
    return ioctl(fd, FS_IOC_SETFLAGS, &ours) < 0 ? error_errno(err, errno, "cannot set the no-copy-on-write flag") : 0;
}

static int reflink_fill(const struct sidecar_fill *f, struct vmundo_error *err)
{
    if (match_nocow(f->from, f->fd, err) < 0)
        return -1;
    return sys_ficlone(f->fd, f->from) < 0 ? error_errno(err, errno, "cannot clone %s", f->branch->origin) : 0;
}

/* By mark: XFS commits changes in their order, and btrfs all of a transaction or none, so the mark is never there
 * without the blocks. On XFS a second name would double the time (0.45 ms more). */
static int reflink_create(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    return sidecar_create(b, m, reflink_fill, true, err);
}

static int reflink_refill(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    if (!str_eq(b->format, "raw"))
        return error_set(err, VMUNDO_REFUSED, "QEMU has read more of a %s image than it can forget", b->format);
    return sidecar_refill(b, m, reflink_fill, err);
}

static int reflink_create_unsettled(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    return sidecar_create_unsettled(b, m, reflink_fill, err);
}

/* ---- inspect ---------------------------------------------------------------------------------------------------- */

/* The bytes in extents that the file shares with no other. */
static int own_bytes(int fd, uint64_t *ret, struct vmundo_error *err)
{
    AUTO_EXTENTS struct extents e = {0};
    if (extents_read(fd, false, &e, err) < 0)
        return -1;
    *ret = 0;
    for (size_t i = 0; i < e.n; i++)
        *ret += e.list[i].shared ? 0 : e.list[i].end - e.list[i].start;
    return 0;
}

static int reflink_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    if (sidecar_inspect(b, &s, err) < 0)
        return -1;
    if (s.exists && (sidecar_open_branch(b->path, O_RDONLY, &f, err) < 0 || own_bytes(f.fd, &s.used, err) < 0))
        return -1;
    *ret = s;
    s = (struct branch_status){0};
    return 0;
}

/* ---- diff ------------------------------------------------------------------------------------------------------- */

/* What one of the two files has of the other's blocks is the same. Written zeros and holes are not told apart from data
 * that happens to be the same: nothing is read. */
static int compare_extents(const struct extents *a, const struct extents *b, uint64_t size, struct ranges *ret,
                           struct vmundo_error *err)
{
    size_t i = 0, j = 0;
    for (uint64_t at = 0, end; at < size; at = end) {
        const struct extent *x = extents_seek(a, &i, at), *y = extents_seek(b, &j, at);
        uint64_t other = extent_limit(y, at, size);
        end = extent_limit(x, at, size);
        end = end < other ? end : other;
        bool in_x = extent_has_data(x, at), in_y = extent_has_data(y, at);
        bool same = in_x && in_y ? extent_is_same(x, y, at) : in_x == in_y;
        if (!same && ranges_add(ret, at, end - at, err) < 0)
            return -1;
    }
    return 0;
}

static int reflink_changes(const struct branch *b, const struct branch *since, const char *inside, struct ranges *ret,
                           struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT, from = SIDECAR_FILE_INIT;
    AUTO_EXTENTS struct extents now = {0}, then = {0};
    struct stat st, old;
    (void)inside;
    if (sidecar_open_branch(b->path, O_RDONLY, &f, err) < 0 ||
        (since ? sidecar_open_branch(since->path, O_RDONLY, &from, err)
               : sidecar_open_origin(b->origin, O_RDONLY, &from, err)) < 0 ||
        extents_read(f.fd, true, &now, err) < 0 || extents_read(from.fd, true, &then, err) < 0)
        return -1;
    if (fstat(f.fd, &st) < 0 || fstat(from.fd, &old) < 0)
        return error_errno(err, errno, "%s", b->path);
    if (compare_extents(&now, &then, (uint64_t)st.st_size, ret, err) < 0)
        return -1;
    return old.st_size > st.st_size ? ranges_add(ret, (uint64_t)st.st_size, (uint64_t)(old.st_size - st.st_size), err)
                                    : 0;
}

/* ---- keep ------------------------------------------------------------------------------------------------------- */

/* Once clone and image have changed places, the image's inode is the one that the clone had. */
static int is_exchanged(const struct branch *b, int origin, bool *ret, struct vmundo_error *err)
{
    struct stat st;
    uint64_t ino;
    if (fstat(origin, &st) < 0)
        return error_errno(err, errno, "%s", b->origin);
    if (!b->detail)
        return error_set(err, VMUNDO_FAILED, "nothing is known about the clone %s", b->path);
    if (json_get_u64(b->detail, "inode", &ino, err) < 0)
        return error_wrap(err, "%s", b->path);
    *ret = st.st_ino == ino;
    return 0;
}

static int reflink_keep_check(const struct branch *b, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    CLEANUP(stack_clear) struct stack s = {0};
    bool exchanged;
    if (sidecar_open_origin(b->origin, O_RDONLY, &f, err) < 0 || is_exchanged(b, f.fd, &exchanged, err) < 0)
        return -1;
    sidecar_file_close(&f); /* ours would count as a user of it */
    return exchanged ? 0 : sidecar_keep_check(b, &s, err);
}

/* No other name and no mount leads to the image. */
static bool is_alone(int fd)
{
    struct statx s;
    return statx(fd, "", AT_EMPTY_PATH, STATX_NLINK, &s) == 0 && s.stx_nlink == 1 &&
           !(s.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static bool is_inode(int dirfd, const char *name, int fd)
{
    struct stat a, b;
    return fstatat(dirfd, name, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &b) == 0 && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

static int swap_names(const struct sidecar_file *a, const struct sidecar_file *b)
{
    return sys_renameat2(a->dirfd, a->base, b->dirfd, b->base, RENAME_EXCHANGE);
}

/* *ret false: it cannot be done in this way. */
static int exchange(const struct sidecar_file *origin, const struct sidecar_file *clone, bool *ret,
                    struct vmundo_error *err)
{
    *ret = false;
    if (!is_alone(origin->fd) || !attributes_copy(origin->fd, clone->fd))
        return 0;
    if (fsync(clone->fd) < 0)
        return error_errno(err, errno, "cannot make the clone durable");
    if (swap_names(origin, clone) < 0)
        return 0;
    if (!is_inode(clone->dirfd, clone->base, origin->fd)) { /* not the file that we looked at came out */
        swap_names(origin, clone);
        return error_set(err, VMUNDO_CONFLICT, "somebody replaced %s in this moment", origin->base);
    }
    *ret = true;
    return 0;
}

static int clone_back(const struct branch *b, const struct sidecar_file *clone, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file origin = SIDECAR_FILE_INIT;
    struct stat st;
    if (sidecar_open_origin(b->origin, O_RDWR, &origin, err) < 0)
        return -1;
    if (fstat(clone->fd, &st) < 0 || sys_ficlone(origin.fd, clone->fd) < 0 || ftruncate(origin.fd, st.st_size) < 0 ||
        fsync(origin.fd) < 0)
        return error_errno(err, errno, "cannot clone %s back into %s", b->path, b->origin);
    return 0;
}

static int reflink_keep(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file origin = SIDECAR_FILE_INIT, clone = SIDECAR_FILE_INIT;
    bool done;
    if (sidecar_open_origin(b->origin, O_RDONLY, &origin, err) < 0 || is_exchanged(b, origin.fd, &done, err) < 0)
        return -1;
    if (sidecar_open(b->path, false, &clone.dirfd, &clone.base, err) < 0)
        return -1;
    if (!done) {
        sidecar_file_close(&clone);
        if (sidecar_open_branch(b->path, O_RDONLY, &clone, err) < 0 || exchange(&origin, &clone, &done, err) < 0)
            return -1;
    }
    if (done && (sys_fsync_dir(origin.dirfd) < 0 || sys_fsync_dir(clone.dirfd) < 0))
        return error_errno(err, errno, "cannot make the exchange of %s durable", b->origin);
    if (!done && clone_back(b, &clone, err) < 0)
        return -1;
    progress_tell(p, 1, 1);
    return 0;
}

const struct storage_driver storage_reflink = {
    .name = "reflink",
    .flags = STORAGE_FROM_BRANCH | STORAGE_SHARES_BLOCKS,
    .claim = reflink_claim,
    .name_branch = reflink_name,
    .preflight = sidecar_preflight,
    .preflight_replacing = sidecar_preflight_replacing,
    .create = reflink_create,
    .refill = reflink_refill,
    .recall = sidecar_recall,
    .create_unsettled = reflink_create_unsettled,
    .settle = sidecar_settle,
    .remove = sidecar_remove,
    .inspect = reflink_inspect,
    .changed = sidecar_changed,
    .changes = reflink_changes,
    .keep_check = reflink_keep_check,
    .keep = reflink_keep,
};
