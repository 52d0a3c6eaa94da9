/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Targets of every kind, on real files. What takes loop devices and mounts is in tests/integration/storage. */
#include "common.h"

#include "storage/block.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static void refuses(const struct tmpdir *t, const char *name, const char *part)
{
    struct vmundo_error err = {0};
    struct stack s = {.size = 42};
    AUTO_FREE char *path = path_in(t, name);
    assert_failed(stack_resolve(path, &s, &err), &err, VMUNDO_FAILED, part);
    assert_non_null(strstr(err.msg, name));
    assert_int_equal(s.size, 42); /* untouched */
}

static void test_refused(void **state)
{
    const struct tmpdir *t = *state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/socket", t->path);
    AUTO_CLOSE int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(sock, (const struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(mkdirat(t->fd, "dir", 0700), 0);
    assert_int_equal(mkfifoat(t->fd, "fifo", 0600), 0);
    assert_int_equal(symlinkat("nowhere", t->fd, "dangling"), 0);
    assert_int_equal(symlinkat("b", t->fd, "a"), 0);
    assert_int_equal(symlinkat("a", t->fd, "b"), 0);
    assert_int_equal(symlinkat("/dev/null", t->fd, "char"), 0);
    put_file(t->fd, "empty", "");
    put_file(t->fd, "file", "x");

    refuses(t, "missing", "cannot open");
    refuses(t, "dangling", "is a dangling link to nowhere");
    refuses(t, "a", "in a circle");
    refuses(t, "dir", "is a directory");
    refuses(t, "fifo", "is a FIFO");
    refuses(t, "socket", "is a socket");
    refuses(t, "char", "is a character device");
    refuses(t, "empty", "is empty");
    refuses(t, "file/below", "Not a directory");
}

static void test_unreadable(void **state)
{
    const struct tmpdir *t = *state;
    if (geteuid() == 0)
        skip();
    put_file(t->fd, "secret", "x");
    assert_int_equal(fchmodat(t->fd, "secret", 0, 0), 0);
    refuses(t, "secret", "Permission denied");
}

static void test_relative(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    struct stack s;
    assert_failed(stack_resolve("disk.img", &s, &err), &err, VMUNDO_FAILED, "not an absolute path");
    assert_failed(stack_resolve("", &s, &err), &err, VMUNDO_FAILED, "not an absolute path");
}

static void test_file(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error err = {0};
    CLEANUP(stack_clear) struct stack s = {0};
    put_image(t, "disk one.img", 1 << 20, "text");
    assert_int_equal(mkdirat(t->fd, "dir", 0700), 0);
    assert_int_equal(symlinkat("../disk one.img", t->fd, "dir/link"), 0);
    AUTO_FREE char *target = path_in(t, "dir/../dir/link");
    AUTO_FREE char *path = path_in(t, "disk one.img");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);

    assert_ok(stack_resolve(target, &s, &err), &err);
    assert_int_equal(s.kind, STACK_FILE);
    assert_string_equal(s.target, target);
    assert_string_equal(s.path, path);
    assert_string_equal(stack_name(&s), path);
    assert_null(s.via_loop);
    assert_int_equal(s.size, 1 << 20);
    assert_true(s.allocated < s.size);
    assert_int_equal(s.ino, st.st_ino);
    assert_int_equal(s.dev, st.st_dev);
    assert_int_equal(s.nlink, 1);
    assert_int_equal(s.uid, geteuid());
    assert_non_null(s.mount_point);
    assert_non_null(s.fs_type);
    assert_non_null(s.fs_root);
    assert_false(s.fs_readonly);
    assert_true(s.fs_free > 0);
}

/* A name is bytes: line ends, and the characters that the mount table escapes. */
static void test_odd_names(void **state)
{
    const struct tmpdir *t = *state;
    static const char *const names[] = {"a\nb", "a\\040b", " ", "ü\xff", "x (deleted)", "-f"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct vmundo_error err = {0};
        CLEANUP(stack_clear) struct stack s = {0};
        AUTO_FREE char *path = path_in(t, names[i]);
        put_file(t->fd, names[i], "x");
        assert_ok(stack_resolve(path, &s, &err), &err);
        assert_string_equal(s.path, path);
    }
}

static void test_rbd(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    CLEANUP(stack_clear) struct stack s = {0};
    assert_ok(stack_resolve("rbd:pool/image", &s, &err), &err);
    assert_int_equal(s.kind, STACK_RBD);
    assert_string_equal(s.path, "rbd:pool/image");
}

/* Devices are called by names that mean the same after a reboot. */
static void test_names_of_devices(void **state)
{
    (void)state;
    struct stack s = {.kind = STACK_BLOCK};
    char path[] = "/dev/dm-3", dm[] = "/dev/mapper/vga-domU", by_id[] = "/dev/disk/by-id/x", link[] = "/home/x/disk";
    char loop[] = "/dev/loop1";
    s.path = path;
    s.target = by_id;
    assert_string_equal(stack_name(&s), by_id);
    s.target = link;
    assert_string_equal(stack_name(&s), path);
    s.target = by_id;
    s.via_loop = loop;
    assert_string_equal(stack_name(&s), path);
    s.dm_path = dm;
    assert_string_equal(stack_name(&s), dm);
}

/* What could not be looked for is not missing: a disk would lose its driver, or who has it in use. */
static void test_no_descriptors(void **state)
{
    (void)state;
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload")) /* valgrind does not keep to that limit */
        skip();
    struct vmundo_error err = {0};
    struct block_loop loop;
    struct rlimit old, none;
    char *value = NULL, *name = NULL, *uuid = NULL, *path = NULL;
    const dev_t nowhere = makedev(4095, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int attr = block_attr(nowhere, "dm/name", &value, &err), disk = block_disk_attr(nowhere, "diskseq", &value, NULL),
        dm = block_dm(nowhere, &name, &uuid, &path, NULL), of_loop = block_loop(nowhere, "/dev/null", &loop, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(attr, -1);
    assert_int_equal(err.errnum, EMFILE);
    assert_true(disk < 0 && dm < 0 && of_loop < 0);
    assert_int_equal(block_attr(nowhere, "dm/name", &value, &err), 0);
    assert_null(value);
    assert_int_equal(block_dm(nowhere, &name, &uuid, &path, &err), 0);
    assert_null(name);
    assert_int_equal(block_loop(nowhere, "/dev/null", &loop, &err), 0);
    assert_null(loop.file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refused, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_relative),
        cmocka_unit_test_setup_teardown(test_file, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_odd_names, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_rbd),
        cmocka_unit_test(test_names_of_devices),
        cmocka_unit_test(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
