/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-mount.c: the file system that a volume holds, and the image files in it.
 *
 * A branch is mounted where the hypervisor finds it. Only we look into an origin: through a mount of our own that is
 * attached nowhere (fsmount(2)), so that it makes no difference whether the user has it mounted, and nothing is left
 * behind when we are killed. If nobody has it mounted and we only look, its journal is not replayed: that would write.
 */
#include "storage/lvm.h"

#include "util/sys.h"

#include <blkid.h>
#include <dirent.h>
#include <fcntl.h>
#include <libmount.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/mount.h>

#define UNMOUNT_WAIT_MS 15000
#define MAX_DEPTH 64
#define MAX_NAMED 4

/* ---- which file system
 * -------------------------------------------------------------------------------------------------- */

struct filesystem {
    const char *type;
    const char *branch_options; /* noinit_itable: what mkfs left to do later need not be done in every branch */
    const char *look_option;    /* no replay of the journal */
};

static const struct filesystem known[] = {
    {"ext4", "noinit_itable", "noload"},
    {"xfs", "nouuid", "norecovery"},
    {"ext3", NULL, "noload"},
    {"ext2", NULL, NULL},
    {"f2fs", NULL, "norecovery"},
    {"jfs", NULL, NULL},
};

static void cleanup_probe(blkid_probe *p)
{
    blkid_free_probe(*p);
}

static int find_filesystem(const char *device, const struct filesystem **ret, struct vmundo_error *err)
{
    const char *type = NULL;
    CLEANUP(cleanup_probe) blkid_probe p = blkid_new_probe_from_filename(device);
    if (!p)
        return error_errno(err, errno, "cannot read %s", device);
    blkid_probe_enable_superblocks(p, 1);
    blkid_probe_set_superblocks_flags(p, BLKID_SUBLKS_TYPE);
    int r = blkid_do_safeprobe(p);
    if (r != 0 || blkid_probe_lookup_value(p, "TYPE", &type, NULL) < 0)
        return error_set(err, VMUNDO_FAILED, "%s holds no file system that can be told", device);
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (str_eq(known[i].type, type)) {
            *ret = &known[i];
            return 0;
        }
    return error_set(err, VMUNDO_REFUSED,
                     "%s holds a file system of type %s, of which a copy cannot be mounted beside it", device, type);
}

/* ---- mounting a branch
 * -------------------------------------------------------------------------------------------------- */

static int make_mount_point(const char *dir, struct vmundo_error *err)
{
    AUTO_CLOSE int state = -1;
    AUTO_CLOSE int parent = -1;
    const char *base = strrchr(dir, '/'), *name;
    AUTO_FREE char *mnt = base ? strndup(dir, (size_t)(base - dir)) : NULL;
    if (!mnt)
        return error_nomem(err);
    return sys_open_parent(mnt, &state, &name, err) < 0 || sys_ensure_dir(state, name, 0700, &parent, err) < 0
               ? -1
               : sys_ensure_dir(parent, base + 1, 0700, NULL, err);
}

/* Is dir a mount point, and is what is mounted there this device? */
static int look_at(const char *device, const char *dir, bool *ret_mounted, bool *ret_ours, struct vmundo_error *err)
{
    struct stat d, above, dev = {0};
    AUTO_FREE char *parent = str_printf(err, "%s/..", dir);
    if (!parent)
        return -1;
    if (lstat(dir, &d) < 0 || stat(parent, &above) < 0)
        return error_errno(err, errno, "cannot look at %s", dir);
    (void)stat(device, &dev);
    *ret_mounted = d.st_dev != above.st_dev;
    *ret_ours = S_ISBLK(dev.st_mode) && d.st_dev == dev.st_rdev;
    return 0;
}

int lvm_mount(const char *device, const char *dir, struct vmundo_error *err)
{
    const struct filesystem *fs = NULL;
    bool mounted = false, ours = false;
    struct stat st;
    if (lstat(dir, &st) < 0 && make_mount_point(dir, err) < 0)
        return -1;
    if (look_at(device, dir, &mounted, &ours, err) < 0)
        return -1;
    if (mounted)
        return ours ? 0 : error_set(err, VMUNDO_CONFLICT, "something else is mounted at %s: unmount it", dir);
    if (find_filesystem(device, &fs, err) < 0)
        return -1;
    if (mount(device, dir, fs->type, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, fs->branch_options) < 0)
        return error_errno(err, errno, "cannot mount %s at %s", device, dir);
    return 0;
}

/* ---- unmounting
 * ------------------------------------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return !strncmp(path, dir, n) && (path[n] == '/' || path[n] == '\0');
}

static void note(struct strv *found, const char *fmt, const char *name)
{
    if (found->n < MAX_NAMED) {
        char text[128];
        snprintf(text, sizeof(text), "%s%.64s", fmt, name);
        strv_add(found, text, NULL);
    }
}

static void note_loops(const char *dir, struct strv *found)
{
    AUTO_DIR DIR *d = opendir("/sys/block");
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        char path[320];
        AUTO_FREE char *file = NULL;
        snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", e->d_name);
        if (str_has_prefix(e->d_name, "loop") && sys_read_file(AT_FDCWD, path, PATH_MAX, &file, NULL, NULL) == 0 &&
            is_below(file, dir))
            note(found, "/dev/", e->d_name);
    }
}

static bool has_open_below(const char *pid, const char *dir)
{
    char path[320], target[PATH_MAX + 1];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    AUTO_DIR DIR *d = opendir(path);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
        if (n > 0) {
            target[n] = '\0';
            if (is_below(target, dir))
                return true;
        }
    }
    snprintf(path, sizeof(path), "/proc/%s/cwd", pid);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = '\0';
    return is_below(target, dir);
}

static void note_processes(const char *dir, struct strv *found)
{
    AUTO_DIR DIR *d = opendir("/proc");
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && has_open_below(e->d_name, dir))
            note(found, "process ", e->d_name);
}

static int busy(const char *dir, struct vmundo_error *err)
{
    AUTO_STRV struct strv found = {0};
    char text[512] = "";
    note_loops(dir, &found);
    note_processes(dir, &found);
    for (size_t i = 0; i < found.n; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? ", " : "", found.items[i]);
    return error_set(err, VMUNDO_CONFLICT, "cannot unmount %s: it is in use by %s", dir,
                     *text ? text : "somebody who cannot be seen from here");
}

/* A hypervisor that was just ended lets go of its images a moment later. */
int lvm_unmount(const char *device, const char *dir, struct vmundo_error *err)
{
    uint64_t end = sys_monotonic_ms() + UNMOUNT_WAIT_MS;
    struct stat st;
    while (lstat(dir, &st) == 0) {
        bool mounted = false, ours = false;
        if (look_at(device, dir, &mounted, &ours, err) < 0)
            return -1;
        if (!mounted)
            return rmdir(dir) < 0 && errno != ENOENT ? error_errno(err, errno, "cannot remove %s", dir) : 0;
        if (umount2(dir, UMOUNT_NOFOLLOW) == 0)
            continue;
        if (errno != EBUSY)
            return error_errno(err, errno, "cannot unmount %s", dir);
        if (sys_monotonic_ms() >= end)
            return busy(dir, err);
        usleep(20000);
    }
    return 0;
}

/* ---- looking into an origin
 * ---------------------------------------------------------------------------------------------- */

static void cleanup_table(struct libmnt_table **t)
{
    mnt_unref_table(*t);
}

static void cleanup_iter(struct libmnt_iter **i)
{
    mnt_free_iter(*i);
}

/* Is the device mounted anywhere, and can it be written to there? */
static int find_mounted(const char *device, bool *ret_mounted, bool *ret_readonly, struct vmundo_error *err)
{
    struct stat st;
    struct libmnt_fs *fs = NULL;
    CLEANUP(cleanup_table) struct libmnt_table *t = mnt_new_table_from_file("/proc/self/mountinfo");
    CLEANUP(cleanup_iter) struct libmnt_iter *i = mnt_new_iter(MNT_ITER_FORWARD);
    if (!t || !i)
        return error_set(err, VMUNDO_FAILED, "cannot read the mount table");
    if (stat(device, &st) < 0)
        return error_errno(err, errno, "cannot find %s", device);
    *ret_mounted = *ret_readonly = false;
    while (mnt_table_next_fs(t, i, &fs) == 0)
        if (mnt_fs_get_devno(fs) == st.st_rdev) {
            const char *options = mnt_fs_get_fs_options(fs);
            *ret_mounted = true;
            *ret_readonly = options && mnt_optstr_get_option(options, "ro", NULL, NULL) == 0;
        }
    return 0;
}

/* The options of a new mount must agree with those of one that there is. */
static int configure(int fsfd, const char *device, const struct filesystem *fs, bool readonly, bool look)
{
    if (fsconfig(fsfd, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
        (readonly && fsconfig(fsfd, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0) ||
        (look && fs->look_option && fsconfig(fsfd, FSCONFIG_SET_FLAG, fs->look_option, NULL, 0) < 0) ||
        (str_eq(fs->type, "xfs") && fsconfig(fsfd, FSCONFIG_SET_FLAG, "nouuid", NULL, 0) < 0))
        return -1;
    return fsconfig(fsfd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

int lvm_open_root(const char *device, bool writable, int *ret, struct vmundo_error *err)
{
    const struct filesystem *fs = NULL;
    bool mounted = false, readonly = false;
    if (find_filesystem(device, &fs, err) < 0 || find_mounted(device, &mounted, &readonly, err) < 0)
        return -1;
    if (readonly && writable)
        return error_set(err, VMUNDO_REFUSED, "%s is mounted read-only: mount it writable, or unmount it", device);
    AUTO_CLOSE int fsfd = fsopen(fs->type, FSOPEN_CLOEXEC);
    if (fsfd < 0 || configure(fsfd, device, fs, mounted ? readonly : !writable, !mounted && !writable) < 0)
        return error_errno(err, errno, "cannot look into the file system on %s", device);
    unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME;
    int fd = fsmount(fsfd, FSMOUNT_CLOEXEC, attributes | (writable ? 0 : MOUNT_ATTR_RDONLY));
    if (fd < 0)
        return error_errno(err, errno, "cannot look into the file system on %s", device);
    *ret = fd;
    return 0;
}

int lvm_open_inside(int root, const char *inside, int flags, int *ret, struct vmundo_error *err)
{
    struct stat st;
    AUTO_CLOSE int fd =
        sys_openat2(root, inside, flags | O_NONBLOCK, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s in the volume", inside);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return error_set(err, VMUNDO_FAILED, "%s in the volume is not a file", inside);
    *ret = TAKE_FD(fd);
    return 0;
}

/* ---- what has changed in it
 * ------------------------------------------------------------------------------------------- */

int lvm_fingerprint_inside(int root, const struct strv *inside, char **ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *prints = json_object();
    if (!prints)
        return error_nomem(err);
    for (size_t i = 0; i < inside->n; i++) {
        AUTO_CLOSE int fd = -1;
        AUTO_FREE char *print = NULL;
        if (lvm_open_inside(root, inside->items[i], O_RDONLY, &fd, err) < 0 || fingerprint_take_fd(fd, &print, err) < 0)
            return -1;
        if (json_object_set_new(prints, inside->items[i], json_string(print)) < 0)
            return error_nomem(err);
    }
    char *text = json_text(prints, err);
    if (!text)
        return -1;
    *ret = text;
    return 0;
}

int lvm_compare_inside(int root, const struct strv *inside, const char *then, char **ret_what, struct vmundo_error *err)
{
    AUTO_JSON json_t *prints = NULL;
    *ret_what = NULL;
    if (json_parse(then, "the fingerprint", &prints, err) < 0)
        return -1;
    for (size_t i = 0; i < inside->n; i++) {
        const char *name = inside->items[i], *print = json_string_value(json_object_get(prints, name));
        AUTO_CLOSE int fd = -1;
        AUTO_FREE char *what = NULL;
        struct vmundo_error e = {0};
        bool changed = true;
        if (lvm_open_inside(root, name, O_RDONLY, &fd, &e) < 0) {
            if (e.errnum != ENOENT)
                return error_set(err, e.code, "%s", e.msg);
            what = str_printf(err, "it is gone");
        } else if (!print || fingerprint_compare_fd(fd, print, &changed, &what, err) < 0) {
            return print ? -1 : error_set(err, VMUNDO_FAILED, "there is no fingerprint of %s", name);
        }
        if (changed)
            return (*ret_what = str_printf(err, "%s: %s", name, what ? what : "changed")) ? 0 : -1;
    }
    return 0;
}

/* Two trees side by side. path is where in them, for the comparison with inside. */
struct walk {
    const struct strv *inside;
    char path[PATH_MAX];
};

static bool same_stat(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_nlink == b->st_nlink && a->st_uid == b->st_uid &&
           a->st_gid == b->st_gid && a->st_size == b->st_size && a->st_rdev == b->st_rdev &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int open_dir(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool same_tree(struct walk *w, int a, int b, int depth);

static bool same_entry(struct walk *w, int a, int b, const char *name, int depth)
{
    struct stat sa, sb;
    size_t n = strlen(w->path);
    if (snprintf(w->path + n, sizeof(w->path) - n, "%s%s", n ? "/" : "", name) >= (int)(sizeof(w->path) - n))
        return false;
    bool ours = strv_has(w->inside, w->path), same = ours;
    if (!ours && fstatat(a, name, &sa, AT_SYMLINK_NOFOLLOW) == 0 && fstatat(b, name, &sb, AT_SYMLINK_NOFOLLOW) == 0)
        same = same_stat(&sa, &sb);
    if (same && !ours && S_ISDIR(sa.st_mode)) {
        AUTO_CLOSE int da = open_dir(a, name);
        AUTO_CLOSE int db = open_dir(b, name);
        same = da >= 0 && db >= 0 && same_tree(w, da, db, depth + 1);
    }
    w->path[n] = '\0';
    return same;
}

/* A directory whose times are the same on both sides has the same names on both: one side has to be read. */
static bool same_tree(struct walk *w, int a, int b, int depth)
{
    int copy = open_dir(a, ".");
    AUTO_DIR DIR *d = copy < 0 ? NULL : fdopendir(copy);
    bool same = d && depth < MAX_DEPTH;
    for (struct dirent *e = same ? readdir(d) : NULL; e && same; e = readdir(d))
        same = str_eq(e->d_name, ".") || str_eq(e->d_name, "..") || same_entry(w, a, b, e->d_name, depth);
    return same;
}

int lvm_same_others(int root_a, int root_b, const struct strv *inside, bool *ret, struct vmundo_error *err)
{
    struct stat sa, sb;
    AUTO_FREE struct walk *w = calloc(1, sizeof(*w));
    if (!w)
        return error_nomem(err);
    w->inside = inside;
    if (fstat(root_a, &sa) < 0 || fstat(root_b, &sb) < 0)
        return error_errno(err, errno, "cannot compare the volume with its branch");
    *ret = same_stat(&sa, &sb) && same_tree(w, root_a, root_b, 0);
    return 0;
}
