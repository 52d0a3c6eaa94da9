/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fingerprints of files. Devices need root: tests/integration/storage. */
#include "common.h"

#include <sys/mman.h>

static void differs(const char *path, const char *then, const char *part)
{
    struct vmundo_error err = {0};
    AUTO_FREE char *what = NULL;
    bool changed = !part;
    assert_ok(fingerprint_compare(path, then, &changed, &what, &err), &err);
    assert_int_equal(changed, part != NULL);
    if (part && !strstr(what, part))
        fail_msg("\"%s\" instead of \"…%s…\"", what, part);
    if (!part)
        assert_null(what);
}

static void test_file(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error err = {0};
    AUTO_FREE char *path = path_in(t, "disk.img");
    AUTO_FREE char *then = NULL;
    AUTO_FREE char *again = NULL;
    put_file(t->fd, "disk.img", "old");
    assert_ok(fingerprint_take(path, &then, &err), &err);
    assert_ok(fingerprint_take(path, &again, &err), &err);
    assert_string_equal(then, again);
    differs(path, then, NULL);
    /* neither reading nor a new mode nor another name is a change of content */
    assert_file(t->fd, "disk.img", "old");
    assert_int_equal(fchmodat(t->fd, "disk.img", 0600, 0), 0);
    assert_int_equal(linkat(t->fd, "disk.img", t->fd, "other", 0), 0);
    differs(path, then, NULL);

    const struct timespec times[] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000, .tv_nsec = 1}};
    assert_int_equal(utimensat(t->fd, "disk.img", times, 0), 0);
    differs(path, then, "it was written to at 2023-11-1");
    assert_int_equal(truncate(path, 4096), 0);
    differs(path, then, "its size was 3 bytes and is 4096 now");
    put_file(t->fd, "new", "old");
    assert_int_equal(renameat(t->fd, "new", t->fd, "disk.img"), 0);
    differs(path, then, "another file has taken its place");
    assert_int_equal(unlinkat(t->fd, "disk.img", 0), 0);
    differs(path, then, "it is gone");
    differs(path, "device size=1 boot=x seq=1 written=1 samples=0", "it is gone");
}

/* Where the file system takes any time (tmpfs, btrfs), a file can have one that no calendar has. */
static void test_huge_time(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    AUTO_CLOSE int fd = memfd_create("disk", MFD_CLOEXEC);
    const struct timespec times[] = {{.tv_sec = INT64_MAX}, {.tv_sec = INT64_MAX}};
    AUTO_FREE char *then = NULL, *what = NULL;
    bool changed = false;
    assert_true(fd >= 0);
    assert_ok(fingerprint_take_fd(fd, &then, &err), &err);
    assert_int_equal(futimens(fd, times), 0);
    assert_ok(fingerprint_compare_fd(fd, then, &changed, &what, &err), &err);
    assert_true(changed);
    assert_non_null(strstr(what, "it was written to at second 9223372036854775807"));
}

/* The inode of a deleted file is often given to the next one. */
static void test_same_inode(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error err = {0};
    AUTO_FREE char *path = path_in(t, "disk.img");
    const struct timespec times[] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
    AUTO_FREE char *then = NULL;
    for (int i = 0; i < 2; i++) {
        put_file(t->fd, "disk.img", "old");
        assert_int_equal(utimensat(t->fd, "disk.img", times, 0), 0);
        if (i == 0)
            assert_ok(fingerprint_take(path, &then, &err), &err);
        else
            differs(path, then, "another file has taken its place");
        assert_int_equal(unlinkat(t->fd, "disk.img", 0), 0);
    }
}

static void test_unreadable(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_FREE char *path = path_in(t, "disk.img");
    AUTO_FREE char *what = NULL;
    put_file(t->fd, "disk.img", "old");
    bool changed;
    static const char *const bad[] = {"", "file", "files ino=1", "FILE ino=1"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vmundo_error err = {0};
        assert_failed(fingerprint_compare(path, bad[i], &changed, &what, &err), &err, VMUNDO_FAILED, "nobody can read");
    }
    differs(path, "file ino=1", "another file");
    differs(path, "device size=4096", "it was a device and is a file now");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_huge_time),
        cmocka_unit_test_setup_teardown(test_same_inode, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
