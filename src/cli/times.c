/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* times.c: how long, and when, as people write it. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* "-90s", "-5m", "-2h", "-1d" */
static bool parse_ago(const char *text, int64_t now_ms, int64_t *ret)
{
    static const char units[] = "smhd";
    static const int64_t seconds[] = {1, 60, 3600, 86400};
    char *end;
    if (text[0] != '-' || text[1] < '0' || text[1] > '9')
        return false;
    unsigned long long n = strtoull(text + 1, &end, 10);
    const char *unit = *end ? strchr(units, *end) : units;
    if (!unit || (*end && end[1]) || n > 1000000000)
        return false;
    *ret = now_ms - (int64_t)n * seconds[unit - units] * 1000;
    return true;
}

/* A time of today, or, if that is yet to come, of yesterday; or a date and a time. Seconds may be left out. */
static bool parse_clock(const char *text, int64_t now, int64_t *ret)
{
    static const char *const formats[][2] = {{"%H:%M:%S", "%H:%M"}, {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"}};
    struct tm t;
    time_t at = (time_t)now;
    bool dated = strchr(text, ' ');
    const char *end = NULL;
    for (size_t i = 0; i < 2 && (!end || *end); i++) {
        if (!localtime_r(&at, &t))
            return false;
        t.tm_sec = 0;
        end = strptime(text, formats[dated][i], &t);
    }
    if (!end || *end)
        return false;
    t.tm_isdst = -1;
    at = mktime(&t);
    if (!dated && at > now)
        at -= 86400;
    *ret = (int64_t)at * 1000;
    return true;
}

int cli_parse_time(const char *text, int64_t *ret, struct vmundo_error *err)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (parse_ago(text, now.tv_sec * 1000 + now.tv_nsec / 1000000, ret) || parse_clock(text, now.tv_sec, ret))
        return 0;
    return cli_error(err, VMUNDO_USAGE,
                     "'%.40s' is not a time: -30s, -5m, -2h, 14:03, 14:03:22 or '2026-01-31 14:03:22'", text);
}

/* No "0x10", "1e3", "nan", which strtod(3) takes. */
double cli_parse_decimal(const char *text, const char **ret_rest)
{
    size_t digits = strspn(text, "0123456789.");
    char *end = NULL;
    double n = digits ? strtod(text, &end) : -1;
    *ret_rest = text + digits;
    return end == *ret_rest ? n : -1;
}

int cli_parse_duration(const char *name, const char *text, uint64_t *ret_ms, struct vmundo_error *err)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}};
    const char *unit;
    double n = cli_parse_decimal(text, &unit);
    for (size_t i = 0; n > 0 && i < sizeof(units) / sizeof(units[0]); i++)
        if (!strcmp(unit, units[i].unit) && n * units[i].ms >= 1 && n * units[i].ms <= 3650 * 86400e3) {
            *ret_ms = (uint64_t)(n * units[i].ms);
            return 0;
        }
    return cli_error(err, VMUNDO_USAGE, "--%s takes a time like 500ms, 1s, 10m, 2h or 1d, not '%.40s'", name, text);
}
