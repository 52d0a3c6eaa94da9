/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Exception stores, made by hand after drivers/md/dm-snap-persistent.c, whole and damaged. */
#include "common.h"

#include <endian.h>
#include <sys/mman.h>

#define CHUNK 4096u
#define PER_AREA (CHUNK / 16)

static void put32(int fd, uint64_t at, uint32_t value)
{
    uint32_t le = htole32(value);
    assert_int_equal(pwrite(fd, &le, sizeof(le), (off_t)at), sizeof(le));
}

static void put64(int fd, uint64_t at, uint64_t value)
{
    uint64_t le = htole64(value);
    assert_int_equal(pwrite(fd, &le, sizeof(le), (off_t)at), sizeof(le));
}

/* A store with n exceptions: the i-th is of chunk 3 * (n - i), so not in order. */
static int make_store(size_t n)
{
    int fd = memfd_create("cow", MFD_CLOEXEC);
    assert_true(fd >= 0);
    put32(fd, 0, 0x70416e53);
    put32(fd, 4, 1);
    put32(fd, 8, 1);
    put32(fd, 12, CHUNK / 512);
    for (size_t i = 0; i < n; i++) {
        uint64_t area = (1 + i / PER_AREA * (PER_AREA + 1)) * (uint64_t)CHUNK;
        put64(fd, area + i % PER_AREA * 16, 3 * (n - i));
        put64(fd, area + i % PER_AREA * 16 + 8, 2 + i + i / PER_AREA);
    }
    /* The kernel has always one area more than it has filled, of zeros. */
    assert_int_equal(ftruncate(fd, (off_t)(2 + (n / PER_AREA + 1) * (PER_AREA + 1)) * CHUNK), 0);
    return fd;
}

static void check(size_t n)
{
    struct vmundo_error err = {0};
    AUTO_CLOSE int fd = make_store(n);
    AUTO_LVM_CHUNKS struct lvm_chunks c = {0};
    assert_ok(lvm_read_cow(fd, &c, &err), &err);
    assert_int_equal(c.n, n);
    assert_int_equal(c.size, CHUNK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(c.chunks[i], 3 * (i + 1));
    for (uint64_t chunk = 0; chunk < 3 * n + 4; chunk++) {
        assert_int_equal(lvm_chunks_touch(&c, chunk * CHUNK, 1), chunk > 0 && chunk % 3 == 0 && chunk <= 3 * n);
        assert_int_equal(lvm_chunks_touch(&c, chunk * CHUNK + CHUNK - 1, 1),
                         chunk > 0 && chunk % 3 == 0 && chunk <= 3 * n);
    }
    assert_int_equal(lvm_chunks_touch(&c, CHUNK, 2 * CHUNK), false);
    assert_int_equal(lvm_chunks_touch(&c, CHUNK, 2 * CHUNK + 1), n > 0);
    assert_int_equal(lvm_chunks_touch(&c, 0, UINT64_MAX / 2), n > 0);
    assert_false(lvm_chunks_touch(&c, 3 * CHUNK, 0));
}

static void test_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, PER_AREA - 1, PER_AREA, PER_AREA + 1, 5 * PER_AREA + 7};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        check(sizes[i]);
}

static void damaged(uint64_t at, uint32_t value, const char *part)
{
    struct vmundo_error err = {0};
    AUTO_CLOSE int fd = make_store(3);
    struct lvm_chunks c = {0};
    put32(fd, at, value);
    assert_failed(lvm_read_cow(fd, &c, &err), &err, part);
    assert_null(c.chunks);
}

static void test_damaged(void **state)
{
    (void)state;
    damaged(0, 0, "not the exception store");
    damaged(4, 0, "invalid");
    damaged(8, 2, "version 2");
    damaged(12, 0, "chunks of 0 sectors");
    damaged(12, 7, "chunks of 7 sectors");
    damaged(12, 24, "chunks of 24 sectors");
    damaged(12, 1u << 31, "chunks of");
}

static void test_cut_off(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    AUTO_CLOSE int fd = make_store(PER_AREA);
    struct lvm_chunks c = {0};
    static const off_t sizes[] = {0, 100, CHUNK, CHUNK + 17, (off_t)(PER_AREA + 2) * CHUNK + 512};
    for (size_t i = ARRAY_SIZE(sizes); i-- > 0;) {
        assert_int_equal(ftruncate(fd, sizes[i]), 0);
        assert_failed(lvm_read_cow(fd, &c, &err), &err, "ends in the middle");
    }
    assert_null(c.chunks);
}

/* As thin_delta of thin-provisioning-tools 0.9 prints it. */
static void test_delta(void **state)
{
    (void)state;
    static const char xml[] = "<superblock uuid=\"\" time=\"2\" transaction=\"3\" data_block_size=\"128\" "
                              "nr_data_blocks=\"800\">\n  <diff left=\"1\" right=\"2\">\n"
                              "    <same begin=\"0\" length=\"3\"/>\n    <different begin=\"3\" length=\"2\"/>\n"
                              "    <left_only begin=\"9\" length=\"1\"/>\n    <right_only begin=\"12\" length=\"1\"/>\n"
                              "  </diff>\n</superblock>\n";
    static const char *const bad[] = {
        "",
        "<superblock>",
        "<superblock data_block_size=\"0\"><different begin=\"1\" length=\"1\"/>",
        "<superblock data_block_size=\"128\"><different begin=\"x\" length=\"1\"/>",
        "<superblock data_block_size=\"128\"><different begin=\"1\"/>",
        "<superblock data_block_size=\"128\"><different begin=\"1\" length=\"-1\"/>",
        "<superblock data_block_size=\"128\"><different begin=\"1\" length=\"99999999999999999999\"/>",
        "<superblock data_block_size=\"128\"><different begin=\"18446744073709551615\" length=\"1\"/>",
        "<superblock data_block_size=\"128\"><different begin=\"5\" length=\"2\"/><different begin=\"6\" length=\"1\"/>",
        "<superblock data_block_size=\"128\"><different begin=\"1\"/><same length=\"1\"/>",
        "<superblock data_block_size=\"128\"><different begin=\"1\" length=\"1\"",
        "<superblock data_block_size=\"4294967424\"><different begin=\"1\" length=\"1\"/>"};
    static const uint64_t want[] = {3, 4, 9, 12};
    struct vmundo_error err = {0};
    AUTO_LVM_CHUNKS struct lvm_chunks c = {0};
    assert_ok(lvm_parse_delta(xml, &c, &err), &err);
    assert_int_equal(c.size, 65536);
    assert_int_equal(c.n, ARRAY_SIZE(want));
    for (size_t i = 0; i < c.n; i++)
        assert_int_equal(c.chunks[i], want[i]);
    struct lvm_chunks none = {0};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_failed(lvm_parse_delta(bad[i], &none, &err), &err, "unknown");
    static const char huge[] = "<superblock data_block_size=\"128\"><different begin=\"1\" length=\"99999999999\"/>";
    assert_failed(lvm_parse_delta(huge, &none, &err), &err, "too much to list");
    assert_null(none.chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_delta),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
