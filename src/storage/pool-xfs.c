/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pool-xfs.c: pools that are files. A file is made without a name (O_TMPFILE) and gets it when all is in it, so that one
 * that can be found is whole. Everything on the way to it is opened without following links, and a mount goes to the
 * directory that was opened, whatever has become of its path since.
 *
 * The loop device under a mounted pool clears itself when the file system is unmounted. That under a volume group cannot:
 * nobody has it open while no volume is active.
 */
#include "storage/pool.h"

#include "storage/block.h"
#include "storage/xfs-ioctl.h"
#include "util/process.h"
#include "util/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

/* ---- files ---------------------------------------------------------------------------------------------------------- */

static int give_name(int fd, int dir, const char *base, const char *path, struct vmundo_error *err)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (fsync(fd) < 0)
        return error_errno(err, errno, "cannot write %s", path);
    if (linkat(AT_FDCWD, link, dir, base, AT_SYMLINK_FOLLOW) < 0)
        return errno == EEXIST ? error_set(err, VMUNDO_CONFLICT, "there is a file %s already", path)
                               : error_errno(err, errno, "cannot create %s", path);
    return sys_fsync_dir(dir) < 0 ? error_errno(err, errno, "cannot write the directory of %s", path) : 0;
}

static int open_nameless(int dir, const char *path, uint64_t size, int *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot make a file for %s", path);
    if (ftruncate(fd, (off_t)size) < 0)
        return error_errno(err, errno, "cannot make %s that large", path);
    (void)fcntl(fd, F_SETFL, O_DIRECT); /* tells the loop device which block size it must have */
    *ret = TAKE_FD(fd);
    return 0;
}

static int check_free_name(int dir, const char *base, const char *path, struct vmundo_error *err)
{
    struct stat st;
    return fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) == 0
               ? error_set(err, VMUNDO_CONFLICT, "there is a file %s already", path)
               : 0;
}

int pool_make_file(const char *path, uint64_t size, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    AUTO_CLOSE int fd = -1;
    const char *base;
    if (sys_open_parent(path, &dir, &base, err) < 0 || check_free_name(dir, base, path, err) < 0 ||
        open_nameless(dir, path, size, &fd, err) < 0)
        return -1;
    return give_name(fd, dir, base, path, err);
}

static int open_file(const char *path, int *ret, struct stat *st, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    const char *base;
    if (sys_open_parent(path, &dir, &base, err) < 0)
        return -1;
    AUTO_CLOSE int fd = openat(dir, base, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return error_set(err, VMUNDO_NOT_FOUND, "there is no %s", path);
    if (fd < 0 || fstat(fd, st) < 0)
        return error_errno(err, errno, "cannot open %s", path);
    if (!S_ISREG(st->st_mode))
        return error_set(err, VMUNDO_CONFLICT, "%s is no file", path);
    (void)fcntl(fd, F_SETFL, O_DIRECT);
    *ret = TAKE_FD(fd);
    return 0;
}

int pool_attach_file(const char *path, bool autoclear, char node[LOOP_NODE_SIZE], int *ret_fd, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;
    *ret_fd = -1;
    if (open_file(path, &fd, &st, err) < 0)
        return -1;
    return loop_find(&st, node, ret_fd) ? 0 : loop_attach(fd, autoclear, node, ret_fd, err);
}

int pool_remove_file(const char *path, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    const char *base;
    char node[LOOP_NODE_SIZE];
    struct stat st;
    if (sys_open_parent(path, &dir, &base, err) < 0)
        return -1;
    if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot look at %s", path);
    if (loop_find(&st, node, NULL) && loop_detach(node, err) < 0)
        return -1;
    if (!S_ISREG(st.st_mode) || unlinkat(dir, base, 0) < 0 || sys_fsync_dir(dir) < 0)
        return error_errno(err, errno, "cannot remove %s", path);
    return 0;
}

int pool_grow_file(const char *path, uint64_t size, const char *node, const struct steps *s, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;
    struct statfs fs;
    char found[LOOP_NODE_SIZE], want[32], have[32];
    if (open_file(path, &fd, &st, err) < 0)
        return -1;
    uint64_t now = (uint64_t)st.st_size;
    if (size < now)
        return error_set(err, VMUNDO_REFUSED, "%s is %s, and a pool cannot be made smaller: make a new one and copy", path,
                         pool_size_text(now, have));
    if (fstatfs(fd, &fs) == 0 && size - now > (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize)
        steps_warn(s, "the file system that %s is in has %s free: the pool cannot be filled to its end", path,
                   pool_size_text((uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize, have));
    if (!steps_take(s, "make %s %s instead of %s", path, pool_size_text(size, want), pool_size_text(now, have)))
        return 0;
    if (ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0)
        return error_errno(err, errno, "cannot make %s larger", path);
    if (!node && !loop_find(&st, found, NULL))
        return 0;
    return loop_update_size(node ? node : found, err);
}

/* ---- the file system -------------------------------------------------------------------------------------------------- */

static int run_mkfs(const char *device, struct vmundo_error *err)
{
    const char *args[] = {"mkfs.xfs", "-q", "-m", "reflink=1", device, NULL};
    return process_run(args, 0, NULL, err);
}

static int create_in_file(const char *path, uint64_t size, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    AUTO_CLOSE int fd = -1;
    AUTO_CLOSE int loop = -1;
    const char *base;
    char node[LOOP_NODE_SIZE];
    if (sys_open_parent(path, &dir, &base, err) < 0 || check_free_name(dir, base, path, err) < 0 ||
        open_nameless(dir, path, size, &fd, err) < 0 || loop_attach(fd, true, node, &loop, err) < 0 ||
        run_mkfs(node, err) < 0)
        return -1;
    if (fsync(loop) < 0)
        return error_errno(err, errno, "cannot write %s", path);
    return give_name(fd, dir, base, path, err);
}

int pool_xfs_create(const char *path, bool device, uint64_t size, const struct steps *s, struct vmundo_error *err)
{
    AUTO_FREE char *content = NULL;
    char text[32];
    if (!process_have("mkfs.xfs"))
        return error_set(err, VMUNDO_FAILED, "there is no mkfs.xfs in PATH: install xfsprogs");
    if (!device)
        return steps_take(s, "make the file %s of %s, which takes room only as it is filled, and XFS in it", path,
                          pool_size_text(size, text))
                   ? create_in_file(path, size, err)
                   : 0;
    if (signature_find(path, &content, err) < 0)
        return -1;
    if (content && steps_take(s, "destroy what is on %s ('%s')", path, content) && signature_wipe(path, err) < 0)
        return -1;
    return steps_take(s, "make XFS on %s", path) ? run_mkfs(path, err) : 0;
}

int pool_xfs_grow(const char *device, struct vmundo_error *err)
{
    AUTO_CLOSE int mount = -1;
    struct stat st;
    struct xfs_geometry g = {0};
    if (stat(device, &st) < 0)
        return error_errno(err, errno, "cannot find %s", device);
    if (lvm_open_root(device, true, &mount, err) < 0)
        return -1;
    AUTO_CLOSE int root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* that of a mount is O_PATH */
    if (root < 0 || ioctl(root, XFS_IOC_GEOMETRY_V1, &g) < 0 || g.blocksize == 0)
        return error_errno(err, errno, "cannot look at the file system on %s", device);
    uint64_t size = block_size(st.st_rdev);
    if (size == 0)
        return error_set(err, VMUNDO_FAILED, "the kernel does not tell how large %s is", device);
    struct xfs_growfs_data grow = {.newblocks = size / g.blocksize, .imaxpct = g.imaxpct};
    if (grow.newblocks > g.datablocks && ioctl(root, XFS_IOC_GROW_DATA, &grow) < 0)
        return error_errno(err, errno, "the file system on %s cannot be made larger", device);
    return 0;
}

/* ---- mounting -------------------------------------------------------------------------------------------------------- */

/* *ret_name: some name in the directory, empty: none. */
static int look_into(int fd, char ret_name[NAME_MAX + 1], const char *dir, struct vmundo_error *err)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_DIR DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d)
        return error_errno(err, errno, "cannot read %s", dir);
    ret_name[0] = '\0';
    const struct dirent *e;
    int r;
    while ((r = sys_next_entry(d, &e, err)) > 0)
        snprintf(ret_name, NAME_MAX + 1, "%s", e->d_name);
    return r;
}

static int open_mount_point(const char *dir, int *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int parent = -1;
    const char *base;
    char name[NAME_MAX + 1];
    if (sys_open_parent(dir, &parent, &base, err) < 0)
        return -1;
    if (mkdirat(parent, base, 0755) < 0 && errno != EEXIST)
        return error_errno(err, errno, "cannot create the directory %s", dir);
    AUTO_CLOSE int fd = openat(parent, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open the directory %s", dir);
    if (look_into(fd, name, dir, err) < 0)
        return -1;
    if (*name)
        return error_set(err, VMUNDO_CONFLICT, "%s is not empty, and what is in it would be hidden: give another directory "
                         "with --mount", dir);
    *ret = TAKE_FD(fd);
    return 0;
}

static int mount_device(const char *device, const char *dir, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    AUTO_FREE char *content = NULL;
    char target[64];
    if (signature_find(device, &content, err) < 0)
        return -1;
    if (!str_eq(content, "xfs"))
        return error_set(err, VMUNDO_REFUSED, "%s holds %s%s%s and not XFS: it is no pool, and is not mounted", device,
                         content ? "'" : "", content ? content : "nothing that is known", content ? "'" : "");
    if (open_mount_point(dir, &fd, err) < 0)
        return -1;
    snprintf(target, sizeof(target), "/proc/self/fd/%d", fd);
    if (mount(device, target, "xfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return error_errno(err, errno, "cannot mount %s at %s", device, dir);
    return 0;
}

int pool_xfs_mount(const char *path, const char *dir, const struct steps *s, struct vmundo_error *err)
{
    AUTO_CLOSE int loop = -1;
    AUTO_FREE char *mounted = NULL;
    char node[LOOP_NODE_SIZE];
    struct stat st;
    bool device = stat(path, &st) == 0 && S_ISBLK(st.st_mode);
    bool attached = !device && loop_find(&st, node, NULL);
    if ((device || attached) && pool_mounted_at(device ? path : node, &mounted, err) < 0)
        return -1;
    if (str_eq(mounted, dir))
        return 0;
    if (mounted)
        return error_set(err, VMUNDO_CONFLICT, "%s is mounted already, at %s", path, mounted);
    if (!steps_take(s, "mount it at %s", dir))
        return 0;
    if (!device && pool_attach_file(path, true, node, &loop, err) < 0)
        return -1;
    return mount_device(device ? path : node, dir, err);
}

/* ---- removing -------------------------------------------------------------------------------------------------------- */

int pool_xfs_check_empty(const char *dir, struct vmundo_error *err)
{
    char name[NAME_MAX + 1];
    AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", dir);
    if (look_into(fd, name, dir, err) < 0)
        return -1;
    return *name ? error_set(err, VMUNDO_REFUSED, "%s is not empty: '%s' is in it; move or remove what is there, 'vmundo "
                             "drop' domains that have branches there", dir, name)
                 : 0;
}

int pool_xfs_remove(const char *path, const char *dir, const struct steps *s, struct vmundo_error *err)
{
    struct stat st;
    bool device = stat(path, &st) == 0 && S_ISBLK(st.st_mode);
    if (!steps_take(s, "unmount %s", dir))
        return steps_take(s, device ? "remove the file system on %s" : "remove the file %s", path), 0;
    if (umount2(dir, UMOUNT_NOFOLLOW) < 0)
        return errno == EBUSY ? error_set(err, VMUNDO_REFUSED, "%s is in use: a process or a mount has it (fuser -vm tells)",
                                          dir)
                              : error_errno(err, errno, "cannot unmount %s", dir);
    (void)rmdir(dir);
    if (!steps_take(s, device ? "remove the file system on %s" : "remove the file %s", path))
        return 0;
    return device ? signature_wipe(path, err) : pool_remove_file(path, err);
}
