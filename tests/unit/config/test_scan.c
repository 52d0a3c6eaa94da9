/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test_scan.c: does the scanner find what stands where, as libxlutil's lexer would? */
#include "common.h"

#include "config/scan.h"

static void assert_value(const char *text, const struct scan_value *value, const char *want)
{
    AUTO_FREE char *got = strndup(text + value->start, value->end - value->start);
    assert_text(got, want);
}

static void test_statements(void **state)
{
    (void)state;
    static const char text[] = "# a = 'comment' [\n"
                               "name=\"x\";vcpus = 0x2 # two\n"
                               "\t \n"
                               "list = [ 'a', # one\n"
                               "   [1, ['b']] ,\n"
                               "\n"
                               "   \"c#d\", ]\n"
                               "list += [3]";
    struct vmundo_error err = {0};
    AUTO_SCAN struct scan s = {0};
    assert_int_equal(scan_text(text, &s, &err), 0);
    assert_int_equal(s.n_settings, 4);
    assert_text(s.settings[0].key, "name");
    assert_value(text, &s.settings[0].value, "\"x\"");
    assert_int_equal(s.settings[0].value.line, 2);
    assert_value(text, &s.settings[1].value, "0x2");
    assert_true(s.settings[2].value.list);
    assert_int_equal(s.settings[2].n_items, 3);
    assert_int_equal(s.settings[2].value.line, 4);
    const struct scan_value *items = s.items + s.settings[2].first_item;
    assert_value(text, &items[0], "'a'");
    assert_value(text, &items[1], "[1, ['b']]");
    assert_true(items[1].list);
    assert_int_equal(items[1].line, 5);
    assert_value(text, &items[2], "\"c#d\"");
    assert_int_equal(items[2].line, 7);
    assert_true(s.settings[3].add);
    assert_int_equal(s.settings[3].value.line, 8);
    assert_ptr_equal(scan_find(&s, "list"), &s.settings[3]);
    assert_null(scan_find(&s, "lis"));
}

/* += adds to what the last = left. */
static void test_lists(void **state)
{
    (void)state;
    static const char text[] = "l = ['a','b']\nk=['z']\nl = ['c']\nl += ['d', 'e']\n";
    AUTO_SCAN struct scan s = {0};
    AUTO_FREE struct scan_value *items = NULL;
    size_t n = 0;
    assert_int_equal(scan_text(text, &s, NULL), 0);
    assert_int_equal(scan_list(&s, "l", &items, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_value(text, &items[0], "'c'");
    assert_value(text, &items[1], "'d'");
    assert_value(text, &items[2], "'e'");
}

static void test_strings(void **state)
{
    (void)state;
    static const struct {
        const char *literal, *want;
    } cases[] = {
        {"'plain'", "plain"},
        {"\"it's\"", "it's"},
        {"'say \"hi\"'", "say \"hi\""},
        {"'it\\'s a \\\\ and \\\"'", "it's a \\ and \""},
        {"'\\t\\n\\r\\a\\b\\f\\v'", "\t\n\r\a\b\f\v"},
        {"''", ""},
        {"0x10", "0x10"},
        {"'\\101'", NULL}, /* libxlutil drops these */
        {"'\\x41'", NULL},
        {"['a']", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTO_FREE char *text = str_printf(NULL, "a=%s", cases[i].literal), *got = NULL;
        AUTO_SCAN struct scan s = {0};
        assert_int_equal(scan_text(text, &s, NULL), 0);
        assert_int_equal(scan_string(text, &s.settings[0].value, &got, NULL), cases[i].want ? 0 : -1);
        assert_text(got, cases[i].want);
    }
}

/* What is quoted reads back the same, with either quote. */
static void test_quote(void **state)
{
    (void)state;
    static const char *const specs[] = {"", "a", "it's", "say \"hi\"", "back\\slash\\", "\\'\"", "tab\there", "ü"};
    for (size_t i = 0; i < ARRAY_SIZE(specs) * 2; i++) {
        const char *spec = specs[i / 2];
        AUTO_FREE char *text = scan_quote(spec, i % 2 ? '"' : '\'', NULL), *got = NULL;
        const struct scan_value value = {.end = strlen(text)};
        assert_int_equal(scan_string(text, &value, &got, NULL), 0);
        assert_text(got, spec);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a", "a=", "=1", "a=[1", "a=[b=2]", "a='x", "a='x\n'", "a='x\\\n'", "a=1\n2", "A=1", "a+1", "a=b", "a=1\r",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct vmundo_error err = {0};
        struct scan s = {0};
        if (scan_text(texts[i], &s, &err) == 0)
            fail_msg("taken: %s", texts[i]);
        assert_says(&err, strstr(texts[i], "\n2") ? "line 2" : "line 1");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statements), cmocka_unit_test(test_lists), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_quote),      cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
