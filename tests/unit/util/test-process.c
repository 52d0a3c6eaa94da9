/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes: what a child really gets, how its end is told, and that nothing can make the caller hang. */
#include "tmpdir.h"
#include "util/process.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SH(script) ARGV("sh", "-c", script)

static char *run_ok(const char *const *argv)
{
    char *out = NULL;
    struct vmundo_error e;
    if (process_run(argv, 0, &out, &e) < 0)
        fail_msg("%s", e.msg);
    return out;
}

static struct vmundo_error run_bad(const char *const *argv)
{
    char *out = (char *)1;
    struct vmundo_error e = {0};
    assert_int_equal(process_run(argv, 0, &out, &e), -1);
    assert_ptr_equal(out, (char *)1);
    assert_int_equal(e.code, VMUNDO_FAILED);
    return e;
}

static int wait_for(pid_t pid)
{
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* ---- process_run ------------------------------------------------------------------------------------------------ */

static void test_run_returns_output(void **state)
{
    (void)state;
    AUTO_FREE char *out = run_ok(ARGV("printf", "%s|%s\n", "a b", "$HOME;`id`"));
    assert_string_equal(out, "a b|$HOME;`id`\n");
    AUTO_FREE char *none = run_ok(ARGV("true"));
    assert_string_equal(none, "");
    assert_int_equal(process_run(ARGV("echo", "unwanted"), 0, NULL, NULL), 0);
}

static void test_run_reports_failures(void **state)
{
    (void)state;
    struct vmundo_error e = run_bad(SH("echo one >&2; echo two >&2; echo >&2; exit 3"));
    assert_string_equal(e.msg, "sh: two (exit status 3)");
    e = run_bad(SH("printf 'sh: doubled' >&2; exit 1"));
    assert_string_equal(e.msg, "sh: doubled (exit status 1)");
    e = run_bad(SH("printf '\\033[31mred\\377\\n' >&2; exit 1"));
    assert_string_equal(e.msg, "sh: \\x1b[31mred\\xff (exit status 1)");
    e = run_bad(ARGV("/bin/false"));
    assert_string_equal(e.msg, "false: failed without a message (exit status 1)");
    e = run_bad(SH("kill -9 $$"));
    assert_string_equal(e.msg, "sh: failed without a message (killed by signal 9, Killed)");
    assert_int_equal(process_run(ARGV("false"), 0, NULL, NULL), -1);
}

static void test_run_without_the_program(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error e = run_bad(ARGV("vmundo-no-such-program"));
    assert_int_equal(e.errnum, ENOENT);
    assert_non_null(strstr(e.msg, "vmundo-no-such-program: not found in PATH"));
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload"))
        skip(); /* valgrind makes a fork of a vfork, and then posix_spawn cannot tell that exec failed */
    e = run_bad(ARGV("/nowhere/prog"));
    assert_int_equal(e.errnum, ENOENT);
    AUTO_FREE char *path = str_printf(NULL, "%s/script", t->path);
    put_file(t->fd, "script", "echo not a program\n");
    e = run_bad(ARGV(path));
    assert_int_equal(e.errnum, EACCES);
    assert_int_equal(fchmodat(t->fd, "script", 0755, 0), 0);
    e = run_bad(ARGV(path)); /* no #! line: it must not come to a shell */
    assert_int_equal(e.errnum, ENOEXEC);
    put_file(t->fd, "script", "#!/nowhere/interpreter\n");
    e = run_bad(ARGV(path));
    assert_int_equal(e.errnum, ENOENT);
    e = run_bad(ARGV(t->path));
    assert_int_equal(e.errnum, EACCES);
    assert_int_equal(waitpid(-1, NULL, 0), -1); /* and no child is left */
    assert_int_equal(errno, ECHILD);
}

/* Both pipes much fuller than a pipe can be, in an order that blocks whoever reads them one after the other. */
static void test_run_drains_both_pipes(void **state)
{
    (void)state;
    AUTO_FREE char *out =
        run_ok(SH("head -c 300000 /dev/zero | tr '\\0' e >&2; head -c 300000 /dev/zero | tr '\\0' o"));
    assert_int_equal(strlen(out), 300000);
    assert_int_equal(strspn(out, "o"), 300000);
    struct vmundo_error e =
        run_bad(SH("head -c 300000 /dev/zero | tr '\\0' e >&2; echo >&2; echo the end >&2; exit 1"));
    assert_string_equal(e.msg, "sh: the end (exit status 1)");
    e = run_bad(SH("head -c 300000 /dev/zero | tr '\\0' e >&2; exit 1"));
    assert_true(str_has_prefix(e.msg, "sh: eeeeeeee"));
    assert_true(str_has_suffix(e.msg, "e (exit status 1)"));
}

static void test_run_limits_output(void **state)
{
    (void)state;
    AUTO_FREE char *out = run_ok(SH("head -c 16777216 /dev/zero | tr '\\0' x"));
    assert_int_equal(strlen(out), 16777216);
    struct vmundo_error e = run_bad(ARGV("head", "-c", "16777217", "/dev/zero"));
    assert_int_equal(e.errnum, EFBIG);
    assert_int_equal(process_run(ARGV("head", "-c", "20000000", "/dev/zero"), 0, NULL, NULL), 0);
}

static void test_run_does_not_wait_for_grandchildren(void **state)
{
    (void)state;
    uint64_t before = sys_monotonic_ms();
    AUTO_FREE char *out = run_ok(SH("sleep 20 & echo $!"));
    assert_true(sys_monotonic_ms() - before < 10000);
    pid_t sleeper = (pid_t)strtol(out, NULL, 10);
    assert_true(sleeper > 1);
    assert_int_equal(kill(sleeper, SIGKILL), 0);
}

static void test_run_times_out_gently(void **state)
{
    (void)state;
    struct vmundo_error e;
    assert_int_equal(process_run(SH("exec sleep 20"), 50, NULL, &e), -1);
    assert_int_equal(e.errnum, ETIMEDOUT);
    assert_string_equal(e.msg, "sh: did not end within 50 ms and was told to stop");
    /* Who finishes on SIGTERM has finished; and one that never stops talking is timed out too. */
    AUTO_FREE char *out = NULL;
    const char *const *finisher = SH("trap 'echo finished; exit 0' TERM; while :; do sleep 0.01; done");
    assert_int_equal(process_run(finisher, 300, &out, &e), 0);
    assert_string_equal(out, "finished\n");
    assert_int_equal(process_run(ARGV("yes"), 50, NULL, &e), -1);
    assert_int_equal(e.errnum, ETIMEDOUT);
    assert_int_equal(process_run(ARGV("true"), 20000, NULL, &e), 0);
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void test_run_goes_on_after_signals(void **state)
{
    (void)state;
    const struct sigaction act = {.sa_handler = on_alarm}; /* it stays: the last alarm may come late */
    sigaction(SIGALRM, &act, NULL);
    const struct itimerval every = {.it_interval = {.tv_usec = 3000}, .it_value = {.tv_usec = 3000}};
    setitimer(ITIMER_REAL, &every, NULL);
    char *out = NULL;
    struct vmundo_error e = {0};
    int r = process_run(SH("sleep 0.1; echo ok"), 20000, &out, &e);
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    AUTO_FREE char *owned = r == 0 ? out : NULL;
    assert_string_equal(e.msg, "");
    assert_string_equal(owned, "ok\n");
}

static void test_run_leaves_no_descriptor_and_no_child(void **state)
{
    (void)state;
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(before);
    for (int i = 0; i < 5; i++) {
        process_run(ARGV("true"), 0, NULL, NULL);
        process_run(ARGV("false"), 100, NULL, NULL);
        process_run(ARGV("vmundo-no-such-program"), 0, NULL, NULL);
    }
    int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(after);
    assert_int_equal(before, after);
    assert_int_equal(waitpid(-1, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
}

/* ---- process_run_lines ------------------------------------------------------------------------------------------ */

static void collect(void *data, const char *line)
{
    assert_int_equal(strv_add(data, line, NULL), 0);
}

static void test_lines(void **state)
{
    (void)state;
    AUTO_STRV struct strv v = {0};
    const char *const *argv = SH("printf '(1/100)\\r(50/100)\\r\\n\\nlast '; sleep 0.05; printf 'line'");
    assert_int_equal(process_run_lines(argv, collect, &v, NULL), 0);
    assert_int_equal(v.n, 3);
    assert_string_equal(v.items[0], "(1/100)");
    assert_string_equal(v.items[1], "(50/100)");
    assert_string_equal(v.items[2], "last line");
}

static void test_lines_of_a_failing_program(void **state)
{
    (void)state;
    AUTO_STRV struct strv v = {0};
    struct vmundo_error e;
    assert_int_equal(process_run_lines(SH("echo begun; echo why >&2; exit 4"), collect, &v, &e), -1);
    assert_string_equal(e.msg, "sh: why (exit status 4)");
    assert_int_equal(v.n, 1);
}

static void test_endless_line_comes_in_pieces(void **state)
{
    (void)state;
    AUTO_STRV struct strv v = {0};
    assert_int_equal(process_run_lines(SH("head -c 200000 /dev/zero | tr '\\0' x"), collect, &v, NULL), 0);
    assert_int_equal(v.n, 4);
    size_t total = 0;
    for (size_t i = 0; i < v.n; i++)
        total += strlen(v.items[i]);
    assert_int_equal(total, 200000);
}

static void note_time(void *data, const char *line)
{
    if (str_eq(line, "early"))
        *(uint64_t *)data = sys_monotonic_ms();
}

static void test_lines_come_at_once(void **state)
{
    (void)state;
    uint64_t early = 0;
    assert_int_equal(process_run_lines(SH("echo early; sleep 0.3; echo late"), note_time, &early, NULL), 0);
    assert_true(sys_monotonic_ms() - early >= 250);
}

/* ---- what a child gets ------------------------------------------------------------------------------------------ */

static void test_environment_is_minimal(void **state)
{
    (void)state;
    static const char *const set[] = {"VMUNDO_TEST", "LVM_SYSTEM_DIR", "DM_DISABLE_UDEV", "TMPDIR",
                                      "LANG",        "LC_MESSAGES",    "LD_LIBRARY_PATH", "IFS"};
    for (size_t i = 0; i < ARRAY_SIZE(set); i++)
        setenv(set[i], "/tmp", 1);
    AUTO_FREE char *out = run_ok(ARGV("env"));
    for (size_t i = 0; i < ARRAY_SIZE(set); i++)
        unsetenv(set[i]);
    for (size_t i = 0; i < ARRAY_SIZE(set); i++)
        assert_int_equal(strstr(out, set[i]) != NULL, i < 4);
    assert_non_null(strstr(out, "LC_ALL=C\n"));
    assert_non_null(strstr(out, "PATH=/"));
}

static void test_environment_additions_win(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_CLOSE int out = openat(t->fd, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    setenv("VMUNDO_TEST", "inherited", 1);
    struct process_options o = PROCESS_OPTIONS_INIT;
    o.out = out;
    o.env = ARGV("VMUNDO_TEST=given", "LC_ALL=C.UTF-8", "VMUNDO_TEST2=x");
    pid_t pid;
    int r = process_spawn(SH("env | grep -e VMUNDO_TEST -e LC_ALL | sort"), &o, &pid, NULL);
    unsetenv("VMUNDO_TEST");
    assert_int_equal(r, 0);
    assert_int_equal(wait_for(pid), 0);
    assert_file(t->fd, "out", "LC_ALL=C.UTF-8\nVMUNDO_TEST2=x\nVMUNDO_TEST=given\n");
}

static void test_path_is_searched_safely(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_FREE char *old = strdup(getenv("PATH"));
    put_file(t->fd, "vmundo-tool", "#!/bin/sh\necho found\n");
    assert_false(process_have("vmundo-tool"));
    AUTO_FREE char *path = str_printf(NULL, "relative::/none:%s", t->path);
    setenv("PATH", path, 1);
    assert_false(process_have("vmundo-tool")); /* not executable */
    assert_int_equal(fchmodat(t->fd, "vmundo-tool", 0755, 0), 0);
    assert_true(process_have("vmundo-tool"));
    AUTO_FREE char *out = NULL;
    int r = process_run(ARGV("vmundo-tool"), 0, &out, NULL);
    AUTO_FREE char *cwd = getcwd(NULL, 0);
    assert_int_equal(chdir(t->path), 0);
    setenv("PATH", ".::", 1);
    bool relative = process_have("vmundo-tool"); /* the child's directory is another one */
    unsetenv("PATH");
    bool have_sh = process_have("sh");
    setenv("PATH", old, 1);
    assert_int_equal(chdir(cwd), 0);
    assert_int_equal(r, 0);
    assert_string_equal(out, "found\n");
    assert_false(relative);
    assert_true(have_sh);
    assert_true(process_have("/bin/sh"));
    assert_false(process_have("/bin"));
    assert_false(process_have("/nowhere/sh"));
}

/* Which of descriptors 0 to 60 are open, and what 0 to 2 are. */
#define LIST_FDS                                                                                                       \
    "for f in 0 1 2; do readlink /proc/$$/fd/$f; done;"                                                                \
    "i=3; while [ $i -lt 60 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done; true"

static void test_descriptors_are_only_those_named(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_CLOSE int leak = open("/dev/zero", O_RDONLY); /* not close-on-exec, on purpose */
    int leak2 = fcntl(leak, F_DUPFD, 50);
    assert_true(leak >= 0 && leak2 >= 50);
    AUTO_CLOSE int out = openat(t->fd, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const struct process_fd fds[] = {{.fd = leak, .as = 20}, {.fd = leak, .as = 5}};
    struct process_options o = {.in = -1, .out = -1, .errout = out, .fds = fds, .n_fds = 2};
    pid_t pid;
    int r = process_spawn(SH("{ " LIST_FDS "; } >&2"), &o, &pid, NULL);
    close(leak2);
    assert_int_equal(r, 0);
    assert_int_equal(wait_for(pid), 0);
    char buf[256] = "";
    assert_true(pread(out, buf, sizeof(buf) - 1, 0) > 0);
    assert_true(str_has_prefix(buf, "/dev/null\n"));
    assert_non_null(strstr(buf, "/out\n"));
    assert_true(str_has_suffix(buf, "/out\n5\n20\n") || str_has_suffix(buf, "/out\n5\n10\n20\n"));
}

/* Descriptors that change places: the source of each is the target of the other. */
static void test_descriptors_may_overlap(void **state)
{
    const struct tmpdir *t = *state;
    put_file(t->fd, "A", "A");
    put_file(t->fd, "B", "B");
    AUTO_CLOSE int a = openat(t->fd, "A", O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int b = openat(t->fd, "B", O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int out = openat(t->fd, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const struct process_fd fds[] = {{.fd = a, .as = b}, {.fd = b, .as = a}, {.fd = out, .as = out}};
    struct process_options o = {.in = a, .out = out, .errout = -1, .fds = fds, .n_fds = 3};
    AUTO_FREE char *script = str_printf(
        NULL, "readlink /proc/$$/fd/0; readlink /proc/$$/fd/%d; readlink /proc/$$/fd/%d; echo x >&%d", a, b, out);
    pid_t pid;
    assert_int_equal(process_spawn(SH(script), &o, &pid, NULL), 0);
    assert_int_equal(wait_for(pid), 0);
    AUTO_FREE char *expected = str_printf(NULL, "%s/A\n%s/B\n%s/A\nx\n", t->path, t->path, t->path);
    assert_file(t->fd, "out", expected);
    assert_true(fcntl(a, F_GETFD) & FD_CLOEXEC); /* ours are as they were */
}

/* Targets that are free in this process, where copies on the way might well come to lie. */
static void test_descriptors_may_go_to_free_numbers(void **state)
{
    const struct tmpdir *t = *state;
    put_file(t->fd, "A", "A");
    put_file(t->fd, "B", "B");
    AUTO_CLOSE int a = openat(t->fd, "A", O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int b = openat(t->fd, "B", O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int out = openat(t->fd, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int n = fcntl(out, F_DUPFD_CLOEXEC, 3);
    close(n);
    const struct process_fd fds[] = {{.fd = a, .as = n + 2}, {.fd = b, .as = n}};
    struct process_options o = {.in = -1, .out = out, .errout = -1, .fds = fds, .n_fds = 2};
    AUTO_FREE char *script = str_printf(NULL, "cat /proc/$$/fd/%d /proc/$$/fd/%d", n, n + 2);
    pid_t pid;
    assert_int_equal(process_spawn(SH(script), &o, &pid, NULL), 0);
    assert_int_equal(wait_for(pid), 0);
    assert_file(t->fd, "out", "BA");
}

/* Our own 0, 1 and 2 in any order, as a console client that lends its terminal does. */
static void test_standard_descriptors_may_be_swapped(void **state)
{
    const struct tmpdir *t = *state;
    put_file(t->fd, "in", "hello");
    int saved[3];
    for (int i = 0; i < 3; i++)
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
    AUTO_CLOSE int in = openat(t->fd, "in", O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int out = openat(t->fd, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    fflush(NULL);
    dup2(in, 2);
    dup2(out, 0);
    struct process_options o = {.in = 2, .out = 0, .errout = 0};
    pid_t pid;
    int r = process_spawn(ARGV("cat"), &o, &pid, NULL);
    for (int i = 0; i < 3; i++) {
        dup2(saved[i], i);
        close(saved[i]);
    }
    assert_int_equal(r, 0);
    assert_int_equal(wait_for(pid), 0);
    assert_file(t->fd, "out", "hello");
}

static void test_bad_descriptors_are_refused(void **state)
{
    (void)state;
    int closed = fcntl(0, F_DUPFD_CLOEXEC, 100);
    close(closed);
    const struct process_fd fds[] = {{.fd = closed, .as = 3}}, negative[] = {{.fd = 0, .as = -3}};
    struct process_options o = PROCESS_OPTIONS_INIT;
    struct vmundo_error e;
    pid_t pid = -7;
    o.fds = fds;
    o.n_fds = 1;
    assert_int_equal(process_spawn(ARGV("true"), &o, &pid, &e), -1);
    assert_int_equal(e.errnum, EBADF);
    o.fds = negative;
    assert_int_equal(process_spawn(ARGV("true"), &o, &pid, &e), -1);
    assert_int_equal(e.errnum, EBADF);
    o = (struct process_options){.in = closed, .out = -1, .errout = -1};
    assert_int_equal(process_spawn(ARGV("true"), &o, &pid, &e), -1);
    assert_int_equal(e.errnum, EBADF);
    assert_int_equal(pid, -7);
}

static void test_signals_are_reset(void **state)
{
    (void)state;
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    signal(SIGPIPE, SIG_IGN);
    char *out = NULL;
    int r = process_run(ARGV("grep", "^Sig[BI]", "/proc/self/status"), 0, &out, NULL);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &old, NULL);
    AUTO_FREE char *owned = r == 0 ? out : NULL;
    assert_int_equal(r, 0);
    assert_non_null(strstr(owned, "SigBlk:\t0000000000000000\n"));
    const char *ignored = strstr(owned, "SigIgn:\t");
    assert_non_null(ignored);
    assert_int_equal(strtoull(ignored + 8, NULL, 16) & (1u << (SIGPIPE - 1)), 0);
}

static char *pwd_of_child(struct process_options o, int out)
{
    pid_t pid;
    o.out = out;
    assert_int_equal(ftruncate(out, 0), 0);
    assert_int_equal(lseek(out, 0, SEEK_SET), 0);
    assert_int_equal(process_spawn(ARGV("readlink", "/proc/self/cwd"), &o, &pid, NULL), 0);
    assert_int_equal(wait_for(pid), 0);
    char buf[256] = "";
    assert_true(pread(out, buf, sizeof(buf) - 1, 0) > 0);
    buf[strcspn(buf, "\n")] = '\0';
    return strdup(buf);
}

static void test_working_directory(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_CLOSE int out = openat(t->fd, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct process_options o = PROCESS_OPTIONS_INIT;
    AUTO_FREE char *root = pwd_of_child(o, out);
    assert_string_equal(root, "/");
    o.cwd_fd = t->fd;
    AUTO_FREE char *by_fd = pwd_of_child(o, out);
    assert_string_equal(by_fd, t->path);
    o.cwd = "/usr";
    AUTO_FREE char *by_path = pwd_of_child(o, out);
    assert_string_equal(by_path, "/usr");
}

static void test_new_session(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_CLOSE int out = openat(t->fd, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (int on = 0; on < 2; on++) {
        struct process_options o = {.in = -1, .out = out, .errout = -1, .new_session = on};
        pid_t pid;
        assert_int_equal(process_spawn(ARGV("sleep", "20"), &o, &pid, NULL), 0);
        pid_t session = getsid(pid);
        kill(pid, SIGKILL);
        assert_int_equal(wait_for(pid), -SIGKILL);
        assert_int_equal(session, on ? pid : getsid(0));
    }
}

/* ---- the recorder ----------------------------------------------------------------------------------------------- */

struct record {
    struct strv seen;
    bool real;
    const char *reply;
};

static bool record(void *data, const char *const *argv, char **ret_reply)
{
    struct record *r = data;
    AUTO_FREE char *line = strdup(argv[0]);
    for (size_t i = 1; argv[i]; i++) {
        char *longer = str_printf(NULL, "%s %s", line, argv[i]);
        free(line);
        line = longer;
    }
    assert_int_equal(strv_add(&r->seen, line, NULL), 0);
    if (r->reply)
        *ret_reply = strdup(r->reply);
    return r->real;
}

static void test_recorder_answers(void **state)
{
    (void)state;
    struct record r = {.reply = "one\ntwo\n"};
    process_set_recorder(record, &r);
    AUTO_FREE char *out = NULL, *empty = NULL;
    AUTO_STRV struct strv lines = {0};
    pid_t pid = -7;
    struct vmundo_error e;
    struct process_options o = PROCESS_OPTIONS_INIT;
    int run = process_run(ARGV("lvcreate", "-s", "vg/lv"), 0, &out, NULL);
    int by_line = process_run_lines(ARGV("qemu-img"), collect, &lines, NULL);
    int spawn = process_spawn(ARGV("qemu"), &o, &pid, &e);
    r.reply = NULL;
    int silent = process_run(ARGV("true"), 0, &empty, NULL);
    r.real = true;
    int real = process_run(ARGV("false"), 0, NULL, NULL);
    process_set_recorder(NULL, NULL);
    assert_int_equal(process_run(ARGV("false"), 0, NULL, NULL), -1);

    assert_int_equal(run, 0);
    assert_string_equal(out, "one\ntwo\n");
    assert_int_equal(by_line, 0);
    assert_int_equal(lines.n, 2);
    assert_string_equal(lines.items[1], "two");
    assert_int_equal(spawn, -1);
    assert_int_equal(e.errnum, ECANCELED);
    assert_int_equal(pid, -7);
    assert_int_equal(silent, 0);
    assert_string_equal(empty, "");
    assert_int_equal(real, -1);
    assert_int_equal(r.seen.n, 5);
    assert_string_equal(r.seen.items[0], "lvcreate -s vg/lv");
    strv_clear(&r.seen);
}

#define IN_TMPDIR(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_returns_output),
        cmocka_unit_test(test_run_reports_failures),
        IN_TMPDIR(test_run_without_the_program),
        cmocka_unit_test(test_run_drains_both_pipes),
        cmocka_unit_test(test_run_limits_output),
        cmocka_unit_test(test_run_does_not_wait_for_grandchildren),
        cmocka_unit_test(test_run_times_out_gently),
        cmocka_unit_test(test_run_goes_on_after_signals),
        cmocka_unit_test(test_run_leaves_no_descriptor_and_no_child),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lines_of_a_failing_program),
        cmocka_unit_test(test_endless_line_comes_in_pieces),
        cmocka_unit_test(test_lines_come_at_once),
        cmocka_unit_test(test_environment_is_minimal),
        IN_TMPDIR(test_environment_additions_win),
        IN_TMPDIR(test_path_is_searched_safely),
        IN_TMPDIR(test_descriptors_are_only_those_named),
        IN_TMPDIR(test_descriptors_may_overlap),
        IN_TMPDIR(test_descriptors_may_go_to_free_numbers),
        IN_TMPDIR(test_standard_descriptors_may_be_swapped),
        cmocka_unit_test(test_bad_descriptors_are_refused),
        cmocka_unit_test(test_signals_are_reset),
        IN_TMPDIR(test_working_directory),
        IN_TMPDIR(test_new_session),
        cmocka_unit_test(test_recorder_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
