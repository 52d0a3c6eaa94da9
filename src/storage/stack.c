/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stack.c: from a target to the storage under it.
 *
 * A target is opened once, with O_PATH, and all that is said about it is said about that descriptor: its canonical path
 * is what /proc/self/fd says, its mount is the one that statx(2) names by number (of several mounts over one another a
 * path alone cannot tell which is meant), its device is looked up in sysfs by number. A loop device that shows the
 * whole of a file is followed to the file, and that again, a few times at most.
 */
#include "storage/stack.h"

#include "storage/block.h"
#include "storage/xfs-ioctl.h"
#include "util/path.h"
#include "util/str.h"
#include "util/sys.h"

#include <fcntl.h>
#include <libmount.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#define MAX_DEPTH 8

void stack_clear(struct stack *s)
{
    char *owned[] = {s->target,    s->path,    s->via_loop, s->mount_point, s->fs_type,
                     s->fs_source, s->fs_root, s->dm_name,  s->dm_uuid,     s->dm_path};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
    *s = (struct stack){0};
}

const char *stack_name(const struct stack *s)
{
    if (s->kind != STACK_BLOCK)
        return s->path;
    if (s->dm_path)
        return s->dm_path;
    return !s->via_loop && str_has_prefix(s->target, "/dev/") ? s->target : s->path;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static int explain_open(const char *path, int errnum, struct vmundo_error *err)
{
    char link[PATH_MAX];
    ssize_t n = errnum == ENOENT ? readlink(path, link, sizeof(link) - 1) : -1;
    if (n >= 0) {
        link[n] = '\0';
        error_errno(err, errnum, "%s is a dangling link to %s", path, link);
        return -1;
    }
    if (errnum == ELOOP)
        return error_errno(err, errnum, "%s: its symbolic links lead in a circle", path);
    return error_errno(err, errnum, "cannot open %s", path);
}

/* The absolute path of what fd is, free of links. Only a path that leads back to the same file counts: the name may be
 * gone, or be out of our sight (another root directory). */
static int canonical(int fd, const struct stat *st, char **ret, struct vmundo_error *err)
{
    char link[64], path[PATH_MAX + 1];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return error_errno(err, errno, "cannot read %s (is /proc mounted?)", link);
    path[n] = '\0';
    struct stat again;
    if (path[0] != '/' || lstat(path, &again) < 0 || again.st_dev != st->st_dev || again.st_ino != st->st_ino)
        return error_set(err, VMUNDO_FAILED, "%s was moved or removed in this moment", path);
    return str_copy(path, ret, err);
}

static int check_type(const char *target, const struct stat *st, struct vmundo_error *err)
{
    if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode))
        return 0;
    const char *what = S_ISDIR(st->st_mode)    ? "a directory"
                       : S_ISFIFO(st->st_mode) ? "a FIFO"
                       : S_ISSOCK(st->st_mode) ? "a socket"
                       : S_ISCHR(st->st_mode)  ? "a character device"
                                               : "neither a file nor a block device";
    return error_set(err, VMUNDO_FAILED, "%s is %s: a disk must be a file or a block device", target, what);
}

/* ---- the file system -------------------------------------------------------------------------------------------- */

static void cleanup_table(struct libmnt_table **t)
{
    mnt_unref_table(*t);
}

static void cleanup_iter(struct libmnt_iter **i)
{
    mnt_free_iter(*i);
}

static struct libmnt_fs *find_mount(struct libmnt_table *t, int fd, const char *path)
{
    struct statx sx;
    CLEANUP(cleanup_iter) struct libmnt_iter *i = mnt_new_iter(MNT_ITER_BACKWARD);
    if (!i || statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0 || !(sx.stx_mask & STATX_MNT_ID))
        return mnt_table_find_mountpoint(t, path, MNT_ITER_BACKWARD);
    struct libmnt_fs *fs = NULL;
    while (mnt_table_next_fs(t, i, &fs) == 0)
        if (mnt_fs_get_id(fs) == (int)sx.stx_mnt_id)
            return fs;
    return NULL;
}

/* btrfs and others have a device number of their own making: then the source says on which device they are. */
static dev_t device_under(struct libmnt_fs *fs)
{
    dev_t dev = mnt_fs_get_devno(fs);
    const char *source = mnt_fs_get_source(fs);
    struct stat st;
    if (major(dev) == 0 && source && source[0] == '/' && stat(source, &st) == 0 && S_ISBLK(st.st_mode))
        return st.st_rdev;
    return dev;
}

static int can_reflink(int fd, const char *fs_type, bool *ret, struct vmundo_error *err)
{
    struct xfs_geometry g = {0};
    *ret = str_eq(fs_type, "btrfs") || str_eq(fs_type, "bcachefs");
    if (!str_eq(fs_type, "xfs"))
        return 0;
    if (TEMP_FAILURE_RETRY(ioctl(fd, XFS_IOC_GEOMETRY_V1, &g)) < 0)
        return error_errno(err, errno, "cannot ask XFS whether it shares blocks");
    *ret = g.flags & XFS_FLAG_REFLINK;
    return 0;
}

static int look_at_mount(struct stack *s, int fd, struct vmundo_error *err)
{
    CLEANUP(cleanup_table) struct libmnt_table *t = mnt_new_table_from_file("/proc/self/mountinfo");
    struct libmnt_fs *fs = t ? find_mount(t, fd, s->path) : NULL;
    if (!fs)
        return error_set(err, VMUNDO_FAILED, "%s: the mount table does not show its file system", s->path);
    if (can_reflink(fd, mnt_fs_get_fstype(fs), &s->can_reflink, err) < 0)
        return error_wrap(err, "%s", s->path);
    if (str_copy(mnt_fs_get_target(fs), &s->mount_point, err) < 0 ||
        str_copy(mnt_fs_get_fstype(fs), &s->fs_type, err) < 0 ||
        str_copy(mnt_fs_get_source(fs), &s->fs_source, err) < 0 || str_copy(mnt_fs_get_root(fs), &s->fs_root, err) < 0)
        return -1;
    return block_dm(device_under(fs), &s->dm_name, &s->dm_uuid, &s->dm_path, err);
}

static int look_at_file(struct stack *s, int path_fd, const struct stat *st, struct vmundo_error *err)
{
    /* O_NONBLOCK: a lease that somebody holds on it must not stop us. */
    AUTO_CLOSE int fd = path_reopen(path_fd, O_RDONLY | O_NONBLOCK);
    struct statvfs v;
    if (fd < 0 || fstatvfs(fd, &v) < 0)
        return error_errno(err, errno, "cannot read %s", s->path);
    s->kind = STACK_FILE;
    s->size = (uint64_t)st->st_size;
    s->allocated = (uint64_t)st->st_blocks * 512;
    s->dev = st->st_dev;
    s->fs_readonly = v.f_flag & ST_RDONLY;
    s->fs_free = (uint64_t)v.f_bavail * v.f_frsize;
    if (s->size == 0)
        return error_set(err, VMUNDO_FAILED, "%s is empty: a disk of no bytes", s->path);
    return look_at_mount(s, fd, err);
}

/* ---- block devices ---------------------------------------------------------------------------------------------- */

static int look_at_device(struct stack *s, int path_fd, const struct stat *st, struct vmundo_error *err)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
    s->kind = STACK_BLOCK;
    s->dev = st->st_rdev;
    s->size = block_size(s->dev);
    if (faccessat(AT_FDCWD, link, R_OK, AT_EACCESS) < 0)
        return error_errno(err, errno, "cannot read %s", s->path);
    if (s->size == 0)
        return error_set(err, VMUNDO_FAILED, "%s has no medium: a disk of no bytes", s->path);
    return block_dm(s->dev, &s->dm_name, &s->dm_uuid, &s->dm_path, err);
}

/* If it is a loop device that shows a whole file: *ret_file is the path of that file, otherwise NULL. */
static int follow_loop(const char *node, const struct stat *st, char **ret_file, struct vmundo_error *err)
{
    CLEANUP(block_loop_clear) struct block_loop l = {0};
    if (block_loop(st->st_rdev, node, &l, err) < 0)
        return -1;
    if (!l.file || l.offset > 0)
        return 0;
    struct stat file;
    if (stat(l.file, &file) < 0)
        return error_errno(err, errno, "the file of %s is no longer at %s", node, l.file);
    if (l.identified && (file.st_dev != l.file_dev || file.st_ino != l.file_ino))
        return error_set(err, VMUNDO_FAILED, "the file of %s is no longer at %s: another has taken its place", node,
                         l.file);
    uint64_t size = S_ISBLK(file.st_mode) ? block_size(file.st_rdev) : (uint64_t)file.st_size;
    if (l.limit == 0 || l.limit == size)
        *ret_file = TAKE(l.file);
    return 0;
}

/* ---- the walk --------------------------------------------------------------------------------------------------- */

/* One step: look at path. *ret_next is where to look instead, or NULL when s is complete. */
static int look_at(const char *path, struct stack *s, char **ret_next, struct vmundo_error *err)
{
    struct stat st;
    AUTO_CLOSE int fd = -1;
    struct vmundo_error e = {0};
    if (path_open(path, &fd, &e) < 0)
        return e.errnum ? explain_open(path, e.errnum, err) : error_set(err, e.code, "%s", e.msg);
    if (fstat(fd, &st) < 0)
        return explain_open(path, errno, err);
    AUTO_FREE char *name = NULL;
    if (check_type(path, &st, err) < 0 || canonical(fd, &st, &name, err) < 0)
        return -1;
    AUTO_FREE char *next = NULL;
    if (S_ISBLK(st.st_mode) && follow_loop(name, &st, &next, err) < 0)
        return -1;
    if (next) {
        if (!s->via_loop)
            s->via_loop = TAKE(name);
        *ret_next = TAKE(next);
        return 0;
    }
    s->path = TAKE(name);
    s->ino = st.st_ino;
    s->nlink = (unsigned)st.st_nlink;
    s->uid = st.st_uid;
    return S_ISBLK(st.st_mode) ? look_at_device(s, fd, &st, err) : look_at_file(s, fd, &st, err);
}

static int walk(const char *target, struct stack *s, struct vmundo_error *err)
{
    AUTO_FREE char *here = NULL;
    if (str_copy(target, &here, err) < 0)
        return -1;
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        AUTO_FREE char *next = NULL;
        if (look_at(here, s, &next, err) < 0)
            return -1;
        if (!next)
            return 0;
        free(here);
        here = TAKE(next);
    }
    return error_set(err, VMUNDO_FAILED, "%s: more than %d loop devices on top of one another", target, MAX_DEPTH);
}

/* A target that is not there may be in a file system that is not mounted. */
static int walk_or_look_up(const char *target, struct stack *s, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    bool found = false;
    if (walk(target, s, &e) == 0)
        return 0;
    if (e.errnum == ENOENT && !s->path && stack_from_fstab(s, &found, err) < 0)
        return -1;
    if (!found && err)
        *err = e;
    return found ? 0 : -1;
}

int stack_resolve(const char *target, struct stack *ret, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    if (str_copy(target, &s.target, err) < 0)
        return -1;
    if (str_has_prefix(target, "rbd:")) {
        s.kind = STACK_RBD;
        if (str_copy(target, &s.path, err) < 0)
            return -1;
    } else if (target[0] != '/') {
        return error_set(err, VMUNDO_FAILED, "%s is not an absolute path", target);
    } else if (walk_or_look_up(target, &s, err) < 0) {
        return -1;
    }
    *ret = s;
    s = (struct stack){0};
    return 0;
}
