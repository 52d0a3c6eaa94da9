/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who uses a file: other processes do, by descriptors and mappings. */
#include "common.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum use { USE_READ, USE_WRITE, USE_PATH, USE_MAP_READ, USE_MAP_WRITE, USE_MAP_PRIVATE };

static void use(const char *path, enum use how)
{
    static const int flags[] = {O_RDONLY, O_RDWR, O_PATH, O_RDONLY, O_RDWR, O_RDONLY};
    static const int prot[] = {0, 0, 0, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
    int fd = open(path, flags[how]);
    if (fd < 0)
        _exit(1);
    if (prot[how]) {
        int share = how == USE_MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
        if (mmap(NULL, 4096, prot[how], share, fd, 0) == MAP_FAILED)
            _exit(1);
        close(fd);
    }
}

/* A child that ends with us, however we end. */
static pid_t start_child(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

/* A child that uses the file until it is told to end. */
static pid_t start_user(const char *path, enum use how)
{
    int ready[2];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = start_child();
    if (pid == 0) {
        use(path, how);
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(0);
    }
    close(ready[1]);
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void stop_user(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* NULL: nobody */
static char *who_uses(const char *path, bool writers_only)
{
    struct vmundo_error err = {0};
    CLEANUP(stack_clear) struct stack s = {0};
    char *who = NULL;
    assert_ok(stack_resolve(path, &s, &err), &err);
    assert_ok(storage_in_use(&s, writers_only, &who, &err), &err);
    return who;
}

static void expect(const struct tmpdir *t, enum use how, bool is_user, bool is_writer)
{
    AUTO_FREE char *path = path_in(t, "disk.img");
    pid_t pid = start_user(path, how);
    AUTO_FREE char *user = who_uses(path, false);
    AUTO_FREE char *writer = who_uses(path, true);
    stop_user(pid);
    AUTO_FREE char *want = str_printf(NULL, "(pid %d)", pid);
    assert_int_equal(user && strstr(user, want), is_user);
    assert_int_equal(writer && strstr(writer, want), is_writer);
    assert_int_equal(user != NULL, is_user);
    assert_int_equal(writer != NULL, is_writer);
    assert_null(who_uses(path, false));
}

static void test_processes(void **state)
{
    const struct tmpdir *t = *state;
    put_image(t, "disk.img", 1 << 20, "x");
    expect(t, USE_READ, true, false);
    expect(t, USE_WRITE, true, true);
    expect(t, USE_PATH, false, false);
    expect(t, USE_MAP_READ, true, false);
    expect(t, USE_MAP_WRITE, true, true);
    expect(t, USE_MAP_PRIVATE, true, false);
}

/* What we have open ourselves does not count, however it is open. */
static void test_ourselves(void **state)
{
    const struct tmpdir *t = *state;
    put_image(t, "disk.img", 1 << 20, "x");
    AUTO_FREE char *path = path_in(t, "disk.img");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_null(who_uses(path, false));
    assert_null(who_uses(path, true));
    pid_t pid = start_user(path, USE_WRITE); /* but does not hide others */
    AUTO_FREE char *who = who_uses(path, true);
    stop_user(pid);
    assert_non_null(who);
}

/* A descriptor on its way through a socket is nobody's, and yet the file can be written through it. That somebody else
 * is seen who only reads does not explain it. */
static void test_unseen(void **state)
{
    const struct tmpdir *t = *state;
    put_image(t, "disk.img", 1 << 20, "x");
    AUTO_FREE char *path = path_in(t, "disk.img");
    int fd = open(path, O_RDWR | O_CLOEXEC), pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    char c = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &fd, sizeof(fd));
    assert_int_equal(sendmsg(pair[0], &m, 0), 1);
    close(fd);
    AUTO_FREE char *alone = who_uses(path, true);
    pid_t pid = start_user(path, USE_READ);
    AUTO_FREE char *beside = who_uses(path, true);
    stop_user(pid);
    close(pair[0]);
    close(pair[1]);
    assert_non_null(alone);
    assert_non_null(strstr(alone, "cannot be seen"));
    assert_non_null(beside);
    assert_null(who_uses(path, true));
}

/* No lease of ours stays behind to make others wait, and none that somebody breaks ends us. */
static void test_lease_is_given_back(void **state)
{
    const struct tmpdir *t = *state;
    put_image(t, "disk.img", 1 << 20, "x");
    AUTO_FREE char *path = path_in(t, "disk.img");
    pid_t pid = start_child();
    if (pid == 0) {
        for (;;) {
            int fd = open(path, O_RDWR);
            if (fd >= 0)
                close(fd);
        }
    }
    uint64_t end = sys_monotonic_ms() + 1000;
    for (int i = 0; i < 10 || sys_monotonic_ms() < end; i++)
        free(who_uses(path, i % 2));
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    stop_user(pid);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
}

/* A path that is in use says so of its own file only. */
static void test_other_file(void **state)
{
    const struct tmpdir *t = *state;
    put_image(t, "disk.img", 1 << 20, "x");
    put_image(t, "disk.img2", 1 << 20, "x");
    AUTO_FREE char *path = path_in(t, "disk.img");
    AUTO_FREE char *other = path_in(t, "disk.img2");
    pid_t pid = start_user(other, USE_WRITE);
    char *who = who_uses(path, false);
    stop_user(pid);
    assert_null(who);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_processes, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_ourselves, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_unseen, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_lease_is_given_back, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_other_file, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
