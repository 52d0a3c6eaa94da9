/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-times.c: moments and durations as people write them. */
#include "common.h"

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t moment(const char *text)
{
    struct vmundo_error e = {0};
    int64_t at = 0;
    if (cli_parse_time(text, &at, &e) < 0)
        fail_msg("'%s': %s", text, e.msg);
    return at;
}

static void test_ago(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        {"-0s", 0}, {"-7", 7}, {"-30s", 30}, {"-5m", 300}, {"-2h", 7200}, {"-1d", 86400}, {"-1000000000s", 1000000000}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int64_t late = now_ms() - moment(cases[i].text) - cases[i].seconds * 1000;
        assert_in_range(late + 1000, 0, 3000);
    }
}

static void test_dates(void **state)
{
    (void)state;
    assert_int_equal(moment("2026-01-31 14:03:22"), 1769868202000);
    assert_int_equal(moment("2026-01-31 14:03"), 1769868180000);
    assert_int_equal(moment("1970-01-02 00:00:00"), 86400000);
    assert_int_equal(moment("2024-02-29 23:59:59"), 1709251199000);
}

/* The last time that it was so late: not in the future, and not more than a day ago. */
static void test_clock(void **state)
{
    static const char *const cases[] = {"00:00:00", "00:00", "12:34:56", "23:59:59", "23:59", "9:05"};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int64_t at = moment(cases[i]), now = now_ms();
        assert_true(at <= now && at > now - 86401000);
    }
    assert_int_equal(moment("12:34:56") % 86400000, (12 * 3600 + 34 * 60 + 56) * 1000);
    assert_int_equal(moment("12:34") % 86400000, (12 * 3600 + 34 * 60) * 1000);
}

static void test_no_moment(void **state)
{
    static const char *const cases[] = {
        "",
        "-",
        "-s",
        "-5x",
        "-5ms",
        "-1.5s",
        "- 5s",
        "-99999999999s",
        "now",
        "yesterday",
        "12",
        "25:00",
        "12:60",
        "12:00:61x",
        "12:00:00:00",
        "12:00 ",
        "12:00pm",
        "2026-01-31",
        "2026-13-01 10:00",
        "2026-01-31  10",
        "2026-01-31 25:00",
        "2026-01-31T10:00:00",
        "+5s",
        "5s",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct vmundo_error e = {0};
        int64_t at = -7;
        if (cli_parse_time(cases[i], &at, &e) == 0)
            fail_msg("'%s' is taken for a time", cases[i]);
        assert_says(&e, VMUNDO_USAGE, "is not a time");
        assert_int_equal(at, -7);
    }
}

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"10", 10000},           {"500ms", 500},   {"1ms", 1},      {"1s", 1000},
                {"0.5s", 500},           {"10m", 600000},  {"2h", 7200000}, {"1d", 86400000},
                {"3650d", 315360000000}, {"1.5h", 5400000}};
    static const char *const bad[] = {"",    "0",     "0s",  "0.1ms", "-1s", "s",    "1x",   "1 s",
                                      "1s ", "3651d", "1e3", "nan",   "inf", "0x10", "1.2.3"};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        uint64_t ms = 0;
        assert_int_equal(cli_parse_duration("every", good[i].text, &ms, NULL), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct vmundo_error e = {0};
        uint64_t ms = 7;
        if (cli_parse_duration("every", bad[i], &ms, &e) == 0)
            fail_msg("'%s' is taken for a duration", bad[i]);
        assert_says(&e, VMUNDO_USAGE, "--every takes a time");
        assert_int_equal(ms, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ago),       cmocka_unit_test(test_dates),     cmocka_unit_test(test_clock),
        cmocka_unit_test(test_no_moment), cmocka_unit_test(test_durations),
    };
    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
