/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths, device-mapper's names, names of branches, sizes of snapshots. */
#include "common.h"

static void test_split_path(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "/", "/dev/", "/dev/vg", "/dev/vg/", "/dev//lv", "/dev/vg/lv/x", "vg/lv", "/devel/vg/lv"};
    struct vmundo_error err = {0};
    AUTO_LVM_NAME struct lvm_name n = {0};
    assert_ok(lvm_split_path("/dev/vg-1/l.v", &n, &err), &err);
    assert_string_equal(n.vg, "vg-1");
    assert_string_equal(n.lv, "l.v");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct lvm_name none = {0};
        assert_failed(lvm_split_path(bad[i], &none, &err), &err, "not the path of a logical volume");
        assert_null(none.vg);
    }
}

static void dm_name(const char *vg, const char *lv, const char *layer, const char *want)
{
    struct vmundo_error err = {0};
    AUTO_LVM_NAME struct lvm_name n = {0}, back = {0};
    AUTO_FREE char *back_layer = NULL;
    assert_ok(str_copy(vg, &n.vg, &err), &err);
    assert_ok(str_copy(lv, &n.lv, &err), &err);
    AUTO_FREE char *name = lvm_dm_name(&n, layer, &err);
    assert_string_equal(name, want);
    assert_ok(lvm_split_dm_name(name, &back, &back_layer, &err), &err);
    assert_string_equal(back.vg, vg);
    assert_string_equal(back.lv, lv);
    assert_string_equal(back_layer, layer ? layer : "");
}

static void test_dm_name(void **state)
{
    (void)state;
    dm_name("vga", "domU", NULL, "vga-domU");
    dm_name("vga", "domU", "cow", "vga-domU-cow");
    dm_name("vg-a", "do.m-U", NULL, "vg--a-do.m--U");
    dm_name("a-", "b", "real", "a---b-real");
    dm_name("a", "b--", "cow", "a-b-----cow");
}

static void test_not_dm_name(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "-", "a", "a-", "-b", "a--b"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vmundo_error err = {0};
        struct lvm_name n = {0};
        char *layer = NULL;
        assert_failed(lvm_split_dm_name(bad[i], &n, &layer, &err), &err, "not device-mapper's name");
        assert_null(layer);
    }
}

static char *branch_name(const char *vg, const char *lv, const char *domain, struct vmundo_error *err)
{
    struct mark m = {"0badcafe", domain, 12};
    AUTO_LVM_NAME struct lvm_name n = {0};
    assert_ok(str_copy(vg, &n.vg, err), err);
    assert_ok(str_copy(lv, &n.lv, err), err);
    return lvm_branch_name(&n, &m, err);
}

static void test_branch_name(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    AUTO_FREE char *plain = branch_name("vga", "domU", "web-1.x", &err);
    assert_string_equal(plain, "domU.vmundo.0badcafe.web-1.x.12");
    AUTO_FREE char *reserved = branch_name("vga", "domU", "a_tdata", &err);
    assert_true(str_has_prefix(reserved, "vmundo.0badcafe."));
    assert_true(str_has_suffix(reserved, ".12"));
}

/* Hyphens count twice, and "-cow" must fit behind it. */
static void test_branch_name_length(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    char vg[128] = "", lv[128] = "";
    memset(vg, 'v', 40);
    memset(lv, 'l', 54);
    AUTO_FREE char *fits = branch_name(vg, lv, "d", &err); /* 40 + 1 + 54 + 23 = 118, with -cow 122 */
    assert_true(str_has_prefix(fits, lv));
    memset(lv, '-', 10);
    AUTO_FREE char *hashed = branch_name(vg, lv, "d", &err);
    assert_true(str_has_prefix(hashed, "vmundo."));
    lv[20] = '-';
    AUTO_FREE char *other = branch_name(vg, lv, "d", &err);
    assert_string_not_equal(hashed, other);
    memset(vg, 'v', 104);
    assert_null(branch_name(vg, "l", "d", &err));
    assert_non_null(strstr(err.msg, "leaves no room"));
}

static void test_full_cow(void **state)
{
    (void)state;
    const uint32_t k = 1024, extent = 4096 * k;
    /* What lvcreate itself says is the largest size of use: 128 MiB in chunks of 64 KiB, 132 MiB. */
    assert_int_equal(lvm_full_cow(128ull << 20, 64 * k, extent), 132ull << 20);
    assert_int_equal(lvm_full_cow(1, 4 * k, 512), 4 * 4096);
    for (uint64_t origin = 1ull << 20; origin < 1ull << 50; origin *= 7) {
        uint64_t full = lvm_full_cow(origin, 4 * k, extent);
        assert_true(full > origin && full % extent == 0);
        assert_true(full < origin + origin / 200 + 2ull * extent);
    }
}

static void test_thin_pool_size(void **state)
{
    (void)state;
    const uint32_t extent = 4 << 20;
    assert_int_equal(lvm_thin_pool_size(0, extent, 0), 0);
    assert_int_equal(lvm_thin_pool_size(6ull * extent, extent, 0), 0);
    assert_int_equal(lvm_thin_pool_size(10ull * extent, extent, 0), 4ull * extent);
    assert_int_equal(lvm_thin_pool_size(100ull << 30, extent, 1), 95ull << 30);
    assert_int_equal(lvm_thin_pool_size(10ull << 40, extent, 0), (10ull << 40) - (64ull << 30));
    for (uint64_t free = extent; free < 1ull << 50; free *= 3)
        for (unsigned stripes = 1; stripes < 6; stripes++) {
            uint64_t size = lvm_thin_pool_size(free, extent, stripes);
            assert_true(size == 0 || size + 6ull * extent <= free);
            assert_int_equal(size % ((uint64_t)extent * stripes), 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_path),         cmocka_unit_test(test_dm_name),
        cmocka_unit_test(test_not_dm_name),        cmocka_unit_test(test_branch_name),
        cmocka_unit_test(test_branch_name_length), cmocka_unit_test(test_full_cow),
        cmocka_unit_test(test_thin_pool_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
