/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test_saved.c: the file that holds a saved guest: every way in which it can be damaged must be noticed. */
#include "../util/tmpdir.h"

#include "hyper/qemu-saved.h"

#include <fcntl.h>

#define STREAM_SIZE 10001 /* no whole number of words */

static char *write_one(const struct tmpdir *t, bool finish)
{
    AUTO_SAVED struct saved s = {.has_ram = true};
    struct vmundo_error err = {0};
    char stream[STREAM_SIZE];
    AUTO_CLOSE int fd = openat(t->fd, "saved", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    memset(stream, 'x', sizeof(stream));
    assert_int_equal(str_copy("7.2.22", &s.qemu, &err), 0);
    assert_int_equal(strv_add(&s.machine, "-m 256", &err), 0);
    assert_int_equal(strv_add(&s.machine, "-device \"e1000\"", &err), 0);
    assert_int_equal(saved_begin(fd, &s, &err), 0);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), s.stream);
    assert_int_equal(write(fd, stream, sizeof(stream)), sizeof(stream));
    if (finish)
        assert_int_equal(saved_finish(fd, &s, &err), 0);
    return str_printf(NULL, "%s/saved", t->path);
}

static void assert_refused(const char *path, const char *why)
{
    AUTO_SAVED struct saved s = {0};
    struct vmundo_error err = {0};
    int fd = -7;
    assert_int_equal(saved_open(path, &fd, &s, &err), -1);
    assert_int_equal(fd, -7);
    assert_int_equal(err.code, VMUNDO_FAILED);
    if (!strstr(err.msg, why))
        fail_msg("\"%s\" is not in: %s", why, err.msg);
}

static void test_round_trip(void **state)
{
    AUTO_FREE char *path = write_one(*state, true);
    AUTO_SAVED struct saved s = {0};
    AUTO_STRV struct strv machine = {0};
    struct vmundo_error err = {0};
    AUTO_CLOSE int fd = -1;
    char c = 0;
    assert_int_equal(saved_open(path, &fd, &s, &err), 0);
    assert_string_equal(s.qemu, "7.2.22");
    assert_true(s.has_ram);
    assert_int_equal(s.size, s.stream + STREAM_SIZE);
    assert_int_equal(read(fd, &c, 1), 1);
    assert_int_equal(c, 'x');
    assert_int_equal(strv_add(&machine, "-m 256", &err), 0);
    assert_int_equal(saved_check(&s, NULL, &machine, false, &err), -1); /* a device is missing */
    assert_int_equal(strv_add(&machine, "-device \"e1000\"", &err), 0);
    assert_int_equal(saved_check(&s, NULL, &machine, false, &err), 0);
    assert_int_equal(strv_add(&machine, "-device more", &err), 0);
    assert_int_equal(saved_check(&s, NULL, &machine, false, &err), -1);
    assert_int_equal(err.code, VMUNDO_CONFLICT);
    assert_non_null(strstr(err.msg, "it had \"nothing\" where there is \"-device more\" now"));
    strv_clear(&machine);
    strv_clear(&s.machine);
    s.has_ram = false;
    assert_int_equal(saved_check(&s, NULL, &machine, true, &err), 0);
    assert_int_equal(saved_check(&s, NULL, &machine, false, &err), -1);
    assert_non_null(strstr(err.msg, "without its RAM"));
}

/* No byte of it can change, be missing or be too much. */
static void test_damaged(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_FREE char *path = write_one(t, true);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    for (off_t at = 4096; at < size; at += at < size - 20 ? 97 : 1) {
        assert_int_equal(pwrite(fd, "y", 1, at), 1);
        assert_refused(path, "is damaged");
        assert_int_equal(pwrite(fd, "x", 1, at), 1);
    }
    assert_int_equal(pwrite(fd, "V", 1, 0), 1);
    assert_refused(path, "no complete saved state");
    assert_int_equal(pwrite(fd, "v", 1, 0), 1);
    assert_int_equal(ftruncate(fd, size - 1), 0);
    assert_refused(path, "bytes long and is");
    assert_int_equal(ftruncate(fd, size + 1), 0);
    assert_refused(path, "bytes long and is");
    for (off_t len = 0; len < 300; len += 7) {
        assert_int_equal(ftruncate(fd, len), 0);
        assert_refused(path, "cannot be used");
    }
}

static void test_not_finished(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_FREE char *path = write_one(t, false);
    assert_refused(path, "no complete saved state");
    assert_refused(t->path, "it is no file");
    assert_refused("/nowhere/x", "No such file");
    assert_int_equal(symlinkat("saved", t->fd, "link"), 0);
    AUTO_FREE char *link = str_printf(NULL, "%s/link", t->path);
    assert_refused(link, "cannot open");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_damaged, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_not_finished, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
