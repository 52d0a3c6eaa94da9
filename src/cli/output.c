/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * output.c: rows as tables for people and as JSON for programs, from one description. JSON is written as a stream by a
 * few functions; what comes from outside is escaped in both forms.
 */
#include "cli/cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Length of a valid UTF-8 sequence at s, and its character; 0 when it is none. */
static size_t utf8_length(const unsigned char *s, uint32_t *ret)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3
               : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    *ret = n > 1 ? s[0] & (0x7fu >> n) : s[0];
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *ret = *ret << 6 | (s[i] & 0x3f);
    }
    bool overlong = (n == 3 && *ret < 0x800) || (n == 4 && *ret < 0x10000);
    return overlong || *ret > 0x10ffff || (*ret >= 0xd800 && *ret < 0xe000) ? 0 : n;
}

/* What a terminal would obey: controls, line separators, and what changes the direction of writing. As str_escape() in
 * the library. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void print_escaped(FILE *to, const char *text)
{
    for (const unsigned char *s = (const unsigned char *)(text ? text : ""); *s;) {
        uint32_t c;
        size_t n = utf8_length(s, &c);
        if (n && !is_control(c)) {
            fwrite(s, 1, n, to);
            s += n;
            continue;
        }
        for (const unsigned char *end = s + (n ? n : 1); s < end; s++)
            fprintf(to, "\\x%02x", *s);
    }
}

/* ---- JSON -----------------------------------------------------------------------------------------------------------
 */

static int depth;
static bool need_comma;

static void print_json_text(const char *text)
{
    putchar('"');
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        uint32_t c;
        size_t n = utf8_length(s, &c);
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if (*s == '\n')
            fputs("\\n", stdout);
        else if (n && !is_control(c))
            fwrite(s, 1, n, stdout);
        else
            printf("\\u%04x", n ? c : *s);
        s += n ? n : 1;
    }
    putchar('"');
}

static void begin_value(const char *key)
{
    if (need_comma)
        putchar(',');
    if (depth)
        printf("\n%*s", 2 * depth, "");
    if (key) {
        print_json_text(key);
        fputs(": ", stdout);
    }
    need_comma = true;
}

void json_begin(const struct cli *c, const char *key, char open)
{
    if (!c->json)
        return;
    begin_value(key);
    putchar(open);
    depth++;
    need_comma = false;
}

void json_end(const struct cli *c, char close)
{
    if (!c->json)
        return;
    depth--;
    if (need_comma)
        printf("\n%*s", 2 * depth, "");
    putchar(close);
    need_comma = depth > 0;
    if (depth == 0)
        putchar('\n');
}

void json_put_text(const struct cli *c, const char *key, const char *text)
{
    if (!c->json)
        return;
    begin_value(key);
    if (text)
        print_json_text(text);
    else
        fputs("null", stdout);
}

void json_put_number(const struct cli *c, const char *key, double n)
{
    if (!c->json)
        return;
    begin_value(key);
    printf("%.*f", n == (double)(long long)n ? 0 : 3, n);
}

void json_put_null(const struct cli *c, const char *key)
{
    json_put_text(c, key, NULL);
}

void json_put_bool(const struct cli *c, const char *key, bool b)
{
    if (!c->json)
        return;
    begin_value(key);
    fputs(b ? "true" : "false", stdout);
}

/* ---- values ---------------------------------------------------------------------------------------------------------
 */

static double number_of(const struct column *k, const void *row)
{
    const char *at = (const char *)row + k->offset;
    switch (k->type) {
    case COL_BOOL:
        return *(const bool *)at;
    case COL_BAR:
        return *(const double *)at;
    case COL_NUMBER:
    case COL_SIZE:
        return (double)*(const uint64_t *)at;
    default:
        return (double)*(const int64_t *)at;
    }
}

static bool is_unknown(const struct column *k, const void *row)
{
    const char *at = (const char *)row + k->offset;
    return k->type == COL_SIZE ? *(const uint64_t *)at == VMUNDO_UNKNOWN
                               : k->type == COL_BAR && *(const double *)at < 0;
}

static void format_size(char *buf, size_t size, double bytes)
{
    static const char units[] = "BKMGTP";
    size_t u = 0;
    for (; bytes >= 1024 && units[u + 1]; u++)
        bytes /= 1024;
    snprintf(buf, size, u && bytes < 10 ? "%.1f%c" : "%.0f%c", bytes, units[u]);
}

static void format_age(char *buf, size_t size, double seconds)
{
    if (seconds < 120)
        snprintf(buf, size, "%.0fs", seconds < 0 ? 0 : seconds);
    else if (seconds < 7200)
        snprintf(buf, size, "%.0fm", seconds / 60);
    else if (seconds < 172800)
        snprintf(buf, size, "%.0fh", seconds / 3600);
    else
        snprintf(buf, size, "%.0fd", seconds / 86400);
}

static void format_time(char *buf, size_t size, time_t when)
{
    struct tm tm;
    if (!localtime_r(&when, &tm) || !strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(buf, size, "?");
}

#define BAR_WIDTH 10

/* Anything but nothing shows, and only what is full looks full. */
static const char *format_bar(char *buf, size_t size, double share)
{
    if (share < 0)
        return "-";
    double shown = share > 1 ? 1 : share;
    int full = (int)(shown * BAR_WIDTH + 0.5);
    full = full == 0 && shown > 0 ? 1 : full == BAR_WIDTH && shown < 1 ? BAR_WIDTH - 1 : full;
    snprintf(buf, size, "[%.*s%.*s] %3.0f%%", full, "##########", BAR_WIDTH - full, "----------", shown * 100);
    return buf;
}

/* Value as text; buf is used where it is not a string of the row's own. */
static const char *text_of(const struct column *k, const void *row, char *buf, size_t size)
{
    double n = k->type == COL_TEXT ? 0 : number_of(k, row);
    const char *s;
    switch (k->type) {
    case COL_TEXT:
        s = *(char *const *)((const char *)row + k->offset);
        return s && *s ? s : "-";
    case COL_BOOL:
        return n != 0 ? "yes" : "no";
    case COL_NUMBER:
        snprintf(buf, size, "%.0f", n);
        return buf;
    case COL_SIZE:
        if (is_unknown(k, row))
            return "-";
        format_size(buf, size, n);
        return buf;
    case COL_BAR:
        return format_bar(buf, size, n);
    case COL_AGE:
    case COL_TIME:
    case COL_MS:
        if (n == 0)
            return "-";
        if (k->type == COL_AGE)
            format_age(buf, size, (double)time(NULL) - n);
        else
            format_time(buf, size, (time_t)(k->type == COL_MS ? n / 1000 : n));
        return buf;
    }
    return "";
}

static void put_json_members(const struct cli *c, const struct column *columns, const void *row)
{
    for (const struct column *k = columns; k->key; k++) {
        if (k->type == COL_TEXT)
            json_put_text(c, k->key, *(char *const *)((const char *)row + k->offset));
        else if (k->type == COL_BOOL)
            json_put_bool(c, k->key, number_of(k, row) != 0);
        else if (is_unknown(k, row))
            json_put_null(c, k->key);
        else
            json_put_number(c, k->key, number_of(k, row));
    }
}

/* ---- tables ---------------------------------------------------------------------------------------------------------
 */

static void print_title(const char *key)
{
    for (; *key; key++)
        putchar(*key == '_' ? ' ' : toupper((unsigned char)*key));
}

static int shown_width(const char *text)
{
    int n = 0;
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        uint32_t c;
        size_t length = utf8_length(s, &c);
        n += length == 0 ? 4 : is_control(c) ? 4 * (int)length : 1;
        s += length ? length : 1;
    }
    return n;
}

static bool last_shown(const struct column *k)
{
    for (k++; k->key; k++)
        if (!k->json_only)
            return false;
    return true;
}

static void pad(int n)
{
    printf("%*s", n > 0 ? n : 0, "");
}

static void print_row(const struct column *columns, const int *widths, const void *row)
{
    char buf[64];
    for (const struct column *k = columns; k->key; k++) {
        if (k->json_only)
            continue;
        const char *s = row ? text_of(k, row, buf, sizeof(buf)) : k->key;
        if (row)
            print_escaped(stdout, s);
        else
            print_title(s);
        if (!last_shown(k))
            pad(widths[k - columns] - shown_width(s) + 2);
    }
    putchar('\n');
}

#define COLUMNS_MAX 20

void output_table(const struct cli *c, const struct column *columns, const void *rows, size_t size, size_t n)
{
    int widths[COLUMNS_MAX] = {0};
    char buf[64];
    for (size_t i = 0; i < n && c->json; i++) {
        json_begin(c, NULL, '{');
        put_json_members(c, columns, (const char *)rows + i * size);
        json_end(c, '}');
    }
    if (c->json)
        return;
    for (const struct column *k = columns; k->key; k++) {
        int *w = &widths[k - columns];
        *w = shown_width(k->key);
        for (size_t i = 0; i < n; i++) {
            int width = shown_width(text_of(k, (const char *)rows + i * size, buf, sizeof(buf)));
            *w = width > *w ? width : *w;
        }
    }
    print_row(columns, widths, NULL);
    for (size_t i = 0; i < n; i++)
        print_row(columns, widths, (const char *)rows + i * size);
}

void output_fields(const struct cli *c, const struct column *columns, const void *row)
{
    char buf[64];
    if (c->json) {
        put_json_members(c, columns, row);
        return;
    }
    for (const struct column *k = columns; k->key; k++) {
        const char *s = k->json_only ? "-" : text_of(k, row, buf, sizeof(buf));
        if (!strcmp(s, "-"))
            continue;
        int width = 0;
        for (const char *p = k->key; *p; p++, width++)
            putchar(*p == '_' ? ' ' : *p);
        putchar(':');
        pad(14 - width);
        print_escaped(stdout, s);
        putchar('\n');
    }
}
