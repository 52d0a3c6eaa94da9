/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-recording.c: which recorded checkpoints go with time; nothing but values. */
#include "core/recorder.h"
#include "util/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BEGIN 1700000000000

static int64_t age_of(const struct store_rows *rows, size_t i, int64_t now)
{
    return now - rows->items[i].created_ms;
}

/* Recorded every second for 45 minutes, and thinned out as it goes. */
static struct store_rows record_for(int64_t seconds, int64_t each_ms, uint64_t keep_ms)
{
    struct store_rows rows = {.items = calloc(8192, sizeof(*rows.items))};
    assert_non_null(rows.items);
    for (int64_t t = 0; t < seconds * 1000; t += each_ms) {
        bool goes[8192] = {false};
        size_t kept = 0;
        rows.items[rows.n++] = (struct store_row){.id = (uint64_t)t + 1, .created_ms = BEGIN + t, .recorded = true};
        if (t / each_ms % 10)
            continue;
        size_t wanted = recording_thin(&rows, BEGIN + t, keep_ms, goes), gone = 0;
        for (size_t i = 0; i < rows.n; i++) {
            gone += goes[i];
            if (!goes[i])
                rows.items[kept++] = rows.items[i];
        }
        assert_int_equal(gone, wanted);
        assert_false(goes[rows.n - 1]);
        rows.n = kept;
    }
    return rows;
}

static void test_thin(void **state)
{
    (void)state;
    struct store_rows rows = record_for(2700, 1000, 3600000);
    int64_t now = rows.items[rows.n - 1].created_ms, before = -1;
    size_t minute = 0, ten = 0, older = 0;
    for (size_t i = rows.n; i > 0; i--) {
        int64_t age = age_of(&rows, i - 1, now);
        int64_t gap = before < 0 ? 0 : age - before;
        before = age;
        if (age <= 60000) {
            assert_true(gap <= 1000);
            minute++;
        } else if (age <= 600000) {
            assert_true(gap <= 20000);
            ten++;
        } else {
            assert_true(gap <= 120000);
            older++;
        }
    }
    assert_true(before >= 2600000); /* the beginning is still there */
    assert_in_range(minute, 60, 61);
    assert_in_range(ten, 53, 64);
    assert_in_range(older, 34, 46);
    free(rows.items);
}

static void test_keep(void **state)
{
    (void)state;
    struct store_rows rows = record_for(600, 1000, 30000);
    assert_in_range(rows.n, 30, 41);
    assert_true(age_of(&rows, 0, rows.items[rows.n - 1].created_ms) <= 40000);
    free(rows.items);
    rows = record_for(3600, 10000, 600000);
    assert_in_range(rows.n, 58, 72);
    free(rows.items);
}

/* Only what is recorded goes, and nothing does when the clock was set back. */
static void test_others(void **state)
{
    (void)state;
    struct store_row items[] = {
        {.id = 1, .created_ms = BEGIN, .label = (char *)(uintptr_t) "one"},
        {.id = 2, .created_ms = BEGIN, .recorded = true},
        {.id = 3, .created_ms = BEGIN},
        {.id = 4, .created_ms = BEGIN + 1000, .recorded = true},
    };
    struct store_rows rows = {items, ARRAY_SIZE(items)};
    bool goes[4] = {false};
    assert_int_equal(recording_thin(&rows, BEGIN + 700000, 600000, goes), 2);
    assert_false(goes[0] || goes[2]);
    assert_true(goes[1] && goes[3]);
    memset(goes, 0, sizeof(goes));
    assert_int_equal(recording_thin(&rows, BEGIN + 60500, 600000, goes), 0);
    assert_int_equal(recording_thin(&rows, BEGIN - 5000000, 600000, goes), 0);
}

/* Where there may be few: the older, the farther apart; the first and the last stay, and what is not recorded. */
static void test_spread(void **state)
{
    (void)state;
    struct store_row items[101];
    bool goes[101] = {false};
    int64_t now = BEGIN + 100000;
    for (size_t i = 0; i < ARRAY_SIZE(items); i++)
        items[i] = (struct store_row){.id = i + 1, .created_ms = BEGIN + (int64_t)i * 1000, .recorded = i != 50};
    struct store_rows rows = {items, ARRAY_SIZE(items)};
    goes[3] = true;
    assert_int_equal(recording_spread(&rows, now, 16, goes), 83);
    assert_true(goes[3]);
    assert_false(goes[0] || goes[50] || goes[100] || goes[99] || goes[98]);
    int64_t last = -1, most = 0;
    for (size_t i = ARRAY_SIZE(items); i > 0; i--) {
        if (goes[i - 1] || i - 1 == 50)
            continue;
        int64_t age = age_of(&rows, i - 1, now);
        if (last >= 0) {
            assert_true(age - last <= (age > 4000 ? age * 7 / 10 : 2000)); /* no great gaps */
            most = age - last > most ? age - last : most;
        }
        last = age;
    }
    assert_true(most >= 15000);
    memset(goes, 0, sizeof(goes));
    assert_int_equal(recording_spread(&rows, now, 100, goes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thin),
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
