/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * attributes.c: owner, mode, extended attributes and flags of a file, for when another file takes its place. A POSIX
 * ACL is an extended attribute too (system.posix_acl_access), so it needs no library of its own.
 */
#include "storage/attributes.h"

#include "util/str.h"

#include <limits.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* *ret: names one after the other, each with its NUL; the caller's. */
static ssize_t list_xattrs(int fd, char **ret)
{
    AUTO_FREE char *names = malloc(XATTR_LIST_MAX);
    ssize_t n = names ? flistxattr(fd, names, XATTR_LIST_MAX) : -1;
    if (n < 0 && errno != EOPNOTSUPP)
        return -1;
    *ret = TAKE(names);
    return n < 0 ? 0 : n;
}

static bool copy_xattr(int from, int to, const char *name)
{
    AUTO_FREE char *value = malloc(XATTR_SIZE_MAX);
    AUTO_FREE char *has = malloc(XATTR_SIZE_MAX);
    ssize_t n = value ? fgetxattr(from, name, value, XATTR_SIZE_MAX) : -1;
    ssize_t m = has ? fgetxattr(to, name, has, XATTR_SIZE_MAX) : -1;
    if (n < 0)
        return false;
    /* What is right already need not be set: not everybody may set security.selinux. */
    return (m == n && !memcmp(value, has, (size_t)n)) || fsetxattr(to, name, value, (size_t)n, 0) == 0;
}

static bool copy_xattrs(int from, int to)
{
    AUTO_FREE char *names = NULL;
    ssize_t n = list_xattrs(from, &names);
    if (n < 0)
        return false;
    for (const char *p = names; p < names + n; p += strlen(p) + 1)
        if (!copy_xattr(from, to, p))
            return false;
    return true;
}

static bool drop_other_xattrs(int from, int to)
{
    AUTO_FREE char *names = NULL;
    ssize_t n = list_xattrs(to, &names);
    if (n < 0)
        return false;
    for (const char *p = names; p < names + n; p += strlen(p) + 1)
        if (fgetxattr(from, p, NULL, 0) < 0 && (errno != ENODATA || fremovexattr(to, p) < 0))
            return false;
    return true;
}

/* XFS and btrfs answer both ioctls; where one is unknown there is nothing to copy. */
static bool copy_flags(int from, int to)
{
    struct fsxattr a = {0}, b = {0};
    int x = 0, y = 0;
    if (ioctl(from, FS_IOC_FSGETXATTR, &a) == 0 && ioctl(to, FS_IOC_FSGETXATTR, &b) == 0) {
        a.fsx_nextents = b.fsx_nextents;
        if (memcmp(&a, &b, sizeof(a)) != 0 && ioctl(to, FS_IOC_FSSETXATTR, &a) < 0)
            return false;
    }
    if (ioctl(from, FS_IOC_GETFLAGS, &x) == 0 && ioctl(to, FS_IOC_GETFLAGS, &y) == 0 && x != y)
        return ioctl(to, FS_IOC_SETFLAGS, &x) == 0;
    return true;
}

/* The order: chown takes privileges out of mode and attributes; the ACL and the group's mode are one thing, so the mode
 * comes last and changes nothing of it. */
static bool copy_all(int from, int to, bool flags)
{
    struct stat st, own;
    if (fstat(from, &st) < 0 || fstat(to, &own) < 0)
        return false;
    if ((st.st_uid != own.st_uid || st.st_gid != own.st_gid) && fchown(to, st.st_uid, st.st_gid) < 0)
        return false;
    return (!flags || copy_flags(from, to)) && copy_xattrs(from, to) && drop_other_xattrs(from, to) &&
           fchmod(to, st.st_mode & 07777) == 0;
}

bool attributes_copy(int from, int to)
{
    return copy_all(from, to, true);
}

bool attributes_copy_abroad(int from, int to)
{
    return copy_all(from, to, false);
}
