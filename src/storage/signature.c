/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * signature.c: is a block device free to be used? First who uses it (inuse.c), then whether LVM has it, then what
 * libblkid recognises on it. A physical volume that LVM does not show is one that this host's devices file or filter
 * hides, perhaps a guest's: that is never wiped, whatever the user says.
 */
#include "storage/pool.h"

#include "storage/storage.h"

#include <blkid.h>
#include <fcntl.h>
#include <libmount.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#define ENDS ((off_t)1 << 20)

static void cleanup_probe(blkid_probe *p)
{
    blkid_free_probe(*p);
}

static blkid_probe new_probe(int fd)
{
    blkid_probe p = blkid_new_probe();
    if (!p || blkid_probe_set_device(p, fd, 0, 0) < 0) {
        blkid_free_probe(p);
        return NULL;
    }
    blkid_probe_enable_superblocks(p, 1);
    blkid_probe_set_superblocks_flags(p, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_MAGIC);
    blkid_probe_enable_partitions(p, 1);
    blkid_probe_set_partitions_flags(p, BLKID_PARTS_MAGIC);
    return p;
}

/* Where signatures lie: at the beginning and at the end. */
static int check_readable(int fd)
{
    const off_t size = lseek(fd, 0, SEEK_END), places[] = {0, size > ENDS ? size - ENDS : 0};
    AUTO_FREE char *buf = malloc(ENDS);
    if (size < 0 || !buf)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (TEMP_FAILURE_RETRY(pread(fd, buf, ENDS, places[i])) < 0)
            return -1;
    return 0;
}

static int probe(const char *device, char **ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    CLEANUP(cleanup_probe) blkid_probe p = fd < 0 || check_readable(fd) < 0 ? NULL : new_probe(fd);
    const char *type = NULL;
    if (!p)
        return error_errno(err, errno, "cannot read %s", device);
    int r = blkid_do_safeprobe(p);
    if (r == -1)
        return error_errno(err, errno ? errno : EIO, "cannot read %s", device);
    if (r == -2)
        type = "several kinds";
    else if (r == 0 && blkid_probe_lookup_value(p, "TYPE", &type, NULL) < 0 &&
             blkid_probe_lookup_value(p, "PTTYPE", &type, NULL) < 0)
        type = "something";
    return str_copy(type, ret, err);
}

/* libblkid takes much that it cannot read for something that is not there. So all is read before, where an error is seen,
 * and it is asked twice. */
int signature_find(const char *device, char **ret, struct vmundo_error *err)
{
    AUTO_FREE char *first = NULL, *second = NULL;
    if (probe(device, &first, err) < 0 || probe(device, &second, err) < 0)
        return -1;
    if (!str_eq(first, second) && (first || second))
        return error_set(err, VMUNDO_FAILED, "%s cannot be read reliably: it looked like '%s', and then like '%s'", device,
                         first ? first : "nothing", second ? second : "nothing");
    *ret = TAKE(first);
    return 0;
}

/* A partition table is little to lose, but each partition may hold something. */
static int count_partitions(const char *device, int *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    CLEANUP(cleanup_probe) blkid_probe p = fd < 0 ? NULL : blkid_new_probe();
    if (!p || blkid_probe_set_device(p, fd, 0, 0) < 0)
        return error_errno(err, errno, "cannot read %s", device);
    blkid_partlist list = blkid_probe_get_partitions(p); /* the probe's */
    *ret = list ? blkid_partlist_numof_partitions(list) : 0;
    return 0;
}

int signature_wipe(const char *device, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(device, O_RDWR | O_EXCL | O_CLOEXEC);
    CLEANUP(cleanup_probe) blkid_probe p = fd < 0 ? NULL : new_probe(fd);
    if (fd < 0 && errno == EBUSY)
        return error_set(err, VMUNDO_REFUSED, "%s is in use", device);
    if (!p)
        return error_errno(err, errno, "cannot open %s", device);
    while (blkid_do_probe(p) == 0)
        if (blkid_do_wipe(p, 0) < 0)
            return error_errno(err, errno, "cannot wipe %s", device);
    if (fsync(fd) < 0)
        return error_errno(err, errno, "cannot write to %s", device);
    (void)ioctl(fd, BLKRRPART); /* no disk with partitions: nothing to forget */
    return 0;
}

/* ---- may it be used? ------------------------------------------------------------------------------------------------ */

static bool same_device(const char *a, dev_t dev)
{
    struct stat st;
    return stat(a, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == dev;
}

static int check_lvm(const struct stack *s, bool signature, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    if (lvm_groups(&g, err) < 0)
        return -1;
    for (size_t i = 0; i < g.n; i++)
        for (size_t k = 0; k < g.groups[i].pvs.n; k++)
            if (same_device(g.groups[i].pvs.items[k], s->dev))
                return error_set(err, VMUNDO_REFUSED,
                                 "%s is a physical volume of volume group %s: take it out (vgreduce) before you use it "
                                 "for something else",
                                 s->path, g.groups[i].name);
    for (size_t k = 0; k < g.single.n; k++)
        if (same_device(g.single.items[k], s->dev))
            return 0;
    return signature ? error_set(err, VMUNDO_REFUSED,
                                 "%s is a physical volume that this host's LVM is told to leave alone (devices file or "
                                 "filter in lvm.conf): it may be a guest's, or another host's",
                                 s->path)
                     : 0;
}

static int check_signature(const struct stack *s, bool wipe, char **ret, struct vmundo_error *err)
{
    AUTO_FREE char *type = NULL;
    int partitions = 0;
    if (signature_find(s->path, &type, err) < 0 || check_lvm(s, str_eq(type, "LVM2_member"), err) < 0 ||
        count_partitions(s->path, &partitions, err) < 0)
        return -1;
    if (partitions > 0)
        return error_set(err, VMUNDO_REFUSED, "%s has %d partition%s, each of which may hold something: give one of them, or "
                         "delete them first (sfdisk --delete)", s->path, partitions, partitions == 1 ? "" : "s");
    if (type && !wipe)
        return error_set(err, VMUNDO_REFUSED, "%s is not empty: it holds %s%s%s; --wipe destroys that", s->path,
                         str_eq(type, "several kinds") ? "" : "'", type,
                         str_eq(type, "several kinds") ? " of content" : "'");
    if (ret)
        *ret = TAKE(type);
    return 0;
}

static int resolve(const char *path, struct stack *s, struct vmundo_error *err)
{
    AUTO_FREE char *real = realpath(path, NULL);
    if (!real)
        return errno == ENOENT ? error_set(err, VMUNDO_NOT_FOUND, "there is no %s", path)
                               : error_errno(err, errno, "cannot find %s", path);
    if (stack_resolve(real, s, err) < 0)
        return error_set(err, VMUNDO_USAGE, "%s is no block device", path);
    if (s->kind == STACK_BLOCK && !s->via_loop)
        return 0;
    if (s->via_loop)
        return error_set(err, VMUNDO_REFUSED, "%s is a loop device over %s: give the file with --file, so that it is "
                         "found again after a reboot", path, s->path);
    return error_set(err, VMUNDO_USAGE, "%s is no block device", path);
}

int pool_device_name(const char *path, char **ret, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    return resolve(path, &s, err) < 0 ? -1 : str_copy(stack_name(&s), ret, err);
}

int pool_check_device(const char *path, bool wipe, char **ret, char **ret_signature, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    AUTO_FREE char *who = NULL;
    if (resolve(path, &s, err) < 0 || storage_in_use(&s, false, &who, err) < 0)
        return -1;
    if (who)
        return error_set(err, VMUNDO_REFUSED, "%s is in use by %s", path, who);
    if (check_signature(&s, wipe, ret_signature, err) < 0)
        return -1;
    return str_copy(stack_name(&s), ret, err);
}

static void cleanup_table(struct libmnt_table **t)
{
    mnt_unref_table(*t);
}

static void cleanup_iter(struct libmnt_iter **i)
{
    mnt_free_iter(*i);
}

int pool_mounted_at(const char *device, char **ret, struct vmundo_error *err)
{
    struct stat st;
    struct libmnt_fs *fs = NULL;
    CLEANUP(cleanup_table) struct libmnt_table *t = mnt_new_table_from_file("/proc/self/mountinfo");
    CLEANUP(cleanup_iter) struct libmnt_iter *i = mnt_new_iter(MNT_ITER_FORWARD);
    *ret = NULL;
    if (!t || !i)
        return error_set(err, VMUNDO_FAILED, "cannot read the mount table");
    if (stat(device, &st) < 0 || !S_ISBLK(st.st_mode))
        return 0;
    while (mnt_table_next_fs(t, i, &fs) == 0)
        if (mnt_fs_get_devno(fs) == st.st_rdev)
            return str_copy(mnt_fs_get_target(fs), ret, err);
    return 0;
}
