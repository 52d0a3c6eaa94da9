/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON: what is refused, with which words, and that outputs stay untouched then. */
#include "tmpdir.h"
#include "util/json.h"

static json_t *parse(const char *text)
{
    json_t *j = NULL;
    struct vmundo_error e;
    if (json_parse(text, "test", &j, &e) < 0)
        fail_msg("%s", e.msg);
    return j;
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "{} x",
                                      "\"scalar\"",
                                      "17",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"a\":\"\\u0000\"}",
                                      "[1,]",
                                      "{\"a\":99999999999999999999}",
                                      "{\"a\":\"\xff\"}",
                                      "{'a':1}"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        json_t *j = (json_t *)1;
        struct vmundo_error e = {0};
        assert_int_equal(json_parse(bad[i], "reply of QEMU", &j, &e), -1);
        assert_ptr_equal(j, (json_t *)1);
        assert_int_equal(e.code, VMUNDO_FAILED);
        assert_true(str_has_prefix(e.msg, "reply of QEMU: not valid JSON: line "));
    }
}

static void test_parse_names_the_line_and_escapes(void **state)
{
    (void)state;
    json_t *j = NULL;
    struct vmundo_error e;
    assert_int_equal(json_parse("{\n\"a\": 1,\n\"b\": \x1b}", "f", &j, &e), -1);
    assert_non_null(strstr(e.msg, "line 3"));
    assert_null(strchr(e.msg, '\x1b'));
}

static void test_deep_nesting_is_refused(void **state)
{
    (void)state;
    AUTO_FREE char *deep = malloc(100001);
    memset(deep, '[', 100000);
    deep[100000] = '\0';
    json_t *j = NULL;
    assert_int_equal(json_parse(deep, "deep", &j, NULL), -1);
}

static void test_strings(void **state)
{
    (void)state;
    AUTO_JSON json_t *o = parse("{\"s\":\"text\",\"n\":5,\"z\":null}");
    struct vmundo_error e;
    AUTO_FREE char *s = NULL;
    assert_int_equal(json_get_string(o, "s", &s, &e), 0);
    assert_string_equal(s, "text");

    char *out = s;
    assert_int_equal(json_get_string(o, "none", &out, &e), -1);
    assert_string_equal(e.msg, "member \"none\" is missing");
    assert_int_equal(json_get_string(o, "z", &out, &e), -1);
    assert_string_equal(e.msg, "member \"z\" is missing");
    assert_int_equal(json_get_string(o, "n", &out, &e), -1);
    assert_string_equal(e.msg, "member \"n\" is not a string");
    assert_int_equal(json_opt_string(o, "n", &out, &e), -1);
    assert_ptr_equal(out, s);

    assert_int_equal(json_opt_string(o, "z", &out, &e), 0);
    assert_null(out);
    out = s;
    assert_int_equal(json_opt_string(o, "none", &out, &e), 0);
    assert_null(out);
}

static void test_numbers(void **state)
{
    (void)state;
    AUTO_JSON json_t *o = parse("{\"n\":9223372036854775807,\"neg\":-1,\"real\":1.0,\"s\":\"1\",\"z\":null}");
    struct vmundo_error e;
    uint64_t n = 3;
    static const char *const bad[] = {"neg", "real", "s"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(json_get_u64(o, bad[i], &n, &e), -1);
        assert_non_null(strstr(e.msg, bad[i]));
        assert_int_equal(json_opt_u64(o, bad[i], 1, &n, &e), -1);
    }
    assert_int_equal(json_get_u64(o, "none", &n, &e), -1);
    assert_int_equal(json_get_u64(o, "z", &n, &e), -1);
    assert_int_equal(json_get_u64(NULL, "n", &n, &e), -1);
    assert_int_equal(n, 3);
    assert_int_equal(json_get_u64(o, "n", &n, &e), 0);
    assert_true(n == INT64_MAX);
    assert_int_equal(json_opt_u64(o, "z", 7, &n, &e), 0);
    assert_int_equal(n, 7);
    assert_int_equal(json_opt_u64(o, "none", 8, &n, &e), 0);
    assert_int_equal(n, 8);
    assert_int_equal(json_opt_u64(o, "n", 8, &n, &e), 0);
    assert_true(n == INT64_MAX);
}

static void test_booleans(void **state)
{
    (void)state;
    AUTO_JSON json_t *o = parse("{\"t\":true,\"f\":false,\"n\":1}");
    assert_true(json_opt_bool(o, "t", false));
    assert_false(json_opt_bool(o, "f", true));
    assert_true(json_opt_bool(o, "n", true));
    assert_false(json_opt_bool(o, "none", false));
}

static void test_text_keeps_order(void **state)
{
    (void)state;
    const char *text = "{\"z\":1,\"a\":[true,null],\"m\":{\"s\":\"\\u001b\xc3\xbc\"}}";
    AUTO_JSON json_t *o = parse(text);
    AUTO_FREE char *again = json_text(o, NULL);
    assert_string_equal(again, "{\"z\":1,\"a\":[true,null],\"m\":{\"s\":\"\\u001B\xc3\xbc\"}}");
    AUTO_JSON json_t *scalar = json_string("x");
    AUTO_FREE char *quoted = json_text(scalar, NULL);
    assert_string_equal(quoted, "\"x\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_parse_names_the_line_and_escapes),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_text_keeps_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
