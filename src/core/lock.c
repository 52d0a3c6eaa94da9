/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lock.c: flock(2) locks with their holder's name in them; see lock.h.
 */
#include "core/lock.h"

#include "core/store.h"
#include "util/str.h"
#include "util/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

/* What nobody has asked for ("reserve", and the recorder, which has the lock for a moment every second) makes others
 * wait no longer than this, instead of being in their way; and a reserve waits for others. */
#define RECORDING_WAIT_MS 10000u
#define RESERVE_WAIT_MS 5000u
/* Who shares an origin has its lock to themselves for the moment in which they let go of it. */
#define SHARED_WAIT_MS 5000u
#define UNKNOWN_HOLDER "another vmundo command"
#define UNKNOWN_WAIT_MS 100u /* it has yet to write who it is */

/* The file may have been removed between open and flock: then the lock is on nothing. */
static bool still_there(int dirfd, const char *name, int fd)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

/* Returns 1 with the lock, 0 when another has it (ret_fd is open then too, to read its holder), -1 and errno. */
static int try_lock(int dirfd, const char *name, int how, int *ret_fd)
{
    for (;;) {
        AUTO_CLOSE int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return -1;
        int r = flock(fd, how | LOCK_NB);
        if (r < 0 && errno != EWOULDBLOCK)
            return -1;
        if (r == 0 && !still_there(dirfd, name, fd))
            continue;
        *ret_fd = TAKE_FD(fd);
        return r == 0;
    }
}

static void write_holder(int fd, const char *what)
{
    char text[160];
    struct sys_process self = {.pid = getpid()};
    (void)sys_process_self(&self);
    int n = snprintf(text, sizeof(text), "%s (process %d)\n%llu\n", what, (int)self.pid, (unsigned long long)self.start);
    if (n > 0 && ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) < 0)
        return; /* it is for messages only */
}

/* Is the process that the text names the one that wrote it? Its number may be another's by now. */
static bool is_written_by_holder(const char *text)
{
    const char *at = strstr(text, " (process "), *line = strchr(text, '\n');
    struct sys_process p;
    return at && line && at < line && sys_process_of((pid_t)atoi(at + strlen(" (process ")), &p) == 0 &&
           p.start == strtoull(line + 1, NULL, 10);
}

/* What stands in the file can be of one who was killed, when the holder has just taken over and has yet to write. */
static void read_holder(int fd, char *buf, size_t size)
{
    ssize_t n = pread(fd, buf, size - 1, 0);
    buf[n > 0 ? n : 0] = '\0';
    if (!is_written_by_holder(buf))
        snprintf(buf, size, UNKNOWN_HOLDER);
    buf[strcspn(buf, "\n")] = '\0';
}

static int lock_take(const struct vmundo *v, const char *name, int how, const char *what, struct lock *ret,
                     char *holder, size_t holder_size, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = openat(v->dirfd, "locks", O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (dirfd < 0)
        return error_errno(err, errno, "cannot open %s/locks", v->state_dir);
    AUTO_FREE char *copy = str_printf(err, "%s", name);
    if (!copy)
        return -1;
    AUTO_CLOSE int fd = -1;
    int r = try_lock(dirfd, name, how, &fd);
    if (r < 0)
        return error_errno(err, errno, "cannot lock %s/locks/%s", v->state_dir, name);
    if (r == 0) {
        read_holder(fd, holder, holder_size);
        return 0;
    }
    write_holder(fd, what);
    *ret = (struct lock){.fd = TAKE_FD(fd), .dirfd = TAKE_FD(dirfd), .name = TAKE(copy)};
    return 1;
}

/* How long a command waits for that holder of a domain's lock, milliseconds. */
static uint64_t how_long(const char *holder, const char *verb)
{
    if (str_has_prefix(holder, STORE_RECORDING " "))
        return RECORDING_WAIT_MS;
    if (str_eq(holder, UNKNOWN_HOLDER))
        return UNKNOWN_WAIT_MS;
    return str_has_prefix(holder, "reserve ") || str_eq(verb, "reserve") ? RESERVE_WAIT_MS : 0;
}

int lock_domain(const struct vmundo *v, const char *name, const char *verb, struct lock *ret, struct vmundo_error *err)
{
    char holder[160];
    uint64_t begun = sys_monotonic_ms();
    int r = 0;
    for (;; usleep(1000)) {
        r = lock_take(v, name, LOCK_EX, verb, ret, holder, sizeof(holder), err);
        if (r != 0 || sys_monotonic_ms() - begun >= how_long(holder, verb))
            break;
    }
    if (r == 0)
        return error_set(err, VMUNDO_CONFLICT, "%s is being worked on by '%s': wait for that to end, then try again",
                         name, holder);
    return r < 0 ? -1 : 0;
}

/* FNV-1a; a collision costs no more than an unneeded "in use". */
static uint64_t hash_path(const char *s)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3U;
    return h;
}

int lock_origin(const struct vmundo *v, const char *origin, bool exclusive, struct lock *ret, struct vmundo_error *err)
{
    char name[40], holder[160];
    snprintf(name, sizeof(name), ".origin-%016llx", (unsigned long long)hash_path(origin));
    int r = 0;
    for (uint64_t deadline = sys_monotonic_ms() + SHARED_WAIT_MS;; usleep(500)) {
        r = lock_take(v, name, exclusive ? LOCK_EX : LOCK_SH, exclusive ? "keep" : "run", ret, holder, sizeof(holder),
                      err);
        if (r != 0 || exclusive || str_has_prefix(holder, "keep ") || sys_monotonic_ms() > deadline)
            break;
    }
    if (r == 0)
        return error_set(err, VMUNDO_CONFLICT, "%s is being worked on by '%s': wait for that to end, then try again",
                         origin, holder);
    return r < 0 ? -1 : 0;
}

int lock_pools(const struct vmundo *v, const char *verb, struct lock *ret, struct vmundo_error *err)
{
    char holder[160];
    int r = lock_take(v, ".pools", LOCK_EX, verb, ret, holder, sizeof(holder), err);
    if (r == 0)
        return error_set(err, VMUNDO_CONFLICT,
                         "pools are being worked on by '%s': wait for that to end, then try again", holder);
    return r < 0 ? -1 : 0;
}

void lock_release(struct lock *l)
{
    /* A shared lock must not take the file from under the others; what is left of it, lock_sweep finds. */
    if (l->fd >= 0 && flock(l->fd, LOCK_EX | LOCK_NB) == 0 && still_there(l->dirfd, l->name, l->fd))
        unlinkat(l->dirfd, l->name, 0);
    if (l->fd >= 0)
        close(l->fd);
    if (l->dirfd >= 0)
        close(l->dirfd);
    free(l->name);
    *l = (struct lock)LOCK_INIT;
}

int lock_sweep(const struct vmundo *v, unsigned *count, struct vmundo_error *err)
{
    int dirfd = openat(v->dirfd, "locks", O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTO_DIR DIR *d = dirfd < 0 ? NULL : fdopendir(dirfd);
    if (!d)
        return error_errno(err, errno, "cannot read %s/locks", v->state_dir);
    const struct dirent *e;
    int r;
    while ((r = sys_next_entry(d, &e, err)) > 0) {
        AUTO_CLOSE int fd = openat(dirfd, e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        bool mine = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (!mine && errno != ENOENT && errno != EWOULDBLOCK)
            return error_errno(err, errno, "cannot lock %s/locks/%s", v->state_dir, e->d_name);
        if (!mine || !still_there(dirfd, e->d_name, fd))
            continue;
        if (unlinkat(dirfd, e->d_name, 0) < 0)
            return error_errno(err, errno, "cannot remove %s/locks/%s", v->state_dir, e->d_name);
        ++*count;
    }
    return r;
}
