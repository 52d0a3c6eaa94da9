/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inuse.c: does anybody else have a file or device open?
 *
 * For a file the kernel is asked: a lease (fcntl(2), F_SETLEASE) is granted only when nobody has the file open for
 * writing (F_RDLCK), or open at all (F_WRLCK), by whatever way: a descriptor, a mapping, a loop device, a swap area. It
 * is given back at once. The answer takes microseconds however many processes there are. Only when it is no, or cannot
 * be had (the file is another user's, the file system has no leases), everybody who may be it is looked up, to name
 * them. QEMU that has an image open as a backing file has it open for reading: it is no writer.
 *
 * For a device an exclusive open tells of mounts, swap areas and device-mapper, but not of a plain open as QEMU's, so
 * the look-up is always made.
 */
#include "storage/storage.h"

#include "storage/block.h"
#include "util/sys.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libmount.h>
#include <limits.h>
#include <signal.h>
#include <sys/sysmacros.h>

#define PASSING_MS 3000
#define PASSING_POLL_MS 50

#define MAX_NAMED 4

/* A look-up under way. */
struct search {
    const struct stack *s;
    bool writers_only;
    bool explained; /* somebody was found who is why the kernel said no, but does not count */
    struct strv found;
};

static bool is_number(const char *s)
{
    return *s && strspn(s, "0123456789") == strlen(s);
}

static bool is_it(const struct search *q, const struct stat *st)
{
    if (q->s->kind == STACK_BLOCK)
        return S_ISBLK(st->st_mode) && st->st_rdev == q->s->dev;
    return S_ISREG(st->st_mode) && st->st_dev == q->s->dev && st->st_ino == q->s->ino;
}

/* What somebody who is found means: they are the answer; or they are not, but explain why the kernel said no; or
 * neither. */
enum meaning { COUNTS, EXPLAINS, IGNORED };

static int note(struct search *q, enum meaning m, struct vmundo_error *err, const char *prefix, const char *name)
{
    q->explained = q->explained || m == EXPLAINS;
    if (m != COUNTS)
        return 0;
    AUTO_FREE char *safe = str_escape(name, NAME_MAX);
    AUTO_FREE char *who = safe ? str_printf(err, "%s%s", prefix, safe) : NULL;
    if (!who)
        return error_nomem(err);
    return q->found.n >= MAX_NAMED || strv_has(&q->found, who) ? 0 : strv_take(&q->found, TAKE(who), err);
}

/* ---- processes -------------------------------------------------------------------------------------------------- */

enum access { ACCESS_NONE, ACCESS_READ, ACCESS_WRITE };

/* proc(5): fdinfo has "flags:" in octal. */
static enum access access_of(int proc, const char *fd)
{
    char path[NAME_MAX + 8];
    AUTO_FREE char *text = NULL;
    snprintf(path, sizeof(path), "fdinfo/%s", fd);
    if (sys_read_file(proc, path, 65536, &text, NULL, NULL) < 0)
        return ACCESS_NONE;
    const char *p = strstr(text, "flags:");
    unsigned long flags = p ? strtoul(p + strlen("flags:"), NULL, 8) : O_PATH;
    return flags & O_PATH ? ACCESS_NONE : (flags & O_ACCMODE) == O_RDONLY ? ACCESS_READ : ACCESS_WRITE;
}

/* The most that any of its descriptors allows. A look at the link comes first: stat could wait for a dead server. */
static enum access search_descriptors(const struct search *q, int proc)
{
    enum access most = ACCESS_NONE;
    int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        cleanup_close(&fd);
        return ACCESS_NONE;
    }
    for (const struct dirent *e; (e = readdir(d)) && most < ACCESS_WRITE;) {
        char first;
        struct stat st;
        if (readlinkat(fd, e->d_name, &first, 1) != 1 || first != '/' || fstatat(fd, e->d_name, &st, 0) < 0 ||
            !is_it(q, &st))
            continue;
        enum access a = access_of(proc, e->d_name);
        most = a > most ? a : most;
    }
    return most;
}

/* A mapping outlives its descriptor. proc(5): "address perms offset dev inode path". btrfs has other device numbers
 * there than stat tells, so the path will do as well. */
static enum access search_mappings(const struct search *q, int proc)
{
    int fd = openat(proc, "maps", O_RDONLY | O_CLOEXEC);
    AUTO_FCLOSE FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    enum access most = ACCESS_NONE;
    char line[PATH_MAX + 128];
    if (!f) {
        cleanup_close(&fd);
        return most;
    }
    while (most < ACCESS_WRITE && fgets(line, sizeof(line), f)) {
        char perms[8];
        unsigned maj, min;
        uint64_t ino;
        int at = 0;
        if (sscanf(line, "%*s %7s %*s %x:%x %" SCNu64 " %n", perms, &maj, &min, &ino, &at) != 4 || ino != q->s->ino)
            continue;
        line[strcspn(line, "\n")] = '\0';
        if (makedev(maj, min) != q->s->dev && !str_eq(line + at, q->s->path))
            continue;
        most = perms[1] == 'w' && perms[3] == 's' ? ACCESS_WRITE : most > ACCESS_READ ? most : ACCESS_READ;
    }
    return most;
}

static int note_process(struct search *q, const char *pid, int proc, enum access a, struct vmundo_error *err)
{
    bool relevant = a == ACCESS_WRITE || !q->writers_only;
    enum meaning m = !relevant ? IGNORED : atoi(pid) == getpid() ? EXPLAINS : COUNTS;
    AUTO_FREE char *comm = NULL;
    if (sys_read_file(proc, "comm", 64, &comm, NULL, NULL) < 0 && str_copy("a process", &comm, err) < 0)
        return -1;
    comm[strcspn(comm, "\n")] = '\0';
    AUTO_FREE char *who = str_printf(err, "%s (pid %s)", comm, pid);
    return who ? note(q, m, err, "", who) : -1;
}

static int search_processes(struct search *q, struct vmundo_error *err)
{
    AUTO_DIR DIR *d = opendir("/proc");
    if (!d)
        return error_errno(err, errno, "cannot list /proc");
    const struct dirent *e;
    int r = 1;
    while (q->found.n < MAX_NAMED && (r = sys_next_entry(d, &e, err)) > 0) {
        if (!is_number(e->d_name))
            continue;
        AUTO_CLOSE int proc = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (proc < 0)
            continue;
        enum access a = search_descriptors(q, proc);
        if (a < ACCESS_WRITE && q->s->kind == STACK_FILE) {
            enum access mapped = search_mappings(q, proc);
            a = mapped > a ? mapped : a;
        }
        if (a > ACCESS_NONE && note_process(q, e->d_name, proc, a, err) < 0)
            return -1;
    }
    return r < 0 ? -1 : 0;
}

/* ---- the kernel's own users ------------------------------------------------------------------------------------- */

static int idle_device(const char *node, dev_t dev, bool *ret, struct vmundo_error *err);

static bool shows(const struct search *q, const struct block_loop *l)
{
    if (!l->identified)
        return str_eq(l->file, q->s->path);
    if (q->s->kind == STACK_BLOCK)
        return l->file_rdev == q->s->dev;
    return l->file_dev == q->s->dev && l->file_ino == q->s->ino;
}

static int note_loop(struct search *q, const char *node, dev_t dev, struct vmundo_error *err)
{
    CLEANUP(block_loop_clear) struct block_loop l = {0};
    if (block_loop(dev, node, &l, err) < 0)
        return -1;
    if (!l.file || !shows(q, &l))
        return 0;
    bool idle = false;
    if (q->writers_only && l.readonly)
        return note(q, IGNORED, err, "", node);
    /* The loop device by which the user names the image writes only if somebody uses it. */
    if (str_eq(node, q->s->via_loop) && idle_device(node, dev, &idle, err) < 0)
        return -1;
    return note(q, idle ? EXPLAINS : COUNTS, err, "", node);
}

static int search_loops(struct search *q, struct vmundo_error *err)
{
    AUTO_DIR DIR *d = opendir("/sys/block");
    const struct dirent *e;
    int r;
    if (!d)
        return error_errno(err, errno, "cannot list /sys/block");
    while ((r = sys_next_entry(d, &e, err)) > 0) {
        char node[NAME_MAX + 8];
        struct stat st;
        snprintf(node, sizeof(node), "/dev/%s", e->d_name);
        if (!str_has_prefix(e->d_name, "loop"))
            continue;
        bool there = stat(node, &st) == 0;
        if (!there && errno != ENOENT)
            return error_errno(err, errno, "cannot look at %s", node);
        if (there && S_ISBLK(st.st_mode) && note_loop(q, node, st.st_rdev, err) < 0)
            return -1;
    }
    return r;
}

static void cleanup_table(struct libmnt_table **t)
{
    mnt_unref_table(*t);
}

static void cleanup_iter(struct libmnt_iter **i)
{
    mnt_free_iter(*i);
}

static int search_swaps(struct search *q, struct vmundo_error *err)
{
    CLEANUP(cleanup_table) struct libmnt_table *t = mnt_new_table();
    CLEANUP(cleanup_iter) struct libmnt_iter *i = mnt_new_iter(MNT_ITER_FORWARD);
    struct libmnt_fs *fs;
    int r = t && i ? mnt_table_parse_swaps(t, NULL) : -ENOMEM;
    if (r < 0)
        return r == -ENOENT ? 0 : error_errno(err, -r, "cannot read /proc/swaps");
    while (mnt_table_next_fs(t, i, &fs) == 0) {
        struct stat st;
        const char *source = mnt_fs_get_source(fs);
        if (source && stat(source, &st) == 0 && is_it(q, &st) && note(q, COUNTS, err, "swap area ", source) < 0)
            return -1;
    }
    return 0;
}

static int search_mounts(struct search *q, dev_t dev, struct vmundo_error *err)
{
    CLEANUP(cleanup_table) struct libmnt_table *t = mnt_new_table_from_file("/proc/self/mountinfo");
    CLEANUP(cleanup_iter) struct libmnt_iter *i = mnt_new_iter(MNT_ITER_FORWARD);
    struct libmnt_fs *fs;
    if (!t || !i)
        return error_errno(err, errno, "cannot read /proc/self/mountinfo");
    while (mnt_table_next_fs(t, i, &fs) == 0) {
        struct stat st;
        const char *source = mnt_fs_get_source(fs);
        bool ours = mnt_fs_get_devno(fs) == dev ||
                    (source && source[0] == '/' && stat(source, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == dev);
        /* of the file system, not of one mount of it */
        const char *options = mnt_fs_get_fs_options(fs);
        bool harmless = q->writers_only && options && mnt_match_options(options, "ro") == 1;
        if (ours &&
            note(q, harmless ? EXPLAINS : COUNTS, err, "the file system mounted at ", mnt_fs_get_target(fs)) < 0)
            return -1;
    }
    return 0;
}

/* What is built on the device: device-mapper, md. */
static int search_holders(struct search *q, dev_t dev, struct vmundo_error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(dev), minor(dev));
    AUTO_DIR DIR *d = opendir(path);
    const struct dirent *e;
    int r;
    if (!d)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot list %s", path);
    while ((r = sys_next_entry(d, &e, err)) > 0) {
        char attr[NAME_MAX + 32];
        if (e->d_name[0] == '.')
            continue;
        snprintf(attr, sizeof(attr), "holders/%s/dm/name", e->d_name);
        AUTO_FREE char *name = NULL;
        if (block_attr(dev, attr, &name, err) < 0 ||
            note(q, COUNTS, err, name ? "/dev/mapper/" : "/dev/", name ? name : e->d_name) < 0)
            return -1;
    }
    return r;
}

static int search_partitions(struct search *q, dev_t dev, struct vmundo_error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(dev), minor(dev));
    AUTO_DIR DIR *d = opendir(path);
    const struct dirent *e;
    int r;
    if (!d)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot list %s", path);
    while ((r = sys_next_entry(d, &e, err)) > 0) {
        char attr[NAME_MAX + 32];
        unsigned maj, min;
        snprintf(attr, sizeof(attr), "%s/partition", e->d_name);
        AUTO_FREE char *partition = NULL, *number = NULL;
        if (e->d_name[0] != '.' && block_attr(dev, attr, &partition, err) < 0)
            return -1;
        snprintf(attr, sizeof(attr), "%s/dev", e->d_name);
        if (partition && block_attr(dev, attr, &number, err) < 0)
            return -1;
        if (number && sscanf(number, "%u:%u", &maj, &min) == 2 &&
            (search_mounts(q, makedev(maj, min), err) < 0 || search_holders(q, makedev(maj, min), err) < 0))
            return -1;
    }
    return r;
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static int answer(struct search *q, bool unseen, char **ret_who, struct vmundo_error *err)
{
    AUTO_FREE char *who = NULL;
    if (unseen && q->found.n == 0 && !q->explained &&
        strv_add(&q->found, "somebody who cannot be seen from here (another user, another container, the kernel)",
                 err) < 0)
        return -1;
    for (size_t i = 0; i < q->found.n; i++) {
        char *more = str_printf(err, "%s%s%s", who ? who : "", who ? ", " : "", q->found.items[i]);
        free(who);
        if (!(who = more))
            return -1;
    }
    *ret_who = TAKE(who);
    return 0;
}

static void search_clear(struct search *q)
{
    strv_clear(&q->found);
}

enum lease { LEASE_FREE, LEASE_CONFLICT, LEASE_UNKNOWN };

/* There a lease is refused whenever the server has not promised one: no is no answer. */
static bool is_remote(const struct stack *s)
{
    static const char *const types[] = {"nfs", "nfs4", "cifs", "smb3"};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (str_eq(s->fs_type, types[i]))
            return true;
    return false;
}

/* Should somebody open the file in these microseconds, the kernel sends us a signal and makes them wait until the lease
 * is given back. It would be SIGIO, which ends a process that does not expect it; SIGURG is ignored. */
static enum lease try_lease(const struct stack *s, bool writers_only)
{
    AUTO_CLOSE int fd = open(s->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != s->dev || st.st_ino != s->ino || fcntl(fd, F_SETSIG, SIGURG) < 0)
        return LEASE_UNKNOWN;
    if (fcntl(fd, F_SETLEASE, writers_only ? F_RDLCK : F_WRLCK) < 0)
        return errno == EAGAIN && !is_remote(s) ? LEASE_CONFLICT : LEASE_UNKNOWN;
    fcntl(fd, F_SETLEASE, F_UNLCK);
    return LEASE_FREE;
}

static int file_in_use(const struct stack *s, bool writers_only, char **ret_who, struct vmundo_error *err)
{
    CLEANUP(search_clear) struct search q = {.s = s, .writers_only = writers_only};
    if (try_lease(s, writers_only) == LEASE_FREE) {
        *ret_who = NULL;
        return 0;
    }
    if (search_loops(&q, err) < 0 || search_swaps(&q, err) < 0 || search_processes(&q, err) < 0)
        return -1;
    /* Nobody found: they may have gone in between, so ask again. */
    bool unseen = q.found.n == 0 && try_lease(s, writers_only) == LEASE_CONFLICT;
    return answer(&q, unseen, ret_who, err);
}

static int device_in_use(const struct stack *s, bool writers_only, char **ret_who, struct vmundo_error *err)
{
    CLEANUP(search_clear) struct search q = {.s = s, .writers_only = writers_only};
    if (search_mounts(&q, s->dev, err) < 0 || search_holders(&q, s->dev, err) < 0 ||
        search_partitions(&q, s->dev, err) < 0 || search_swaps(&q, err) < 0 || search_loops(&q, err) < 0 ||
        search_processes(&q, err) < 0)
        return -1;
    AUTO_CLOSE int fd = open(s->path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
    return answer(&q, fd < 0 && errno == EBUSY, ret_who, err);
}

static int idle_device(const char *node, dev_t dev, bool *ret, struct vmundo_error *err)
{
    struct stack s = {.kind = STACK_BLOCK, .dev = dev};
    AUTO_FREE char *who = NULL;
    if (str_copy(node, &s.path, err) < 0)
        return -1;
    int r = device_in_use(&s, true, &who, err);
    stack_clear(&s);
    *ret = r == 0 && !who;
    return r;
}

static int ask(const struct stack *s, bool writers_only, char **ret_who, struct vmundo_error *err)
{
    if (s->unmounted) { /* then the question is about the device that it is on */
        struct stack device = {.kind = STACK_BLOCK, .path = s->dm_path ? s->dm_path : s->fs_source, .dev = s->dev};
        return device_in_use(&device, writers_only, ret_who, err);
    }
    return s->kind == STACK_BLOCK ? device_in_use(s, writers_only, ret_who, err)
                                  : file_in_use(s, writers_only, ret_who, err);
}

/* By one of its other names: lvcreate, vgs, pvscan. (pv is another program.) */
static bool is_lvm(const char *who)
{
    return (str_has_prefix(who, "lv") || str_has_prefix(who, "vg") || str_has_prefix(who, "pv")) &&
           islower((unsigned char)who[2]);
}

/* Whoever looks for signatures on all devices of the host, for a moment: lvm before every command, udev after every
 * change. They are no users, but a command that would collide with them fails. */
static bool is_passing(const char *who)
{
    static const char *const names[] = {"lvm (pid ", "(udev-worker) (pid ", "systemd-udevd (pid ", "blkid (pid "};
    bool all = who != NULL;
    while (all && who) {
        bool one = is_lvm(who);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            one = one || str_has_prefix(who, names[i]);
        all = one;
        who = strstr(who, ", ");
        who = who ? who + 2 : NULL;
    }
    return all;
}

int storage_in_use(const struct stack *s, bool writers_only, char **ret_who, struct vmundo_error *err)
{
    *ret_who = NULL;
    if (s->kind == STACK_RBD)
        return 0;
    for (uint64_t begun = sys_monotonic_ms();; usleep(PASSING_POLL_MS * 1000)) {
        AUTO_FREE char *who = NULL;
        if (ask(s, writers_only, &who, err) < 0)
            return -1;
        if (!is_passing(who) || sys_monotonic_ms() - begun >= PASSING_MS) {
            *ret_who = TAKE(who);
            return 0;
        }
    }
}
