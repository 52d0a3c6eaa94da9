/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System calls, on real files, processes, sockets and mounts. What needs a mount namespace runs in a forked child that
 * makes itself one, so that nothing is left behind whatever happens.
 */
#include "tmpdir.h"

#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

static bool same_file(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static void test_openat2(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_CLOSE int fd = sys_openat2(t->fd, "new", O_RDWR | O_CREAT | O_EXCL, 0640, 0);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(symlinkat("new", t->fd, "link"), 0);
    AUTO_CLOSE int followed = sys_openat2(t->fd, "link", O_RDONLY, 0644, 0); /* a mode without O_CREAT does no harm */
    assert_true(followed >= 0);
    AUTO_CLOSE int temporary = sys_openat2(t->fd, ".", O_TMPFILE | O_RDWR, 0600, 0);
    assert_true(temporary >= 0 || errno == EOPNOTSUPP);

    assert_int_equal(sys_openat2(t->fd, "link", O_RDONLY, 0, RESOLVE_NO_SYMLINKS), -1);
    assert_int_equal(errno, ELOOP);
    AUTO_FREE char *magic = str_printf(NULL, "/proc/%d/fd/%d", getpid(), fd);
    assert_int_equal(sys_openat2(AT_FDCWD, magic, O_RDONLY, 0, 0), -1);
    assert_int_equal(errno, ELOOP);
    assert_int_equal(sys_openat2(t->fd, "none", O_RDONLY, 0, 0), -1);
    assert_int_equal(errno, ENOENT);
}

static void test_open_parent(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_FREE char *path = str_printf(NULL, "%s/disk.img", t->path);
    AUTO_CLOSE int fd = -1;
    const char *base = NULL;
    assert_int_equal(sys_open_parent(path, &fd, &base, NULL), 0);
    assert_string_equal(base, "disk.img");
    assert_ptr_equal(base, path + strlen(t->path) + 1);
    assert_true(same_file(fd, t->path));

    AUTO_CLOSE int root = -1;
    assert_int_equal(sys_open_parent("/disk.img", &root, &base, NULL), 0);
    assert_true(same_file(root, "/"));
}

static void test_open_parent_refuses(void **state)
{
    const struct tmpdir *t = *state;
    assert_int_equal(mkdirat(t->fd, "real", 0700), 0);
    assert_int_equal(symlinkat("real", t->fd, "link"), 0);
    put_file(t->fd, "file", "");
    static const char *const bad[] = {"link/x", "file/x", "none/x", "real/", "real/.", "real/.."};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTO_FREE char *path = str_printf(NULL, "%s/%s", t->path, bad[i]);
        int fd = -7;
        const char *base = NULL;
        struct vmundo_error e = {0};
        assert_int_equal(sys_open_parent(path, &fd, &base, &e), -1);
        assert_int_equal(fd, -7);
        assert_null(base);
        assert_int_equal(e.code, VMUNDO_FAILED);
        assert_non_null(strstr(e.msg, t->path));
    }
    static const char *const relative[] = {"", "x", "./x", "/"};
    for (size_t i = 0; i < ARRAY_SIZE(relative); i++) {
        int fd = -7;
        const char *base = NULL;
        assert_int_equal(sys_open_parent(relative[i], &fd, &base, NULL), -1);
    }
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void test_write_file_replaces(void **state)
{
    const struct tmpdir *t = *state;
    assert_int_equal(sys_write_file(t->fd, "state", "first", 5, NULL), 0);
    assert_file(t->fd, "state", "first");
    assert_int_equal(sys_write_file(t->fd, "state", "2", 1, NULL), 0);
    assert_file(t->fd, "state", "2");
    assert_int_equal(sys_write_file(t->fd, "state", "", 0, NULL), 0);
    assert_file(t->fd, "state", "");
    assert_int_equal(sys_put_file(t->fd, "state", "put", 3, NULL), 0);
    assert_file(t->fd, "state", "put");
    struct stat st;
    assert_int_equal(fstatat(t->fd, "state", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_false(exists(t->fd, ".state.tmp"));
}

static void test_write_file_mode_whatever_the_umask(void **state)
{
    const struct tmpdir *t = *state;
    mode_t old = umask(0777);
    int r = sys_write_file(t->fd, "f", "x", 1, NULL);
    umask(old);
    assert_int_equal(r, 0);
    struct stat st;
    assert_int_equal(fstatat(t->fd, "f", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_write_file_over_what_a_crash_left(void **state)
{
    const struct tmpdir *t = *state;
    put_file(t->fd, ".state.tmp", "a longer text from before");
    assert_int_equal(sys_write_file(t->fd, "state", "new", 3, NULL), 0);
    assert_file(t->fd, "state", "new");

    put_file(t->fd, "victim", "untouched");
    assert_int_equal(symlinkat("victim", t->fd, ".state.tmp"), 0);
    assert_int_equal(sys_write_file(t->fd, "state", "newer", 5, NULL), 0);
    assert_int_equal(linkat(t->fd, "victim", t->fd, ".state.tmp", 0), 0);
    assert_int_equal(sys_write_file(t->fd, "state", "newest", 6, NULL), 0);
    assert_file(t->fd, "state", "newest");
    assert_file(t->fd, "victim", "untouched");
    assert_false(exists(t->fd, ".state.tmp"));
}

static void test_write_file_through_a_path_descriptor(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_CLOSE int path_fd = open(t->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(sys_write_file(path_fd, "f", "x", 1, NULL), 0);
    assert_file(t->fd, "f", "x");
}

static void test_write_file_fails_without_a_trace(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error e;
    static const char *const bad[] = {"", ".", "..", "a/b", "/etc/x"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(sys_write_file(t->fd, bad[i], "x", 1, &e), -1);
        assert_int_equal(e.errnum, EINVAL);
    }
    assert_int_equal(mkdirat(t->fd, "dir", 0700), 0);
    assert_int_equal(sys_write_file(t->fd, "dir", "x", 1, &e), -1);
    assert_int_equal(e.errnum, EISDIR);
    assert_false(exists(t->fd, ".dir.tmp"));
    char name[253];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(sys_write_file(t->fd, name, "x", 1, &e), -1);
    assert_int_equal(e.errnum, ENAMETOOLONG);
    assert_int_equal(sys_write_file(-1, "f", "x", 1, &e), -1);
    assert_int_equal(e.errnum, EBADF);
}

/* The old text must survive a write that fails half way: here, for want of space in the file size limit. */
static void test_write_file_keeps_the_old_on_failure(void **state)
{
    const struct tmpdir *t = *state;
    assert_int_equal(sys_write_file(t->fd, "state", "old", 3, NULL), 0);
    static const char big[20000];
    pid_t pid = fork();
    if (pid == 0) {
        struct vmundo_error e;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 10000, .rlim_max = 10000});
        _exit(sys_write_file(t->fd, "state", big, sizeof(big), &e) == -1 && e.errnum == EFBIG ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_file(t->fd, "state", "old");
    assert_false(exists(t->fd, ".state.tmp"));
}

static void test_read_file(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    assert_int_equal(sys_write_file(t->fd, "f", "a\0b", 3, NULL), 0);
    assert_int_equal(sys_read_file(t->fd, "f", 3, &text, &len, NULL), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(text, "a\0b", 4);

    AUTO_FREE char *big = malloc(100000), *back = NULL, *empty = NULL, *proc = NULL;
    memset(big, 'x', 100000);
    assert_int_equal(sys_write_file(t->fd, "big", big, 100000, NULL), 0);
    assert_int_equal(sys_read_file(t->fd, "big", 100000, &back, &len, NULL), 0);
    assert_int_equal(len, 100000);
    assert_memory_equal(back, big, 100000);
    assert_int_equal(back[100000], 0);

    put_file(t->fd, "empty", "");
    assert_int_equal(sys_read_file(t->fd, "empty", 0, &empty, NULL, NULL), 0);
    assert_string_equal(empty, "");
    assert_int_equal(sys_read_file(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &proc, &len, NULL), 0);
    assert_true(len > 0);
}

static void test_read_file_refuses(void **state)
{
    const struct tmpdir *t = *state;
    put_file(t->fd, "f", "four");
    assert_int_equal(mkdirat(t->fd, "dir", 0700), 0);
    assert_int_equal(mkfifoat(t->fd, "fifo", 0600), 0);
    assert_int_equal(symlinkat("loop", t->fd, "loop"), 0);
    static const struct {
        const char *name;
        int errnum;
    } cases[] = {{"f", EFBIG}, {"dir", EISDIR}, {"fifo", EINVAL}, {"none", ENOENT}, {"loop", ELOOP}, {"f/x", ENOTDIR}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *text = (char *)1;
        size_t len = 77;
        struct vmundo_error e = {0};
        assert_int_equal(sys_read_file(t->fd, cases[i].name, 3, &text, &len, &e), -1);
        assert_int_equal(e.errnum, cases[i].errnum);
        assert_non_null(strstr(e.msg, cases[i].name));
        assert_ptr_equal(text, (char *)1);
        assert_int_equal(len, 77);
    }
}

static void test_ficlone(void **state)
{
    const struct tmpdir *t = *state;
    put_file(t->fd, "src", "shared");
    AUTO_CLOSE int src = openat(t->fd, "src", O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int dst = openat(t->fd, "dst", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(sys_ficlone(-1, src), -1);
    assert_int_equal(errno, EBADF);
    if (sys_ficlone(dst, src) < 0) {
        assert_true(errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL);
        skip(); /* this file system cannot; those that can are mounted by the integration tests */
    }
    assert_file(t->fd, "dst", "shared");
}

static void test_renameat2(void **state)
{
    const struct tmpdir *t = *state;
    put_file(t->fd, "a", "A");
    put_file(t->fd, "b", "B");
    assert_int_equal(sys_renameat2(t->fd, "a", t->fd, "b", RENAME_NOREPLACE), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(sys_renameat2(t->fd, "a", t->fd, "b", RENAME_EXCHANGE), 0);
    assert_file(t->fd, "a", "B");
    assert_file(t->fd, "b", "A");
    assert_int_equal(sys_renameat2(t->fd, "a", t->fd, "b", 0), 0);
    assert_false(exists(t->fd, "a"));
}

static void test_fsync_dir(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_CLOSE int path_fd = open(t->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int proc = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* fsync gives EINVAL there */
    assert_int_equal(fsync(proc), -1);
    assert_int_equal(sys_fsync_dir(t->fd), 0);
    assert_int_equal(sys_fsync_dir(path_fd), 0);
    assert_int_equal(sys_fsync_dir(proc), 0);
    assert_int_equal(sys_fsync_dir(-1), -1);
    assert_int_equal(errno, EBADF);
}

/* ---- directories ------------------------------------------------------------------------------------------------ */

static void make_tree(int dirfd)
{
    assert_int_equal(mkdirat(dirfd, "tree", 0700), 0);
    AUTO_CLOSE int tree = openat(dirfd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 300; i++) {
        AUTO_FREE char *name = str_printf(NULL, "file-%d", i);
        put_file(tree, name, "x");
    }
    assert_int_equal(mkdirat(tree, "a", 0700), 0);
    assert_int_equal(mkdirat(tree, "a/b", 0500), 0);
    assert_int_equal(mkdirat(tree, "a/c", 0700), 0);
    put_file(tree, "a/c/.hidden", "x");
    assert_int_equal(mkfifoat(tree, "fifo", 0600), 0);
    assert_int_equal(symlinkat("nowhere", tree, "dangling"), 0);
}

static void test_remove_tree(void **state)
{
    const struct tmpdir *t = *state;
    unsigned before = open_descriptors();
    make_tree(t->fd);
    assert_int_equal(sys_remove_tree(t->fd, "tree", NULL), 0);
    assert_false(exists(t->fd, "tree"));
    assert_int_equal(sys_remove_tree(t->fd, "tree", NULL), 0); /* again is success */
    assert_int_equal(open_descriptors(), before);
}

static void test_remove_tree_follows_no_links(void **state)
{
    const struct tmpdir *t = *state;
    make_tree(t->fd);
    assert_int_equal(mkdirat(t->fd, "outside", 0700), 0);
    put_file(t->fd, "outside/precious", "x");
    assert_int_equal(symlinkat("../outside", t->fd, "tree/link"), 0);
    assert_int_equal(symlinkat("../outside/precious", t->fd, "tree/link2"), 0);
    assert_int_equal(sys_remove_tree(t->fd, "tree", NULL), 0);
    assert_true(exists(t->fd, "outside/precious"));

    struct vmundo_error e;
    assert_int_equal(symlinkat("outside", t->fd, "top"), 0);
    assert_int_equal(sys_remove_tree(t->fd, "top", &e), -1);
    assert_true(exists(t->fd, "top"));
    assert_true(exists(t->fd, "outside/precious"));
}

static void test_remove_tree_refuses(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error e;
    static const char *const bad[] = {"", ".", "..", "a/b", "/", "../x"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(sys_remove_tree(t->fd, bad[i], &e), -1);
        assert_int_equal(e.errnum, EINVAL);
    }
    put_file(t->fd, "file", "x");
    assert_int_equal(sys_remove_tree(t->fd, "file", &e), -1);
    assert_int_equal(e.errnum, ENOTDIR);
    assert_true(exists(t->fd, "file"));
}

/* In a namespace of its own: a bind mount of the same file system inside the tree. Exit 77: not allowed here. */
static int remove_tree_with_mount(const struct tmpdir *t)
{
    if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return 77;
    AUTO_FREE char *from = str_printf(NULL, "%s/outside", t->path);
    AUTO_FREE char *to = str_printf(NULL, "%s/tree/a", t->path);
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 || mount(from, to, "none", MS_BIND, NULL) < 0)
        return 77;
    struct vmundo_error e;
    AUTO_CLOSE int fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sys_remove_tree(fd, "tree", &e) != -1 || e.errnum != EXDEV || !exists(fd, "outside/precious"))
        return 1;
    if (!strstr(e.msg, "tree: cannot remove a: something is mounted there"))
        return 2;
    /* and as the tree itself */
    AUTO_CLOSE int tree = openat(fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return sys_remove_tree(tree, "a", &e) == -1 && e.errnum == EXDEV && exists(fd, "outside/precious") ? 0 : 3;
}

static void test_remove_tree_crosses_no_mount(void **state)
{
    const struct tmpdir *t = *state;
    make_tree(t->fd);
    assert_int_equal(mkdirat(t->fd, "outside", 0700), 0);
    put_file(t->fd, "outside/precious", "x");
    pid_t pid = fork();
    if (pid == 0)
        _exit(remove_tree_with_mount(t));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_ensure_dir(void **state)
{
    const struct tmpdir *t = *state;
    mode_t old = umask(022);
    AUTO_CLOSE int fd = -1;
    assert_int_equal(sys_ensure_dir(t->fd, "d", 0700, &fd, NULL), 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(sys_ensure_dir(t->fd, "d", 0700, NULL, NULL), 0);
    assert_int_equal(sys_ensure_dir(t->fd, "d", 0755, NULL, NULL), 0); /* less than allowed is fine */
    umask(old);
}

static void test_ensure_dir_refuses(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error e;
    int fd = -7;
    assert_int_equal(mkdirat(t->fd, "open", 0700), 0);
    assert_int_equal(fchmodat(t->fd, "open", 0750, 0), 0);
    assert_int_equal(sys_ensure_dir(t->fd, "open", 0700, &fd, &e), -1);
    assert_non_null(strstr(e.msg, "mode 0750"));
    assert_int_equal(symlinkat("open", t->fd, "link"), 0);
    assert_int_equal(sys_ensure_dir(t->fd, "link", 0755, &fd, &e), -1);
    put_file(t->fd, "file", "");
    assert_int_equal(sys_ensure_dir(t->fd, "file", 0755, &fd, &e), -1);
    assert_int_equal(sys_ensure_dir(t->fd, "none/d", 0755, &fd, &e), -1);
    assert_int_equal(e.errnum, ENOENT);
    assert_int_equal(fd, -7);
    if (geteuid() != 0)
        skip();
    assert_int_equal(fchownat(t->fd, "open", 12345, (gid_t)-1, 0), 0);
    assert_int_equal(sys_ensure_dir(t->fd, "open", 0777, &fd, &e), -1);
    assert_non_null(strstr(e.msg, "12345"));
}

/* ---- processes -------------------------------------------------------------------------------------------------- */

static pid_t start_sleeper(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    return pid;
}

static void test_process_identity(void **state)
{
    (void)state;
    struct sys_process self, same, child;
    assert_int_equal(sys_process_self(&self), 0);
    assert_int_equal(self.pid, getpid());
    assert_int_equal(sys_process_of(getpid(), &same), 0);
    assert_true(self.start == same.start && self.start > 0);
    assert_int_equal(sys_process_of(-1, &child), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(sys_process_of(0, &child), -1);
    assert_int_equal(errno, ESRCH);

    pid_t pid = start_sleeper();
    assert_int_equal(sys_process_of(pid, &child), 0);
    AUTO_CLOSE int fd = sys_process_open(&child);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    struct sys_process other = {.pid = pid, .start = child.start + 1}; /* as if the pid had been reused */
    assert_int_equal(sys_process_open(&other), -1);
    assert_int_equal(errno, ESRCH);

    assert_int_equal(sys_wait_readable(fd, 0), 0);
    uint64_t before = sys_monotonic_ms();
    assert_int_equal(sys_wait_readable(fd, 30), 0);
    assert_true(sys_monotonic_ms() - before >= 29);
    assert_int_equal(sys_pidfd_signal(fd, SIGTERM), 0);
    assert_int_equal(sys_wait_readable(fd, -1), 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(sys_pidfd_signal(fd, SIGTERM), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(sys_process_of(pid, &same), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(sys_process_open(&child), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(sys_wait_readable(-5, 0), 0); /* poll ignores negative descriptors */
    int closed = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    close(closed);
    assert_int_equal(sys_wait_readable(closed, 0), -1);
    assert_int_equal(errno, EBADF);
}

/* A name with spaces and parentheses must not shift the fields. */
static void test_process_with_a_nasty_name(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, ") R 1 (2 3) 4");
        if (write(p[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char c;
    assert_int_equal(read(p[0], &c, 1), 1);
    struct sys_process self, child;
    assert_int_equal(sys_process_self(&self), 0);
    int r = sys_process_of(pid, &child);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(p[0]);
    close(p[1]);
    assert_int_equal(r, 0);
    assert_true(child.start >= self.start && child.start < self.start + 100000);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
    (void)sig;
    alarms++;
}

static void test_pidfd_wait_goes_on_after_signals(void **state)
{
    (void)state;
    pid_t pid = start_sleeper();
    struct sys_process child;
    assert_int_equal(sys_process_of(pid, &child), 0);
    AUTO_CLOSE int fd = sys_process_open(&child);
    const struct sigaction act = {.sa_handler = on_alarm}; /* it stays: the last alarm may come late */
    sigaction(SIGALRM, &act, NULL);
    const struct itimerval every = {.it_interval = {.tv_usec = 5000}, .it_value = {.tv_usec = 5000}};
    setitimer(ITIMER_REAL, &every, NULL);
    uint64_t before = sys_monotonic_ms();
    int r = sys_wait_readable(fd, 100);
    uint64_t took = sys_monotonic_ms() - before;
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(r, 0);
    assert_true(alarms > 0);
    assert_true(took >= 99);
    assert_true(took < 5000);
}

static void test_clocks(void **state)
{
    (void)state;
    uint64_t a = sys_monotonic_ms();
    usleep(5000);
    assert_true(sys_monotonic_ms() >= a + 4);
    int64_t now = sys_realtime_ms() / 1000;
    assert_true(llabs(now - time(NULL)) <= 1);
}

/* ---- sockets and the rest --------------------------------------------------------------------------------------- */

/* A directory whose path alone is longer than a socket address. */
static int long_directory(int dirfd)
{
    AUTO_CLOSE int at = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    for (int i = 0; i < 4; i++) {
        char name[101];
        memset(name, 'a' + i, 100);
        name[100] = '\0';
        assert_int_equal(mkdirat(at, name, 0700), 0);
        int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    return TAKE_FD(at);
}

static void test_unix_sockets(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_CLOSE int dir = long_directory(t->fd);
    mode_t old = umask(0);
    AUTO_CLOSE int listener = sys_unix_listen(dir, "monitor.sock");
    umask(old);
    assert_true(listener >= 0);
    struct stat st;
    assert_int_equal(fstatat(dir, "monitor.sock", &st, 0), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    AUTO_CLOSE int client = sys_unix_connect(dir, "monitor.sock");
    assert_true(client >= 0);
    assert_true(fcntl(client, F_GETFD) & FD_CLOEXEC);
    AUTO_CLOSE int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(server >= 0);
    char buf[3] = "";
    assert_int_equal(write(client, "hi", 2), 2);
    assert_int_equal(read(server, buf, 2), 2);
    assert_string_equal(buf, "hi");
}

static void test_unix_socket_errors(void **state)
{
    const struct tmpdir *t = *state;
    assert_int_equal(sys_unix_connect(t->fd, "none"), -1);
    assert_int_equal(errno, ENOENT);
    int listener = sys_unix_listen(t->fd, "s");
    assert_true(listener >= 0);
    assert_int_equal(sys_unix_listen(t->fd, "s"), -1);
    assert_int_equal(errno, EADDRINUSE);
    close(listener);
    assert_int_equal(sys_unix_connect(t->fd, "s"), -1);
    assert_int_equal(errno, ECONNREFUSED);
    char name[120];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(sys_unix_listen(t->fd, name), -1);
    assert_int_equal(errno, ENAMETOOLONG);
    assert_int_equal(sys_unix_connect(AT_FDCWD, name), -1);
    assert_int_equal(errno, ENAMETOOLONG);
}

static void test_random_hex(void **state)
{
    (void)state;
    char a[33], b[33];
    assert_int_equal(sys_random_hex(a, NULL), 0);
    assert_int_equal(sys_random_hex(b, NULL), 0);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_not_equal(a, b);
}

#define IN_TMPDIR(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)

/* Only for a range of that length, and only that advice; in a child, since it cannot be taken back. */
static void test_deny_huge_pages(void **state)
{
    (void)state;
    const size_t length = (size_t)4 << 20;
    char *p = mmap(NULL, 2 * length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    if (madvise(p, length, MADV_HUGEPAGE) < 0)
        skip(); /* a kernel without them */
    pid_t child = fork();
    if (child == 0) {
        int bad = sys_deny_huge_pages(length) < 0 ? 1 : 0;
        bad |= madvise(p, length, MADV_HUGEPAGE) == 0 || errno != EINVAL ? 2 : 0;
        bad |= madvise(p, 2 * length, MADV_HUGEPAGE) < 0 ? 4 : 0;
        bad |= madvise(p, length, MADV_WILLNEED) < 0 ? 8 : 0;
        _exit(bad);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    munmap(p, 2 * length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_TMPDIR(test_openat2),
        IN_TMPDIR(test_open_parent),
        IN_TMPDIR(test_open_parent_refuses),
        IN_TMPDIR(test_write_file_replaces),
        IN_TMPDIR(test_write_file_mode_whatever_the_umask),
        IN_TMPDIR(test_write_file_over_what_a_crash_left),
        IN_TMPDIR(test_write_file_through_a_path_descriptor),
        IN_TMPDIR(test_write_file_fails_without_a_trace),
        IN_TMPDIR(test_write_file_keeps_the_old_on_failure),
        IN_TMPDIR(test_read_file),
        IN_TMPDIR(test_read_file_refuses),
        IN_TMPDIR(test_ficlone),
        IN_TMPDIR(test_renameat2),
        IN_TMPDIR(test_fsync_dir),
        IN_TMPDIR(test_remove_tree),
        IN_TMPDIR(test_remove_tree_follows_no_links),
        IN_TMPDIR(test_remove_tree_refuses),
        IN_TMPDIR(test_remove_tree_crosses_no_mount),
        IN_TMPDIR(test_ensure_dir),
        IN_TMPDIR(test_ensure_dir_refuses),
        cmocka_unit_test(test_process_identity),
        cmocka_unit_test(test_process_with_a_nasty_name),
        cmocka_unit_test(test_pidfd_wait_goes_on_after_signals),
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_deny_huge_pages),
        IN_TMPDIR(test_unix_sockets),
        IN_TMPDIR(test_unix_socket_errors),
        cmocka_unit_test(test_random_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
