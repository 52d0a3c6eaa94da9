/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-output.c: tables and JSON from one description, and foreign text that must not reach a terminal as it is. */
#include "common.h"

#include <jansson.h>

/* ---- what was printed ------------------------------------------------------------------------------------------- */

static char printed[4096];
static int saved_stdout;
static FILE *captured;

static void begin(void)
{
    fflush(stdout);
    captured = tmpfile();
    assert_non_null(captured);
    saved_stdout = dup(STDOUT_FILENO);
    dup2(fileno(captured), STDOUT_FILENO);
}

static const char *end(void)
{
    fflush(stdout);
    rewind(captured);
    size_t n = fread(printed, 1, sizeof(printed) - 1, captured);
    printed[n] = '\0';
    dup2(saved_stdout, STDOUT_FILENO);
    close(saved_stdout);
    fclose(captured);
    return printed;
}

static const char *escaped(const char *text)
{
    begin();
    print_escaped(stdout, text);
    return end();
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

struct row {
    char *name;
    uint64_t size, n;
    int64_t made, made_ms;
    bool pinned;
    double fill;
    char *hidden;
};

static const struct column columns[] = {
    {"name", COL_TEXT, offsetof(struct row, name), false},
    {"used_size", COL_SIZE, offsetof(struct row, size), false},
    {"n", COL_NUMBER, offsetof(struct row, n), false},
    {"made", COL_TIME, offsetof(struct row, made), false},
    {"made_ms", COL_MS, offsetof(struct row, made_ms), false},
    {"pinned", COL_BOOL, offsetof(struct row, pinned), false},
    {"fill", COL_BAR, offsetof(struct row, fill), false},
    {"hidden", COL_TEXT, offsetof(struct row, hidden), true},
    {0},
};

static char one[] = "web", two[] = "evil\033[2J\"\\", more[] = "more";

static const struct row rows[] = {
    {one, 1536, 7, 86400, 86400123, true, 0.5, more},
    {two, VMUNDO_UNKNOWN, 0, 0, 0, false, -1, NULL},
};

static void test_table(void **state)
{
    const struct cli c = {0};
    (void)state;
    begin();
    output_table(&c, columns, rows, sizeof(rows[0]), 2);
    assert_string_equal(
        end(), "NAME           USED SIZE  N  MADE                 MADE MS              PINNED  FILL\n"
               "web            1.5K       7  1970-01-02 00:00:00  1970-01-02 00:00:00  yes     [#####-----]  50%\n"
               "evil\\x1b[2J\"\\  -          0  -                    -                    no      -\n");
}

static void test_fields(void **state)
{
    const struct cli c = {0};
    (void)state;
    begin();
    output_fields(&c, columns, &rows[0]);
    assert_string_equal(end(), "name:          web\n"
                               "used size:     1.5K\n"
                               "n:             7\n"
                               "made:          1970-01-02 00:00:00\n"
                               "made ms:       1970-01-02 00:00:00\n"
                               "pinned:        yes\n"
                               "fill:          [#####-----]  50%\n");
}

/* Read back by somebody else's parser. */
static void test_json(void **state)
{
    const struct cli c = {.json = true};
    json_error_t e;
    (void)state;
    begin();
    json_begin(&c, NULL, '[');
    output_table(&c, columns, rows, sizeof(rows[0]), 2);
    json_end(&c, ']');
    json_t *j = json_loads(end(), JSON_REJECT_DUPLICATES, &e);
    assert_non_null(j);
    assert_int_equal(json_array_size(j), 2);
    const json_t *a = json_array_get(j, 0), *b = json_array_get(j, 1);
    assert_string_equal(json_string_value(json_object_get(a, "name")), "web");
    assert_int_equal(json_integer_value(json_object_get(a, "used_size")), 1536);
    assert_int_equal(json_integer_value(json_object_get(a, "made_ms")), 86400123);
    assert_true(json_is_true(json_object_get(a, "pinned")));
    assert_true(json_real_value(json_object_get(a, "fill")) == 0.5);
    assert_string_equal(json_string_value(json_object_get(a, "hidden")), "more");
    assert_string_equal(json_string_value(json_object_get(b, "name")), two);
    assert_true(json_is_null(json_object_get(b, "used_size")));
    assert_true(json_is_null(json_object_get(b, "fill")));
    assert_true(json_is_null(json_object_get(b, "hidden")));
    json_decref(j);
}

static void test_empty_json(void **state)
{
    const struct cli c = {.json = true};
    (void)state;
    begin();
    json_begin(&c, NULL, '[');
    output_table(&c, columns, NULL, sizeof(rows[0]), 0);
    json_end(&c, ']');
    assert_string_equal(end(), "[]\n");
}

static void assert_field(const struct column *column, const void *row, const char *value)
{
    const struct cli c = {0};
    char want[64];
    snprintf(want, sizeof(want), "%s:%*s%s\n", column->key, 14 - (int)strlen(column->key), "", value);
    begin();
    output_fields(&c, column, row);
    assert_string_equal(end(), want);
}

static void test_sizes(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0B"},
                 {1, "1B"},
                 {1023, "1023B"},
                 {1024, "1.0K"},
                 {10240, "10K"},
                 {1048576, "1.0M"},
                 {(uint64_t)3 << 40, "3.0T"},
                 {(uint64_t)5 << 50, "5.0P"},
                 {(uint64_t)1 << 62, "4096P"}};
    const struct column size[] = {{"size", COL_SIZE, 0, false}, {0}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_field(size, &cases[i].bytes, cases[i].text);
}

/* Anything but nothing shows, and only what is full looks full. */
static void test_bars(void **state)
{
    static const struct {
        double share;
        const char *text;
    } cases[] = {{0, "[----------]   0%"},     {0.001, "[#---------]   0%"}, {0.5, "[#####-----]  50%"},
                 {0.999, "[#########-] 100%"}, {1, "[##########] 100%"},     {7, "[##########] 100%"}};
    const struct column bar[] = {{"bar", COL_BAR, 0, false}, {0}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_field(bar, &cases[i].share, cases[i].text);
}

static void test_foreign_text(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {NULL, ""},
        {"", ""},
        {"plain, ünïcödé, 漢字, 🙂", "plain, ünïcödé, 漢字, 🙂"},
        {"\033[31mred\007", "\\x1b[31mred\\x07"},
        {"a\tb\nc\rd", "a\\x09b\\x0ac\\x0dd"},
        {"\x7f", "\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m"}, /* CSI as one character */
        {"\xe2\x80\xae"
         "gpj.exe",
         "\\xe2\\x80\\xaegpj.exe"},          /* from right to left */
        {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"}, /* a line separator */
        {"\xe2\x81\xa6", "\\xe2\\x81\\xa6"},
        {"\xff\xfe", "\\xff\\xfe"},
        {"\xc0\xaf", "\\xc0\\xaf"}, /* overlong */
        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* half of a pair */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
        {"cut\xe2\x82", "cut\\xe2\\x82"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_string_equal(escaped(cases[i].text), cases[i].shown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),        cmocka_unit_test(test_fields), cmocka_unit_test(test_json),
        cmocka_unit_test(test_empty_json),   cmocka_unit_test(test_sizes),  cmocka_unit_test(test_bars),
        cmocka_unit_test(test_foreign_text),
    };
    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
