/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening what others may have changed. Links of others need root to make; the rest is tried by everybody. */
#include "tmpdir.h"

#include "util/path.h"

#define OTHER 65534u

static char *in(const struct tmpdir *t, const char *name)
{
    char *path = str_printf(NULL, "%s/%s", t->path, name);
    assert_non_null(path);
    return path;
}

static void put(const struct tmpdir *t, const char *name, uid_t owner)
{
    AUTO_CLOSE int fd = openat(t->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, name, strlen(name)), strlen(name));
    if (owner != geteuid())
        assert_int_equal(fchown(fd, owner, owner), 0);
}

static void put_link(const struct tmpdir *t, const char *to, const char *name, uid_t owner)
{
    assert_int_equal(symlinkat(to, t->fd, name), 0);
    if (owner != geteuid())
        assert_int_equal(fchownat(t->fd, name, owner, owner, AT_SYMLINK_NOFOLLOW), 0);
}

/* part NULL: it opens the file of that name */
static void opens(const struct tmpdir *t, const char *name, const char *file, const char *part)
{
    AUTO_FREE char *path = in(t, name);
    AUTO_CLOSE int fd = -1;
    struct vmundo_error err = {0};
    struct stat a, b;
    int r = path_open(path, &fd, &err);
    if (part && (r == 0 || !strstr(err.msg, part)))
        fail_msg("%s: %s instead of %s", name, r == 0 ? "opened" : err.msg, part);
    if (part)
        return;
    if (r < 0)
        fail_msg("%s: %s", name, err.msg);
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(fstatat(t->fd, file, &b, 0), 0);
    assert_true(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    AUTO_CLOSE int again = path_reopen(fd, O_RDONLY);
    assert_true(again >= 0 || S_ISDIR(a.st_mode));
}

static void test_ours(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_FREE char *absolute = in(t, "file"), *long_name = calloc(1, 400);
    put(t, "file", geteuid());
    assert_int_equal(mkdirat(t->fd, "dir", 0700), 0);
    put_link(t, "../file", "dir/up", geteuid());
    put_link(t, absolute, "absolute", geteuid());
    put_link(t, "dir/up", "twice", geteuid());
    put_link(t, "loop", "loop", geteuid());
    put_link(t, "/proc/self/fd/0", "magic", geteuid());
    opens(t, "file", "file", NULL);
    opens(t, "./dir/..//file", "file", NULL);
    opens(t, "dir/up", "file", NULL);
    opens(t, "absolute", "file", NULL);
    opens(t, "twice", "file", NULL);
    opens(t, "gone", NULL, "No such file");
    opens(t, "file/x", NULL, "Not a directory");
    opens(t, "loop", NULL, "symbolic links");
    opens(t, "magic", NULL, "through /proc");
    memset(long_name, 'a', 300);
    opens(t, long_name, NULL, "too long");
    struct vmundo_error err = {0};
    int fd;
    assert_int_equal(path_open("relative", &fd, &err), -1);
}

static void test_theirs(void **state)
{
    const struct tmpdir *t = *state;
    if (geteuid() != 0)
        skip();
    put(t, "ours", 0);
    put(t, "theirs", OTHER);
    put_link(t, "ours", "steal", OTHER);
    put_link(t, "theirs", "fine", OTHER);
    put_link(t, "theirs", "other", OTHER - 1);
    put_link(t, "steal", "chain", 0);
    put_link(t, "fine", "mixed", OTHER - 1);
    put_link(t, ".", "here", OTHER);
    opens(t, "theirs", "theirs", NULL);
    opens(t, "fine", "theirs", NULL);
    opens(t, "here/theirs", "theirs", NULL);
    opens(t, "steal", NULL, "a link of user 65534 to a file of user 0");
    opens(t, "chain", NULL, "a link of user 65534");
    opens(t, "here/ours", NULL, "a link of user 65534");
    opens(t, "other", NULL, "a link of user 65533");
    opens(t, "mixed", NULL, "links of users");
    assert_int_equal(setenv("SUDO_UID", "65534", 1), 0);
    opens(t, "steal", "ours", NULL);
    assert_int_equal(setenv("SUDO_UID", "65534x", 1), 0);
    opens(t, "steal", NULL, "a link of user 65534");
    assert_int_equal(unsetenv("SUDO_UID"), 0);
}

static void test_private(void **state)
{
    const struct tmpdir *t = *state;
    assert_int_equal(mkdirat(t->fd, ".vmundo", 0700), 0);
    put(t, ".vmundo/branch", geteuid());
    opens(t, ".vmundo/branch", ".vmundo/branch", NULL);
    assert_int_equal(fchmodat(t->fd, ".vmundo", 0750, 0), 0);
    opens(t, ".vmundo/branch", NULL, "mode 0700");
    if (geteuid() != 0)
        return;
    assert_int_equal(fchmodat(t->fd, ".vmundo", 0700, 0), 0);
    assert_int_equal(fchownat(t->fd, ".vmundo", OTHER, OTHER, 0), 0);
    opens(t, ".vmundo/branch", NULL, "not a directory of user 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ours, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_theirs, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_private, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
