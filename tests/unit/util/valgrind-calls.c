/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System calls for valgrind, whose versions before 3.22 answer ENOSYS to openat2, pidfd_open and pidfd_send_signal.
 *
 * Built twice. As a preloaded library it takes syscall(2) over and sends those three to a helper process, which runs
 * outside valgrind; as that helper (with HELPER defined) it makes the call for real and passes the descriptor back.
 * Nothing is imitated. Outside valgrind the library does nothing.
 */
#include "util/sys.h"
#include "util/cleanup.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct request {
    long nr;
    int number; /* pid_t or signal */
    struct open_how how;
    char path[PATH_MAX];
};

struct reply {
    long result;
    int errnum;
};

/* A message with at most one descriptor, as unix(7) has it. Returns recvmsg's or sendmsg's result. */
static ssize_t exchange(int sock, void *data, size_t len, int *fd, bool send)
{
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = data, .iov_len = len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (!send || *fd >= 0) {
        m.msg_control = control.buf;
        m.msg_controllen = sizeof(control.buf);
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && send) {
        *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(c), fd, sizeof(int));
    }
    if (send)
        return sendmsg(sock, &m, MSG_NOSIGNAL);
    ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
    c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    *fd = -1;
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(c), sizeof(int));
    return n;
}

#ifdef HELPER

static long perform(const struct request *q, int fd)
{
    switch (q->nr) {
    case SYS_openat2:
        return syscall(SYS_openat2, fd, q->path, &q->how, sizeof(q->how));
    case SYS_pidfd_open:
        return syscall(SYS_pidfd_open, q->number, 0);
    default:
        return syscall(SYS_pidfd_send_signal, fd, q->number, NULL, 0);
    }
}

int main(void)
{
    umask(0); /* the caller has taken its own off the mode */
    if (fork() != 0)
        _exit(0); /* the test must not see a child that it has not started */
    static struct request q;
    for (int fd = -1; exchange(STDIN_FILENO, &q, sizeof(q), &fd, false) > 0; close(fd)) {
        errno = 0;
        long result = perform(&q, fd);
        struct reply r = {.result = result, .errnum = errno};
        int made = q.nr != SYS_pidfd_send_signal && result >= 0 ? (int)result : -1;
        exchange(STDIN_FILENO, &r, sizeof(r), &made, true);
        if (made >= 0)
            close(made);
    }
    return 0;
}

#else

static int helper = -1;

__attribute__((constructor)) static void start_helper(void)
{
    const char *preload = getenv("LD_PRELOAD");
    const char *program = getenv("VALGRIND_CALLS_HELPER");
    int pair[2];
    if (!preload || !strstr(preload, "vgpreload") || !program || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
        return;
    char *const argv[] = {strdup(program), NULL};
    char *const env[] = {NULL};
    helper = fcntl(pair[0], F_DUPFD_CLOEXEC, 200); /* out of the way of the tests' own */
    close(pair[0]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDIN_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_t attr;
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
    pid_t pid = -1;
    if (posix_spawn(&pid, argv[0], &actions, &attr, argv, env) != 0)
        _exit(126);
    waitpid(pid, NULL, 0);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    free(argv[0]);
}

static long ask(struct request *q, int fd)
{
    struct reply r;
    if (exchange(helper, q, sizeof(*q), &fd, true) < 0 || exchange(helper, &r, sizeof(r), &fd, false) < 0)
        return -1;
    errno = r.result < 0 ? r.errnum : errno;
    return fd >= 0 ? fd : r.result;
}

static long ask_openat2(int dirfd, const char *path, const struct open_how *how)
{
    struct request q = {.nr = SYS_openat2, .how = *how};
    if (strlen(path) >= sizeof(q.path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(q.path, path);
    mode_t mask = umask(0);
    umask(mask);
    q.how.mode &= ~(uint64_t)mask;
    AUTO_CLOSE int cwd = dirfd == AT_FDCWD ? open(".", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dirfd >= 0 && fcntl(dirfd, F_GETFD) < 0)
        return -1;
    return ask(&q, cwd >= 0 ? cwd : dirfd);
}

__attribute__((visibility("default"))) long syscall(long nr, ...)
{
    va_list ap;
    va_start(ap, nr);
    long a[6];
    for (size_t i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    struct request q = {.nr = nr};
    if (helper >= 0 && nr == SYS_openat2)
        return ask_openat2((int)a[0], (const char *)a[1], (const struct open_how *)a[2]);
    if (helper >= 0 && nr == SYS_pidfd_open) {
        q.number = (int)a[0];
        return ask(&q, -1);
    }
    if (helper >= 0 && nr == SYS_pidfd_send_signal) {
        q.number = (int)a[1];
        return ask(&q, (int)a[0]);
    }
    static long (*next)(long, ...);
    if (!next)
        next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#endif
