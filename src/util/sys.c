/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sys.c: raw system calls, durable files, careful removal, process identity, UNIX sockets. Every call here goes on
 * after EINTR: our callers' signal handlers set flags, and nobody wants half a write because of one.
 */
#include "util/sys.h"
#include "util/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

/* ---- opening ---------------------------------------------------------------------------------------------------- */

int sys_openat2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .mode = flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? mode : 0,
        .resolve = RESOLVE_NO_MAGICLINKS | resolve,
    };
    return (int)TEMP_FAILURE_RETRY(syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
}

int sys_open_parent(const char *path, int *ret_dirfd, const char **ret_base, struct vmundo_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    if (path[0] != '/' || str_eq(base, "") || str_eq(base, ".") || str_eq(base, ".."))
        return error_set(err, VMUNDO_FAILED, "%s: not the absolute path of a file", path);
    AUTO_FREE char *dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (!dir)
        return error_nomem(err);
    int fd = sys_openat2(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
    if (fd < 0 && errno == ELOOP)
        return error_errno(err, ELOOP, "%s: a symbolic link has come into this path", dir);
    if (fd < 0)
        return error_errno(err, errno, "cannot open directory %s", dir);
    *ret_dirfd = fd;
    *ret_base = base;
    return 0;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

int sys_ficlone(int dst, int src)
{
    return (int)TEMP_FAILURE_RETRY(ioctl(dst, FICLONE, src));
}

/* The words of struct seccomp_data, seccomp(2); x86-64 is little-endian. */
#define FIELD(name) (uint32_t) offsetof(struct seccomp_data, name)
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
/* Go on if it is that, else to what is so many instructions further. */
#define ONLY(value, else_skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, else_skip)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)

int sys_deny_huge_pages(uint64_t length)
{
    struct sock_filter code[] = {
        LOAD(FIELD(arch)),
        ONLY(AUDIT_ARCH_X86_64, 9),
        LOAD(FIELD(nr)),
        ONLY(SYS_madvise, 7),
        LOAD(FIELD(args[2])),
        ONLY(MADV_HUGEPAGE, 5),
        LOAD(FIELD(args[1])),
        ONLY((uint32_t)length, 3),
        LOAD(FIELD(args[1]) + 4),
        ONLY((uint32_t)(length >> 32), 1),
        RETURN(SECCOMP_RET_ERRNO | EINVAL),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -1 : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int sys_renameat2(int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
    return renameat2(olddir, old, newdir, new, flags);
}

int sys_fsync_dir(int dirfd)
{
    int r = (int)TEMP_FAILURE_RETRY(fsync(dirfd));
    if (r < 0 && errno == EBADF) { /* AT_FDCWD, or opened with O_PATH */
        AUTO_CLOSE int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return -1;
        r = (int)TEMP_FAILURE_RETRY(fsync(fd));
    }
    return r < 0 && errno == EINVAL ? 0 : r;
}

static int write_all(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = TEMP_FAILURE_RETRY(write(fd, p, len));
        if (n < 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* One component, that is not a way out of its directory. */
static bool is_plain_name(const char *name)
{
    return name[0] && !strchr(name, '/') && !str_eq(name, ".") && !str_eq(name, "..");
}

static int write_temp(int dirfd, const char *temp, const char *text, size_t len, bool durable)
{
    /* What a crash left behind goes first: it may have another owner or mode, or be a link. */
    if (unlinkat(dirfd, temp, 0) < 0 && errno != ENOENT)
        return -1;
    AUTO_CLOSE int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0600) < 0 || write_all(fd, text, len) < 0)
        return -1;
    return durable ? (int)TEMP_FAILURE_RETRY(fsync(fd)) : 0;
}

static int replace_file(int dirfd, const char *name, const char *text, size_t len, bool durable,
                        struct vmundo_error *err)
{
    if (!is_plain_name(name))
        return error_errno(err, EINVAL, "cannot write %s", name);
    AUTO_FREE char *temp = str_printf(err, ".%s.tmp", name);
    if (!temp)
        return -1;
    if (write_temp(dirfd, temp, text, len, durable) < 0 || renameat(dirfd, temp, dirfd, name) < 0) {
        int saved = errno;
        unlinkat(dirfd, temp, 0);
        return error_errno(err, saved, "cannot write %s", name);
    }
    if (durable && sys_fsync_dir(dirfd) < 0)
        return error_errno(err, errno, "cannot write %s durably", name);
    return 0;
}

int sys_put_file(int dirfd, const char *name, const char *text, size_t len, struct vmundo_error *err)
{
    return replace_file(dirfd, name, text, len, false, err);
}

int sys_write_file(int dirfd, const char *name, const char *text, size_t len, struct vmundo_error *err)
{
    return replace_file(dirfd, name, text, len, true, err);
}

/* O_NONBLOCK: opening a FIFO must not hang. */
static int open_regular(int dirfd, const char *name, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = (int)TEMP_FAILURE_RETRY(openat(dirfd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot read %s", name);
    if (S_ISDIR(st.st_mode))
        return error_errno(err, EISDIR, "cannot read %s", name);
    if (!S_ISREG(st.st_mode)) {
        error_set(err, VMUNDO_FAILED, "cannot read %s: not a regular file", name);
        if (err)
            err->errnum = EINVAL;
        return -1;
    }
    return TAKE_FD(fd);
}

int sys_read_file(int dirfd, const char *name, size_t max, char **ret, size_t *ret_len, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open_regular(dirfd, name, err);
    return fd < 0 ? -1 : sys_read_fd(fd, name, max, ret, ret_len, err);
}

int sys_read_fd(int fd, const char *name, size_t max, char **ret, size_t *ret_len, struct vmundo_error *err)
{
    /* Files in /proc say that they are of size 0: read until the end, whatever the size. */
    AUTO_FREE char *buf = NULL;
    size_t len = 0, cap = 0;
    for (;;) {
        if (len + 1 >= cap) {
            cap = cap ? cap * 2 : 4096;
            char *bigger = realloc(buf, cap);
            if (!bigger)
                return error_nomem(err);
            buf = bigger;
        }
        ssize_t n = TEMP_FAILURE_RETRY(read(fd, buf + len, cap - len - 1));
        if (n < 0)
            return error_errno(err, errno, "cannot read %s", name);
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max)
            return error_errno(err, EFBIG, "cannot read %s", name);
    }
    buf[len] = '\0';
    *ret = TAKE(buf);
    if (ret_len)
        *ret_len = len;
    return 0;
}

/* ---- directories ------------------------------------------------------------------------------------------------ */

static int remove_entry(int dirfd, const char *name, struct vmundo_error *err);

int sys_next_entry(DIR *d, const struct dirent **ret, struct vmundo_error *err)
{
    const struct dirent *e;
    do {
        errno = 0;
        e = readdir(d);
        if (!e)
            return errno ? error_errno(err, errno, "cannot list the directory") : 0;
    } while (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."));
    *ret = e;
    return 1;
}

static int remove_contents(DIR *d, struct vmundo_error *err)
{
    const struct dirent *e;
    int r;
    while ((r = sys_next_entry(d, &e, err)) > 0)
        if (remove_entry(dirfd(d), e->d_name, err) < 0)
            return -1;
    return r;
}

static int gone_or(int r, const char *name, struct vmundo_error *err)
{
    return r == 0 || errno == ENOENT ? 0 : error_errno(err, errno, "cannot remove %s", name);
}

/* RESOLVE_NO_XDEV refuses every mount point with EXDEV, bind mounts of the same file system too, which a comparison of
 * st_dev would let through. */
int sys_remove_tree(int dirfd, const char *name, struct vmundo_error *err)
{
    if (!is_plain_name(name))
        return error_errno(err, EINVAL, "cannot remove %s", name);
    AUTO_CLOSE int fd = sys_openat2(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                                    RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH);
    if (fd < 0 && errno == EXDEV)
        return error_errno(err, EXDEV, "cannot remove %s: something is mounted there", name);
    if (fd < 0)
        return gone_or(-1, name, err);
    AUTO_DIR DIR *d = fdopendir(fd);
    if (!d)
        return error_errno(err, errno, "cannot list %s", name);
    TAKE_FD(fd);
    if (remove_contents(d, err) < 0)
        return error_wrap(err, "%s", name);
    return gone_or(unlinkat(dirfd, name, AT_REMOVEDIR), name, err);
}

static int remove_entry(int dirfd, const char *name, struct vmundo_error *err)
{
    int r = unlinkat(dirfd, name, 0);
    return r < 0 && errno == EISDIR ? sys_remove_tree(dirfd, name, err) : gone_or(r, name, err);
}

int sys_ensure_dir(int dirfd, const char *name, mode_t mode, int *ret_fd, struct vmundo_error *err)
{
    if (mkdirat(dirfd, name, mode) < 0 && errno != EEXIST)
        return error_errno(err, errno, "cannot create directory %s", name);
    AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot open directory %s", name);
    if (st.st_uid != geteuid())
        return error_set(err, VMUNDO_FAILED, "directory %s belongs to user %u, not to us (user %u)", name, st.st_uid,
                         geteuid());
    if (st.st_mode & 0777 & ~mode)
        return error_set(err, VMUNDO_FAILED, "directory %s has mode %04o: make it %04o (chmod %o) and try again", name,
                         st.st_mode & 0777, mode, mode);
    if (ret_fd)
        *ret_fd = TAKE_FD(fd);
    return 0;
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

uint64_t sys_monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int64_t sys_realtime_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- processes -------------------------------------------------------------------------------------------------- */

int sys_process_self(struct sys_process *ret)
{
    return sys_process_of(getpid(), ret);
}

static ssize_t read_proc_stat(pid_t pid, char *buf, size_t size)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -1 : TEMP_FAILURE_RETRY(read(fd, buf, size));
}

/* proc(5): field 2, the name in parentheses, may itself hold spaces and parentheses; field 3 follows the last ')'. */
int sys_process_of(pid_t pid, struct sys_process *ret)
{
    char buf[1024];
    ssize_t n = pid > 0 ? read_proc_stat(pid, buf, sizeof(buf) - 1) : 0;
    buf[n > 0 ? n : 0] = '\0';
    if (n < 0 && errno != ENOENT && errno != ESRCH)
        return -1;
    const char *p = strrchr(buf, ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (!p) {
        errno = ESRCH;
        return -1;
    }
    *ret = (struct sys_process){.pid = pid, .start = strtoull(p + 1, NULL, 10)};
    return 0;
}

int sys_process_open(const struct sys_process *p)
{
    struct sys_process now;
    AUTO_CLOSE int fd = p->pid > 0 ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1;
    if (fd < 0 && p->pid > 0 && errno != ESRCH)
        return -1;
    /* The start time is read after the pidfd was made: were the pid reused in between, the times would differ. */
    if (fd < 0 || sys_process_of(p->pid, &now) < 0 || now.start != p->start) {
        errno = ESRCH;
        return -1;
    }
    return TAKE_FD(fd);
}

int sys_pidfd_signal(int pidfd, int sig)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

void sys_outlive_terminal(void)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGHUP);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int sys_wait_readable(int fd, int timeout_ms)
{
    uint64_t end = sys_monotonic_ms() + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
    for (;;) {
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        int n = poll(&pfd, 1, timeout_ms);
        if (n > 0 && pfd.revents & POLLNVAL) {
            errno = EBADF;
            return -1;
        }
        if (n >= 0 || errno != EINTR)
            return n;
        uint64_t now = sys_monotonic_ms();
        if (timeout_ms > 0)
            timeout_ms = now < end ? (int)(end - now) : 0;
    }
}

/* ---- sockets ---------------------------------------------------------------------------------------------------- */

/* sun_path holds 108 bytes; through /proc/self/fd only the name counts against that. */
static int unix_socket(int dirfd, const char *name, struct sockaddr_un *ret)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = dirfd == AT_FDCWD ? snprintf(a.sun_path, sizeof(a.sun_path), "%s", name)
                              : snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dirfd, name);
    if (n < 0 || (size_t)n >= sizeof(a.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    *ret = a;
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

int sys_unix_listen(int dirfd, const char *name)
{
    struct sockaddr_un a;
    AUTO_CLOSE int fd = unix_socket(dirfd, name, &a);
    /* The mode that the socket has when it is bound becomes that of its file: never a moment of open access. */
    if (fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0)
        return -1;
    return TAKE_FD(fd);
}

/* SO_SNDTIMEO counts for connect(2) as well, socket(7). */
static int set_timeout(int fd, time_t seconds)
{
    struct timeval t = {.tv_sec = seconds};
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

int sys_unix_connect(int dirfd, const char *name)
{
    struct sockaddr_un a;
    AUTO_CLOSE int fd = unix_socket(dirfd, name, &a);
    if (fd < 0 || set_timeout(fd, 2) < 0 ||
        TEMP_FAILURE_RETRY(connect(fd, (const struct sockaddr *)&a, sizeof(a))) < 0 || set_timeout(fd, 0) < 0)
        return -1;
    return TAKE_FD(fd);
}

int sys_random_hex(char out[33], struct vmundo_error *err)
{
    unsigned char raw[16];
    /* Up to 256 bytes come whole once they come at all, getrandom(2). */
    if (TEMP_FAILURE_RETRY(getrandom(raw, sizeof(raw), 0)) != (ssize_t)sizeof(raw))
        return error_errno(err, errno, "no random numbers from the kernel");
    for (size_t i = 0; i < sizeof(raw); i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    return 0;
}
