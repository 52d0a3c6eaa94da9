/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stack-fstab.c: a target that is not there because its file system is not mounted. fstab(5) says which device would be
 * mounted there; more is not known, and a driver that takes a snapshot of the whole device needs no more.
 */
#include "storage/stack.h"

#include "storage/block.h"
#include "util/str.h"

#include <libmount.h>
#include <limits.h>
#include <sys/stat.h>

static void cleanup_table(struct libmnt_table **t)
{
    mnt_unref_table(*t);
}

static void cleanup_iter(struct libmnt_iter **i)
{
    mnt_free_iter(*i);
}

/* What lies behind the mount point in path; NULL: path is not below it, or is not in its plainest form. */
static const char *below(const char *mount_point, const char *path)
{
    size_t n = strlen(mount_point);
    if (n < 2 || strncmp(path, mount_point, n) || path[n] != '/' || !path[n + 1])
        return NULL;
    return strstr(path, "//") || strstr(path, "/./") || strstr(path, "/../") || str_has_suffix(path, "/..") ? NULL
                                                                                                            : path + n;
}

/* The entry for the deepest mount point above path. */
static struct libmnt_fs *find_entry(struct libmnt_table *t, const char *path)
{
    struct libmnt_fs *fs = NULL, *found = NULL;
    size_t longest = 0;
    CLEANUP(cleanup_iter) struct libmnt_iter *i = mnt_new_iter(MNT_ITER_FORWARD);
    while (i && mnt_table_next_fs(t, i, &fs) == 0) {
        const char *target = mnt_fs_get_target(fs);
        if (target && below(target, path) && strlen(target) > longest) {
            longest = strlen(target);
            found = fs;
        }
    }
    return found;
}

/* Two files of one file system must not look like the same file, though the inode is not known. */
static ino_t stand_in(const char *path)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *path; path++)
        h = (h ^ (unsigned char)*path) * 0x100000001b3u;
    return h;
}

static int fill_in(struct stack *s, struct libmnt_fs *fs, dev_t dev, struct vmundo_error *err)
{
    s->kind = STACK_FILE;
    s->unmounted = true;
    s->dev = dev;
    s->ino = stand_in(s->target);
    s->nlink = 1;
    return str_copy(s->target, &s->path, err) < 0 || str_copy(mnt_fs_get_target(fs), &s->mount_point, err) < 0 ||
                   str_copy(mnt_fs_get_fstype(fs), &s->fs_type, err) < 0 ||
                   str_copy(mnt_fs_get_source(fs), &s->fs_source, err) < 0 || str_copy("/", &s->fs_root, err) < 0
               ? -1
               : block_dm(dev, &s->dm_name, &s->dm_uuid, &s->dm_path, err);
}

int stack_from_fstab(struct stack *s, bool *ret_found, struct vmundo_error *err)
{
    struct stat device, mount_point;
    CLEANUP(cleanup_table) struct libmnt_table *t = mnt_new_table();
    *ret_found = false;
    if (!t)
        return error_nomem(err);
    if (mnt_table_parse_fstab(t, NULL) < 0)
        return 0;
    struct libmnt_fs *fs = find_entry(t, s->target);
    AUTO_FREE char *source = fs ? mnt_resolve_spec(mnt_fs_get_source(fs), NULL) : NULL;
    if (!source || stat(source, &device) < 0 || !S_ISBLK(device.st_mode))
        return 0;
    /* If it is mounted, the file is really not there. */
    if (stat(mnt_fs_get_target(fs), &mount_point) == 0 && mount_point.st_dev == device.st_rdev)
        return 0;
    *ret_found = true;
    return fill_in(s, fs, device.st_rdev, err);
}
