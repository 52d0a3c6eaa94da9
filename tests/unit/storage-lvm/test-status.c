/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Status lines of dm-snapshot and dm-thin: what is well, what is lost, and what is only full. */
#include "common.h"

#define POOL_OK "2 112/1024 1600/3200 - rw discard_passdown queue_if_no_space - 256"

static void snapshot(const char *params, const char *health, const char *bound, double fill)
{
    struct vmundo_error err = {0};
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    assert_ok(lvm_snapshot_status(params, 200ull << 20, &s, &err), &err);
    if (!str_has_prefix(s.health, health))
        fail_msg("%s: health %s instead of %s", params, s.health, health);
    assert_true(str_eq(s.bound, bound));
    assert_true(s.fill > fill - 0.01 && s.fill < fill + 0.01);
    assert_int_equal(s.lost, !str_eq(health, "ok"));
    assert_int_equal(s.room, s.lost ? 0 : s.limit - s.used);
}

static void test_snapshot(void **state)
{
    (void)state;
    snapshot("67584/135168 256", "ok", "snapshot", 0.5);
    snapshot("409600/409600 256", "ok", NULL, 1); /* it can hold a change of every chunk */
    snapshot("Invalid", "invalid: ", "snapshot", 1);
    snapshot("Overflow", "overflow: ", "snapshot", 1);
    snapshot("Merge failed", "merge failed: ", "snapshot", 0);
}

static void test_snapshot_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "Unknown", "x/y", "12"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vmundo_error err = {0};
        CLEANUP(branch_status_clear) struct branch_status s = {0};
        assert_failed(lvm_snapshot_status(bad[i], 1, &s, &err), &err, "which nobody can read");
    }
}

static void thin(const char *params, const char *pool, const char *health, const char *bound)
{
    struct vmundo_error err = {0};
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    assert_ok(lvm_thin_status(params, pool, 3200ull << 16, &s, &err), &err);
    if (!str_has_prefix(s.health, health))
        fail_msg("%s: health %s instead of %s", pool ? pool : params, s.health, health);
    assert_true(str_eq(s.bound, bound));
    assert_int_equal(s.lost, !str_eq(health, "ok") && !str_has_prefix(health, "full"));
    if (bound && str_eq(bound, "thin data") && str_eq(pool, POOL_OK))
        assert_int_equal(s.room, 1600ull << 16);
}

static void test_thin(void **state)
{
    (void)state;
    thin("81920 262143", POOL_OK, "ok", "thin data");
    thin("0 -", POOL_OK, "ok", "thin data");
    thin("0 -", NULL, "ok", NULL);
    thin("Fail", POOL_OK, "failed: ", "thin data");
    thin("8 7", "2 1000/1024 16/3200 - rw discard_passdown queue_if_no_space - 256", "ok", "thin metadata");
    thin("8 7", "2 112/1024 3200/3200 - out_of_data_space discard_passdown queue_if_no_space - 256",
         "full: ", "thin data");
    thin("8 7", "2 1024/1024 16/3200 - ro discard_passdown queue_if_no_space - 256", "read-only: ", "thin metadata");
    thin("8 7", "2 112/1024 16/3200 - ro discard_passdown queue_if_no_space needs_check 256",
         "needs repair: ", "thin metadata");
    thin("8 7", "Fail", "failed: ", NULL);
}

static void test_merge(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    uint64_t left = 1;
    bool failed = true;
    assert_ok(lvm_merge_left("1256/270336 256", &left, &failed, &err), &err);
    assert_int_equal(left, 1000);
    assert_false(failed);
    assert_ok(lvm_merge_left("256/270336 256", &left, &failed, &err), &err);
    assert_int_equal(left, 0);
    assert_ok(lvm_merge_left("Merge failed", &left, &failed, &err), &err);
    assert_true(failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_snapshot_bad),
        cmocka_unit_test(test_thin),
        cmocka_unit_test(test_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
