/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-judge.c: when the guard asks for room, when it pauses, when it lets go, and how soon it looks again. */
#include "core/guard-judge.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MIB 1048576.0

static const struct guard_levels levels = {0.7, 0.9, 0};

static struct branch_status full(double whole_mib, double used_mib)
{
    static char bound[] = "snapshot";
    return (struct branch_status){.exists = true, .bound = bound, .fill = used_mib / whole_mib,
                                  .room = (uint64_t)((whole_mib - used_mib) * MIB)};
}

static struct guard_verdict judge(const struct gauge *g, double whole, double used, double paused_room)
{
    struct branch_status s = full(whole, used);
    return guard_judge(g, &s, &levels, (uint64_t)(paused_room * MIB));
}

static void test_levels(void **state)
{
    (void)state;
    struct gauge still = {0};
    assert_false(judge(&still, 1000, 600, 0).extend);
    assert_true(judge(&still, 1000, 701, 0).extend);
    assert_false(judge(&still, 1000, 890, 0).crowded);
    assert_true(judge(&still, 1000, 901, 0).crowded);
    /* Of a small one 16 MiB stay free, of a very small one a quarter. */
    assert_false(judge(&still, 100, 83, 0).crowded);
    assert_true(judge(&still, 100, 85, 0).crowded);
    assert_false(judge(&still, 20, 14, 0).crowded);
    assert_true(judge(&still, 20, 15.5, 0).crowded);
}

static void test_rate(void **state)
{
    (void)state;
    struct gauge g = {0};
    struct branch_status a = full(1000, 100), b = full(1000, 150);
    gauge_note(&g, &a, 1000, false);
    gauge_note(&g, &b, 2000, false);
    assert_true(g.rate > 49 * MIB && g.rate < 51 * MIB);
    assert_true(judge(&g, 1000, 150, 0).extend); /* 17 s */
    assert_false(judge(&g, 2000, 150, 0).extend);
    assert_true(judge(&g, 1000, 150, 0).want >= (uint64_t)(49 * MIB * 20));
    g.rate = 100 * MIB;
    assert_false(judge(&g, 180, 150, 0).crowded); /* 0.3 s */
    assert_true(judge(&g, 173, 150, 0).crowded);
    g.rate = 50 * MIB;
    /* Forgotten by and by, while the domain runs and while it is paused. */
    for (uint64_t t = 3000; t < 60000; t += 1000)
        gauge_note(&g, &b, t, true);
    assert_true(g.rate < MIB);
    g.rate = 50 * MIB;
    for (uint64_t t = 60000; t < 120000; t += 1000)
        gauge_note(&g, &b, t, false);
    assert_true(g.rate < MIB);
    /* The later looks and pauses are, the earlier it must be. */
    struct guard_levels late = levels;
    late.lag_s = 1;
    g.rate = 20 * MIB;
    assert_false(judge(&g, 1000, 850, 0).crowded);
    b.room = (uint64_t)(30 * MIB);
    b.fill = 0.7;
    assert_false(guard_judge(&g, &b, &levels, 0).crowded);
    assert_true(guard_judge(&g, &b, &late, 0).crowded);
}

/* Being made larger is no writing, and neither is that something else has become the fuller one. */
static void test_rate_elsewhere(void **state)
{
    (void)state;
    static char metadata[] = "thin metadata";
    struct gauge g = {0};
    struct branch_status a = full(1000, 500), larger = full(3000, 500), other = full(100, 80);
    other.bound = metadata;
    gauge_note(&g, &a, 1000, false);
    gauge_note(&g, &larger, 1100, false);
    assert_true(g.rate < 1);
    gauge_note(&g, &other, 1200, false);
    gauge_note(&g, &larger, 1300, false);
    assert_true(g.rate < 1);
    struct branch_status brim = full(1000, 1000);
    gauge_note(&g, &brim, 1400, false);
    assert_true(g.rate < 1);
    assert_true(judge(&g, 1000, 1000, 0).crowded);
}

static void test_resume(void **state)
{
    (void)state;
    struct gauge g = {0};
    assert_true(judge(&g, 1000, 910, 90).crowded);
    assert_true(judge(&g, 1000, 860, 90).crowded); /* not at the level of the pause, but well below it */
    assert_false(judge(&g, 1000, 840, 90).crowded);
    /* Paused early because it filled so fast: not before there is more than there was. */
    g.rate = 500 * MIB;
    assert_true(judge(&g, 1000, 600, 400).crowded);
    assert_false(judge(&g, 1000, 500, 400).crowded);
}

/* Nothing can be lost between two looks. */
static void test_interval(void **state)
{
    (void)state;
    struct gauge g = {0};
    assert_true(judge(&g, 64, 0, 0).next_s < 0.05);
    assert_true(judge(&g, 64 * 1024, 0, 0).next_s > 10);
    g.rate = 100 * MIB;
    assert_true(judge(&g, 64 * 1024, 60 * 1024, 0).next_s < 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),   cmocka_unit_test(test_rate),     cmocka_unit_test(test_rate_elsewhere),
        cmocka_unit_test(test_resume),   cmocka_unit_test(test_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
