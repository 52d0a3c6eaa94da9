/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * attendant.c: the lock of a process that stays with a domain, and its start; see attendant.h.
 */
#include "core/attendant.h"

#include "util/cleanup.h"
#include "util/process.h"
#include "util/scope.h"

#include <fcntl.h>

static int open_lock(const struct vmundo *v, const struct attendant *a, const char *name, bool create,
                     struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    if (context_domain_dir(v, name, false, &dir, err) < 0)
        return -1;
    int fd = openat(dir, a->lock_file, O_RDWR | (create ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? error_errno(err, errno, "cannot open %s of %s", a->lock_file, name) : fd;
}

int attendant_lock(const struct vmundo *v, const struct attendant *a, const char *name, int *ret_fd,
                   struct vmundo_error *err)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    AUTO_CLOSE int fd = open_lock(v, a, name, true, err);
    if (fd < 0)
        return -1;
    if (fcntl(fd, F_OFD_SETLK, &l) < 0)
        return errno == EAGAIN || errno == EACCES
                   ? error_set(err, VMUNDO_CONFLICT, "%s is being %s already, by another process", name, a->does)
                   : error_errno(err, errno, "cannot lock %s of %s", a->lock_file, name);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

bool attendant_is_alive(const struct vmundo *v, const struct attendant *a, const char *name)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    AUTO_CLOSE int fd = open_lock(v, a, name, false, NULL);
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

bool attendant_owns_lock(const struct vmundo *v, const struct attendant *a, const char *name, int lock)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat mine, there;
    AUTO_CLOSE int fd = open_lock(v, a, name, false, NULL);
    return fd >= 0 && lock >= 0 && fstat(lock, &mine) == 0 && fstat(fd, &there) == 0 && mine.st_dev == there.st_dev &&
           mine.st_ino == there.st_ino && fcntl(lock, F_OFD_SETLK, &l) == 0;
}

void attendant_leave_session(const struct attendant *a, const char *name)
{
    struct vmundo_error e = {0};
    if (scope_is_possible() && scope_enter(a->program + strlen("vmundo-"), name, 0, &e) < 0)
        fprintf(stderr, "%s: it has no scope of its own: %s\n", a->program, e.msg);
}

int attendant_spawn(const struct vmundo *v, const struct attendant *a, const char *name, struct vmundo_error *err)
{
    struct process_options o = PROCESS_OPTIONS_INIT;
    struct vmundo_error e = {0};
    AUTO_CLOSE int lock = -1;
    pid_t pid;
    if (attendant_lock(v, a, name, &lock, &e) < 0)
        return e.code == VMUNDO_CONFLICT ? 0 : error_set(err, e.code, "%s", e.msg);
    AUTO_FREE char *program = process_libexec(a->program, err);
    if (!program)
        return -1;
    o.new_session = true;
    o.in = lock;
    return process_spawn((const char *const[]){program, v->state_dir, name, NULL}, &o, &pid, err);
}
