/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inject.c: for LD_PRELOAD, in tests only: the n-th call of the program that could change or fail does fail, or is never
 * made because the program is killed. What counts as a call is said by FAULT:
 *
 *     kill    SIGKILL just before the n-th call that changes something (files, locks, processes, sockets)
 *     EIO, ENOSPC, EMFILE, ENOMEM, EINTR   the n-th of the calls that can fail so does, once, and does nothing
 *     malloc  the n-th allocation, of the program's or of a library's, gives NULL
 *
 * and n by FAULT_AT; 0 only counts, and those of every kind at once. With FAULT_LASTS every one after it fails as well, as on a
 * disk that stays full. FAULT_REPORT is a file of 4096 bytes that is told how many there were and which was hit; FAULT_LIST, if
 * it is set, one that gets the name of each. With VMUNDO_FAULT_ONLY=NAME no other calls count. Counted is what happens in main():
 * what libraries do before and after it is not the program's.
 *
 * The C library's calls of itself (fopen's open, the write of a printf) do not pass here; fopen and posix_spawn do.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum fault { KILL = 1, IO = 2, FULL = 4, FILES = 8, MEMORY = 16, SIGNAL = 32, ALLOCATION = 64 };

static const struct {
    const char *name;
    enum fault fault;
    int errnum;
} faults[] = {
    {"kill", KILL, 0},          {"EIO", IO, EIO},         {"ENOSPC", FULL, ENOSPC},         {"EMFILE", FILES, EMFILE},
    {"ENOMEM", MEMORY, ENOMEM}, {"EINTR", SIGNAL, EINTR}, {"malloc", ALLOCATION, ENOMEM},
};

struct report {
    _Atomic uint64_t count, hit;
    char name[64];
    char trace[3800];
    _Atomic uint64_t each[sizeof(faults) / sizeof(*faults)]; /* counted for FAULT_AT=0, in the order of faults[] */
};

static struct report nowhere, *report = &nowhere;
static enum fault fault;
static int errnum, list_fd = -1;
static uint64_t at;
static bool lasts, traced;
static const char *only;
static _Atomic bool counting;
static __thread bool inside __attribute__((tls_model("initial-exec")));

/* ---- what is to be done, and when ------------------------------------------------------------------------------- */

static void configure(void)
{
    const char *what = getenv("FAULT"), *n = getenv("FAULT_AT"), *path = getenv("FAULT_REPORT"), *list = getenv("FAULT_LIST");
    for (size_t i = 0; what && i < sizeof(faults) / sizeof(*faults); i++)
        if (!strcmp(what, faults[i].name)) {
            fault = faults[i].fault;
            errnum = faults[i].errnum;
        }
    at = n ? strtoull(n, NULL, 10) : 0;
    lasts = getenv("FAULT_LASTS") != NULL;
    traced = getenv("FAULT_TRACE") != NULL;
    only = getenv("VMUNDO_FAULT_ONLY");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    void *shared = fd < 0 ? MAP_FAILED
                          : (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED)
        report = shared;
    if (fd >= 0)
        syscall(SYS_close, fd);
    if (list) { /* out of the way of what the program opens */
        fd = (int)syscall(SYS_openat, AT_FDCWD, list, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        list_fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900);
        syscall(SYS_close, fd);
    }
}

/* Where in the program: "module(+offset) ...", for addr2line(1). */
static void write_trace(void)
{
    void *frames[24];
    size_t len = 0;
    int n = backtrace(frames, 24);
    for (int i = 2; i < n; i++) {
        Dl_info info;
        if (!dladdr(frames[i], &info) || !info.dli_fname)
            continue;
        const char *base = strrchr(info.dli_fname, '/');
        int more = snprintf(report->trace + len, sizeof(report->trace) - len, "%s+0x%lx ", base ? base + 1 : info.dli_fname,
                            (unsigned long)((char *)frames[i] - (char *)info.dli_fbase - 1));
        if (more < 0 || len + (size_t)more >= sizeof(report->trace))
            break;
        len += (size_t)more;
    }
}

static void hit(const char *name)
{
    size_t n = strlen(name) < sizeof(report->name) ? strlen(name) : sizeof(report->name) - 1;
    memcpy(report->name, name, n);
    report->hit = report->count;
    if (traced)
        write_trace();
}

static void count_each(unsigned can)
{
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
        report->each[i] += (can & faults[i].fault) != 0;
}

/* Shall this call, of which these faults can be, fail? Does not return if the program is to die. */
static bool fails(const char *name, unsigned can)
{
    if (!counting || inside || (only && strcmp(only, name)))
        return false;
    if (!at)
        count_each(can);
    if (!(can & fault))
        return false;
    inside = true;
    uint64_t n = ++report->count;
    if (list_fd >= 0 && (syscall(SYS_write, list_fd, name, strlen(name)) < 0 || syscall(SYS_write, list_fd, "\n", 1) < 0))
        list_fd = -1;
    bool now = at && (n == at || (lasts && n > at));
    if (n == at)
        hit(name);
    if (now && fault == KILL)
        syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    inside = false;
    if (now)
        errno = errnum;
    return now;
}

static void *next(const char *name)
{
    bool was = inside;
    inside = true;
    void *found = dlsym(RTLD_NEXT, name);
    inside = was;
    return found;
}

/* ---- main ------------------------------------------------------------------------------------------------------- */

typedef int main_fn(int, char **, char **);
static main_fn *real_main;

static int counted_main(int argc, char **argv, char **env)
{
    void *frames[1];
    configure();
    backtrace(frames, 1); /* loads what it needs */
    unsetenv("LD_PRELOAD");
    counting = true;
    int r = real_main(argc, argv, env);
    counting = false;
    return r;
}

int __libc_start_main(main_fn *m, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*rtld)(void),
                      void *stack);
int __libc_start_main(main_fn *m, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*rtld)(void),
                      void *stack)
{
    __typeof__(&__libc_start_main) real = (__typeof__(&__libc_start_main))next("__libc_start_main");
    real_main = m;
    return real(counted_main, argc, argv, init, fini, rtld, stack);
}

/* ---- allocation ------------------------------------------------------------------------------------------------- */

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
    return fails("malloc", ALLOCATION) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fails("calloc", ALLOCATION) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return fails("realloc", ALLOCATION) ? NULL : __libc_realloc(p, n);
}

/* ---- system calls ----------------------------------------------------------------------------------------------- */

/* A function that only passes on its arguments, and gives `bad` when it fails. */
#define CALL(can, type, bad, name, params, args)                   \
    type name params;                                              \
    type name params                                               \
    {                                                              \
        static type(*real) params;                                 \
        if (fails(#name, can))                                     \
            return bad;                                            \
        if (!real)                                                 \
            real = (__typeof__(real))next(#name);                  \
        return real args;                                          \
    }
#define INT(can, name, params, args) CALL(can, int, -1, name, params, args)
#define SIZE(can, name, params, args) CALL(can, ssize_t, -1, name, params, args)

#define CHANGES (KILL | IO | FULL | MEMORY)

static unsigned opening(int flags)
{
    bool changes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE;
    return IO | FILES | MEMORY | SIGNAL | (changes ? KILL : 0) | (flags & O_CREAT ? FULL : 0);
}

#define MODE(flags, mode)                                            \
    mode_t mode = 0;                                                 \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) {   \
        va_list list;                                                \
        va_start(list, flags);                                       \
        mode = va_arg(list, mode_t);                                 \
        va_end(list);                                                \
    }

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...)                                  \
    {                                                                           \
        MODE(flags, mode)                                                       \
        if (fails(#name, opening(flags)))                                       \
            return -1;                                                          \
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);           \
    }
#define OPENAT(name)                                                            \
    int name(int dir, const char *path, int flags, ...)                         \
    {                                                                           \
        MODE(flags, mode)                                                       \
        if (fails(#name, opening(flags)))                                       \
            return -1;                                                          \
        return (int)syscall(SYS_openat, dir, path, flags, mode);                \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open(path, flags);
}
int __open64_2(const char *path, int flags)
{
    return open(path, flags);
}
int __openat_2(int dir, const char *path, int flags)
{
    return openat(dir, path, flags);
}
int __openat64_2(int dir, const char *path, int flags)
{
    return openat(dir, path, flags);
}
INT(opening(O_CREAT | O_WRONLY), creat, (const char *path, mode_t mode), (path, mode))
CALL(IO | FILES | MEMORY, FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode))
CALL(IO | FILES | MEMORY, FILE *, NULL, fopen64, (const char *path, const char *mode), (path, mode))
CALL(IO | FILES | MEMORY, DIR *, NULL, opendir, (const char *path), (path))
CALL(IO | MEMORY, DIR *, NULL, fdopendir, (int fd), (fd))
CALL(IO, struct dirent *, NULL, readdir, (DIR * d), (d))
CALL(IO, struct dirent64 *, NULL, readdir64, (DIR * d), (d))

SIZE(IO | SIGNAL, read, (int fd, void *p, size_t n), (fd, p, n))
SIZE(IO | SIGNAL, __read_chk, (int fd, void *p, size_t n, size_t room), (fd, p, n, room))
SIZE(IO | SIGNAL, pread, (int fd, void *p, size_t n, off_t o), (fd, p, n, o))
SIZE(IO | SIGNAL, pread64, (int fd, void *p, size_t n, off_t o), (fd, p, n, o))
SIZE(CHANGES | SIGNAL, write, (int fd, const void *p, size_t n), (fd, p, n))
SIZE(CHANGES | SIGNAL, pwrite, (int fd, const void *p, size_t n, off_t o), (fd, p, n, o))
SIZE(CHANGES | SIGNAL, pwrite64, (int fd, const void *p, size_t n, off_t o), (fd, p, n, o))
SIZE(CHANGES | SIGNAL, sendfile, (int out, int in, off_t *o, size_t n), (out, in, o, n))
SIZE(CHANGES | SIGNAL, sendfile64, (int out, int in, off_t *o, size_t n), (out, in, o, n))
SIZE(CHANGES | SIGNAL, copy_file_range, (int in, off_t *from, int out, off_t *to, size_t n, unsigned f),
     (in, from, out, to, n, f))
INT(KILL | IO | FULL | SIGNAL, fsync, (int fd), (fd))
INT(KILL | IO | FULL | SIGNAL, fdatasync, (int fd), (fd))
INT(CHANGES | SIGNAL, ftruncate, (int fd, off_t n), (fd, n))
INT(CHANGES | SIGNAL, ftruncate64, (int fd, off_t n), (fd, n))
INT(CHANGES | SIGNAL, fallocate, (int fd, int mode, off_t o, off_t n), (fd, mode, o, n))
INT(CHANGES | SIGNAL, fallocate64, (int fd, int mode, off_t o, off_t n), (fd, mode, o, n))
CALL(CHANGES, int, errno, posix_fallocate, (int fd, off_t o, off_t n), (fd, o, n))
CALL(CHANGES, int, errno, posix_fallocate64, (int fd, off_t o, off_t n), (fd, o, n))

INT(CHANGES, rename, (const char *a, const char *b), (a, b))
INT(CHANGES, renameat, (int d, const char *a, int e, const char *b), (d, a, e, b))
INT(CHANGES, renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f))
INT(KILL | IO | MEMORY, unlink, (const char *p), (p))
INT(KILL | IO | MEMORY, unlinkat, (int d, const char *p, int f), (d, p, f))
INT(KILL | IO | MEMORY, rmdir, (const char *p), (p))
INT(CHANGES, mkdir, (const char *p, mode_t m), (p, m))
INT(CHANGES, mkdirat, (int d, const char *p, mode_t m), (d, p, m))
INT(CHANGES, link, (const char *a, const char *b), (a, b))
INT(CHANGES, linkat, (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f))
INT(CHANGES, symlink, (const char *a, const char *b), (a, b))
INT(CHANGES, symlinkat, (const char *a, int d, const char *b), (a, d, b))
INT(KILL | IO | MEMORY, fchmod, (int fd, mode_t m), (fd, m))
INT(KILL | IO | MEMORY, chmod, (const char *p, mode_t m), (p, m))
INT(KILL | IO | MEMORY, fchmodat, (int d, const char *p, mode_t m, int f), (d, p, m, f))
INT(KILL | IO | MEMORY, fchown, (int fd, uid_t u, gid_t g), (fd, u, g))
INT(KILL | IO | MEMORY, chown, (const char *p, uid_t u, gid_t g), (p, u, g))
INT(KILL | IO | MEMORY, fchownat, (int d, const char *p, uid_t u, gid_t g, int f), (d, p, u, g, f))
INT(KILL | IO | MEMORY, utimensat, (int d, const char *p, const struct timespec t[2], int f), (d, p, t, f))
INT(KILL | IO | MEMORY, futimens, (int fd, const struct timespec t[2]), (fd, t))
INT(CHANGES, setxattr, (const char *p, const char *k, const void *v, size_t n, int f), (p, k, v, n, f))
INT(CHANGES, lsetxattr, (const char *p, const char *k, const void *v, size_t n, int f), (p, k, v, n, f))
INT(CHANGES, fsetxattr, (int fd, const char *k, const void *v, size_t n, int f), (fd, k, v, n, f))
INT(KILL | IO | FULL, removexattr, (const char *p, const char *k), (p, k))
INT(KILL | IO | FULL, fremovexattr, (int fd, const char *k), (fd, k))
SIZE(IO | MEMORY, getxattr, (const char *p, const char *k, void *v, size_t n), (p, k, v, n))
SIZE(IO | MEMORY, fgetxattr, (int fd, const char *k, void *v, size_t n), (fd, k, v, n))
SIZE(IO | MEMORY, flistxattr, (int fd, char *v, size_t n), (fd, v, n))
INT(IO | MEMORY, stat, (const char *p, struct stat *s), (p, s))
INT(IO | MEMORY, stat64, (const char *p, struct stat64 *s), (p, s))
INT(IO | MEMORY, lstat, (const char *p, struct stat *s), (p, s))
INT(IO | MEMORY, lstat64, (const char *p, struct stat64 *s), (p, s))
INT(IO | MEMORY, fstat, (int fd, struct stat *s), (fd, s))
INT(IO | MEMORY, fstat64, (int fd, struct stat64 *s), (fd, s))
INT(IO | MEMORY, fstatat, (int d, const char *p, struct stat *s, int f), (d, p, s, f))
INT(IO | MEMORY, fstatat64, (int d, const char *p, struct stat64 *s, int f), (d, p, s, f))
INT(IO | MEMORY, statx, (int d, const char *p, int f, unsigned m, struct statx *s), (d, p, f, m, s))
INT(IO | MEMORY, statvfs, (const char *p, struct statvfs *s), (p, s))
INT(IO | MEMORY, statvfs64, (const char *p, struct statvfs64 *s), (p, s))
INT(IO | MEMORY, fstatvfs, (int fd, struct statvfs *s), (fd, s))
INT(IO | MEMORY, fstatvfs64, (int fd, struct statvfs64 *s), (fd, s))
INT(IO | MEMORY, access, (const char *p, int m), (p, m))
INT(IO | MEMORY, faccessat, (int d, const char *p, int m, int f), (d, p, m, f))
INT(CHANGES, mount, (const char *s, const char *t, const char *y, unsigned long f, const void *o), (s, t, y, f, o))
INT(KILL | IO | MEMORY, umount2, (const char *t, int f), (t, f))
INT(KILL | IO | MEMORY, umount, (const char *t), (t))
CALL(MEMORY | FILES, void *, MAP_FAILED, mmap, (void *a, size_t n, int p, int f, int fd, off_t o), (a, n, p, f, fd, o))
CALL(MEMORY | FILES, void *, MAP_FAILED, mmap64, (void *a, size_t n, int p, int f, int fd, off_t o), (a, n, p, f, fd, o))

/* In want of memory the kernel says ENOLCK; only one that waits is interrupted. */
int flock(int fd, int how)
{
    if (fails("flock", KILL | MEMORY | (how & LOCK_NB ? 0 : SIGNAL))) {
        errno = errno == ENOMEM ? ENOLCK : errno;
        return -1;
    }
    return (int)syscall(SYS_flock, fd, how);
}

static bool only_asks(unsigned long request)
{
    unsigned type = (request >> 8) & 0xff;
    return type == 'T' || type == 0xfd || request == 0xc020660b /* FIEMAP */ || (request >> 30) == 2 /* _IOR */;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (fails("ioctl", IO | MEMORY | SIGNAL | (only_asks(request) ? 0 : KILL | FULL)))
        return -1;
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

#define FCNTL(name)                                                                                     \
    int name(int fd, int command, ...)                                                                  \
    {                                                                                                   \
        va_list list;                                                                                   \
        va_start(list, command);                                                                        \
        void *argument = va_arg(list, void *);                                                          \
        va_end(list);                                                                                   \
        bool copies = command == F_DUPFD || command == F_DUPFD_CLOEXEC;                                 \
        if (fails(#name, (copies ? FILES : 0) | (command == F_SETLKW || command == F_OFD_SETLKW ? SIGNAL : 0))) \
            return -1;                                                                                  \
        return (int)syscall(SYS_fcntl, fd, command, argument);                                          \
    }
FCNTL(fcntl)
FCNTL(fcntl64)
INT(FILES, dup, (int fd), (fd))
INT(FILES | MEMORY, pipe2, (int p[2], int f), (p, f))
INT(FILES | MEMORY, pipe, (int p[2]), (p))
INT(FILES | MEMORY, memfd_create, (const char *n, unsigned f), (n, f))
INT(FILES | MEMORY, eventfd, (unsigned n, int f), (n, f))
INT(FILES | MEMORY, epoll_create1, (int f), (f))

/* ---- sockets, processes, time ----------------------------------------------------------------------------------- */

INT(FILES | MEMORY, socket, (int d, int t, int p), (d, t, p))
INT(FILES | MEMORY, socketpair, (int d, int t, int p, int s[2]), (d, t, p, s))
INT(CHANGES, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
INT(KILL | SIGNAL, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
INT(FILES | MEMORY | SIGNAL, accept4, (int fd, struct sockaddr *a, socklen_t *n, int f), (fd, a, n, f))
SIZE(KILL | MEMORY | SIGNAL, send, (int fd, const void *p, size_t n, int f), (fd, p, n, f))
SIZE(KILL | MEMORY | SIGNAL, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f))
SIZE(MEMORY | SIGNAL, recv, (int fd, void *p, size_t n, int f), (fd, p, n, f))
SIZE(MEMORY | SIGNAL, recvmsg, (int fd, struct msghdr *m, int f), (fd, m, f))
INT(MEMORY | SIGNAL, poll, (struct pollfd * p, nfds_t n, int ms), (p, n, ms))
INT(MEMORY | SIGNAL, __poll_chk, (struct pollfd * p, nfds_t n, int ms, size_t room), (p, n, ms, room))
INT(SIGNAL, nanosleep, (const struct timespec *t, struct timespec *left), (t, left))
INT(SIGNAL, usleep, (useconds_t t), (t))
INT(KILL, kill, (pid_t pid, int sig), (pid, sig))
CALL(KILL | SIGNAL, pid_t, -1, waitpid, (pid_t pid, int *s, int o), (pid, s, o))
INT(KILL | SIGNAL, waitid, (idtype_t t, id_t id, siginfo_t *i, int o), (t, id, i, o))
CALL(KILL | MEMORY | FILES, int, errno, posix_spawn,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *a, const posix_spawnattr_t *b, char *const v[],
      char *const e[]),
     (pid, path, a, b, v, e))
CALL(MEMORY, int, EAGAIN, pthread_create, (pthread_t * t, const pthread_attr_t *a, void *(*f)(void *), void *d),
     (t, a, f, d))
SIZE(SIGNAL, getrandom, (void *p, size_t n, unsigned f), (p, n, f))

static unsigned of_number(long number)
{
    switch (number) {
    case SYS_openat2:
    case SYS_pidfd_open:
        return IO | FILES | MEMORY | SIGNAL;
    case SYS_pidfd_send_signal:
        return KILL;
    default:
        return 0;
    }
}

/* openat2(2) is called so; what it opens for writing is told by its struct open_how, whose first word is the flags. */
long syscall(long number, ...)
{
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    unsigned can = counting && !inside ? of_number(number) : 0;
    if (number == SYS_openat2 && can)
        can = opening((int)*(const uint64_t *)a[2]);
    if (number == SYS_pidfd_open)
        can &= FILES | MEMORY;
    if (can && fails(number == SYS_openat2 ? "openat2" : "syscall", can))
        return -1;
    register long r10 __asm__("r10") = a[3];
    register long r8 __asm__("r8") = a[4];
    register long r9 __asm__("r9") = a[5];
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    if (r < 0 && r > -4096) {
        errno = (int)-r;
        return -1;
    }
    return r;
}
