/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Image headers, well and ill. */
#include "common.h"

#include "storage/image.h"

static void put_be(unsigned char *p, size_t bytes, uint64_t n)
{
    for (size_t i = bytes; i > 0; i--, n >>= 8)
        p[i - 1] = (unsigned char)n;
}

static void put_le(unsigned char *p, size_t bytes, uint64_t n)
{
    for (size_t i = 0; i < bytes; i++, n >>= 8)
        p[i] = (unsigned char)n;
}

static int read_header(const struct tmpdir *t, const unsigned char *p, size_t n, const char *format,
                       struct image_header *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = openat(t->fd, "image", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    *err = (struct vmundo_error){0};
    return image_read_header(fd, format, ret, err);
}

/* A qcow2 header, version 3, with room for a name at 512. */
static void make_qcow2(unsigned char p[1024], uint64_t features, const char *backing)
{
    memset(p, 0, 1024);
    memcpy(p, "QFI\xfb", 4);
    put_be(p + 4, 4, 3);
    if (backing) {
        put_be(p + 8, 8, 512);
        put_be(p + 16, 4, strlen(backing));
        memcpy(p + 512, backing, strlen(backing));
    }
    put_be(p + 20, 4, 16);
    put_be(p + 24, 8, 5u << 30);
    put_be(p + 72, 8, features);
}

static void test_qcow2(void **state)
{
    const struct tmpdir *t = *state;
    unsigned char p[1024];
    struct vmundo_error err;
    CLEANUP(image_header_clear) struct image_header h = {0};
    make_qcow2(p, 0, NULL);
    assert_ok(read_header(t, p, sizeof(p), "qcow2", &h, &err), &err);
    assert_true(h.virtual_size == 5u << 30);
    assert_false(h.has_backing || h.external_data || h.corrupt);
    make_qcow2(p, 2, NULL);
    assert_ok(read_header(t, p, sizeof(p), "qcow2", &h, &err), &err);
    assert_true(h.corrupt);
    make_qcow2(p, 4, "/base.img");
    assert_ok(read_header(t, p, sizeof(p), "qcow2", &h, &err), &err);
    assert_true(h.external_data && h.has_backing);
    assert_string_equal(h.backing, "/base.img");
    image_header_clear(&h);
    put_be(p + 4, 4, 2); /* in version 2 there are no features */
    assert_ok(read_header(t, p, sizeof(p), "qcow2", &h, &err), &err);
    assert_false(h.external_data);
}

static void test_qcow2_damaged(void **state)
{
    const struct tmpdir *t = *state;
    unsigned char p[1024];
    struct vmundo_error err;
    struct image_header h = {.virtual_size = 42};
    make_qcow2(p, 0, "/base.img");
    put_be(p + 16, 4, 0xffffffff);
    assert_failed(read_header(t, p, sizeof(p), "qcow2", &h, &err), &err, VMUNDO_FAILED, "is damaged");
    make_qcow2(p, 0, "/base.img");
    put_be(p + 8, 8, UINT64_MAX);
    assert_failed(read_header(t, p, sizeof(p), "qcow2", &h, &err), &err, VMUNDO_FAILED, "is damaged");
    make_qcow2(p, 0, "/base.img");
    assert_failed(read_header(t, p, 515, "qcow2", &h, &err), &err, VMUNDO_FAILED, "is damaged");
    make_qcow2(p, 0, NULL);
    put_be(p + 4, 4, 4);
    assert_failed(read_header(t, p, sizeof(p), "qcow2", &h, &err), &err, VMUNDO_FAILED, "not a qcow2 image");
    assert_failed(read_header(t, (const unsigned char *)"QF", 2, "qcow2", &h, &err), &err, VMUNDO_FAILED,
                  "not a qcow2");
    assert_failed(read_header(t, p, 0, "qcow2", &h, &err), &err, VMUNDO_FAILED, "not a qcow2");
    assert_failed(read_header(t, p, sizeof(p), "qcow", &h, &err), &err, VMUNDO_FAILED, "not a qcow image");
    assert_int_equal(h.virtual_size, 42);
}

static void test_others(void **state)
{
    const struct tmpdir *t = *state;
    unsigned char p[1024] = {0};
    struct vmundo_error err;
    CLEANUP(image_header_clear) struct image_header h = {0};
    assert_ok(read_header(t, p, sizeof(p), "raw", &h, &err), &err);
    assert_int_equal(h.virtual_size, sizeof(p));

    memcpy(p + 512, "conectix", 8);
    put_be(p + 512 + 48, 8, 1 << 20);
    put_be(p + 512 + 60, 4, 3);
    assert_ok(read_header(t, p, sizeof(p), "vhd", &h, &err), &err);
    assert_int_equal(h.virtual_size, 1 << 20);
    assert_false(h.has_backing);
    put_be(p + 512 + 60, 4, 4);
    assert_ok(read_header(t, p, sizeof(p), "vhd", &h, &err), &err);
    assert_true(h.has_backing);
    assert_null(h.backing);
    assert_failed(read_header(t, p, 511, "vhd", &h, &err), &err, VMUNDO_FAILED, "not a vhd image");

    memset(p, 0, sizeof(p));
    memcpy(p, "QED", 4);
    put_le(p + 16, 8, 1);
    put_le(p + 48, 8, 1 << 20);
    put_le(p + 56, 4, 100);
    put_le(p + 60, 4, 4);
    memcpy(p + 100, "base", 4);
    assert_ok(read_header(t, p, sizeof(p), "qed", &h, &err), &err);
    assert_string_equal(h.backing, "base");
    assert_failed(read_header(t, p, sizeof(p), "vdi", &h, &err), &err, VMUNDO_FAILED, "vdi is not known");
}

static void test_qemu_names(void **state)
{
    (void)state;
    assert_string_equal(image_qemu_format("vhd"), "vpc");
    assert_string_equal(image_qemu_format("raw"), "raw");
    assert_null(image_qemu_format("vmdk"));
    assert_null(image_qemu_format(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_qcow2, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_qcow2_damaged, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_others, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_qemu_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
