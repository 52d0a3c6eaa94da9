/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Strings, vectors of strings, and what escaping lets through. */
#include "tmpdir.h"

static void test_prefix_and_suffix(void **state)
{
    (void)state;
    assert_true(str_has_prefix("rbd:pool", "rbd:"));
    assert_true(str_has_prefix("x", ""));
    assert_false(str_has_prefix("rb", "rbd:"));
    assert_true(str_has_suffix("a.qcow2", ".qcow2"));
    assert_true(str_has_suffix("a", ""));
    assert_false(str_has_suffix("cow2", ".qcow2"));
    assert_false(str_has_suffix("a.qcow2x", ".qcow2"));
}

static void test_eq_takes_null(void **state)
{
    (void)state;
    assert_true(str_eq(NULL, NULL));
    assert_false(str_eq(NULL, ""));
    assert_false(str_eq("", NULL));
    assert_true(str_eq("a", "a"));
    assert_false(str_eq("a", "b"));
}

static void test_printf_and_copy(void **state)
{
    (void)state;
    AUTO_FREE char *s = str_printf(NULL, "%s-%d", "a", 5);
    assert_string_equal(s, "a-5");
    AUTO_FREE char *copy = NULL;
    assert_int_equal(str_copy(s, &copy, NULL), 0);
    assert_string_equal(copy, s);
    assert_ptr_not_equal(copy, s);
    char *none = s;
    assert_int_equal(str_copy(NULL, &none, NULL), 0);
    assert_null(none);
}

static void test_vector_grows_and_ends_in_null(void **state)
{
    (void)state;
    AUTO_STRV struct strv v = {0};
    assert_false(strv_has(&v, "0"));
    for (int i = 0; i < 1000; i++)
        assert_int_equal(strv_addf(&v, NULL, "%d", i), 0);
    assert_int_equal(strv_add(&v, "end", NULL), 0);
    assert_int_equal(strv_take(&v, strdup("taken"), NULL), 0);
    assert_int_equal(v.n, 1002);
    assert_string_equal(v.items[999], "999");
    assert_string_equal(v.items[1001], "taken");
    assert_null(v.items[1002]);
    assert_true(strv_has(&v, "500"));
    assert_false(strv_has(&v, "1000"));
    assert_false(strv_has(&v, NULL));
}

static void test_vector_refuses_null(void **state)
{
    (void)state;
    AUTO_STRV struct strv v = {0};
    struct vmundo_error e;
    assert_int_equal(strv_take(&v, NULL, &e), -1);
    assert_string_equal(e.msg, "out of memory");
    assert_int_equal(v.n, 0);
}

static void test_vector_steal_and_clear(void **state)
{
    (void)state;
    struct strv v = {0};
    assert_null(strv_steal(&v));
    strv_free_items(NULL);
    strv_add(&v, "a", NULL);
    strv_add(&v, "b", NULL);
    char **items = strv_steal(&v);
    assert_int_equal(v.n, 0);
    assert_null(v.items);
    assert_string_equal(items[1], "b");
    assert_null(items[2]);
    strv_free_items(items);
    strv_add(&v, "again", NULL);
    strv_clear(&v);
    strv_clear(&v);
    assert_null(v.items);
}

struct escape_case {
    const char *in, *out;
};

static void test_escape(void **state)
{
    (void)state;
    static const struct escape_case cases[] = {
        {"", ""},
        {"plain \\ \"text\" ~", "plain \\ \"text\" ~"},
        {"Gr\xc3\xbc\xc3\x9f"
         "e \xe2\x82\xac \xf0\x9f\x98\x80",
         "Gr\xc3\xbc\xc3\x9f"
         "e \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\x1b[2J\a\r\n\t", "\\x1b[2J\\x07\\x0d\\x0a\\x09"},
        {"\x7f", "\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m"},          /* C1: CSI as one character */
        {"\xc2\xa0", "\xc2\xa0"},   /* the first that is none */
        {"\x9b", "\\x9b"},          /* not UTF-8 */
        {"\xc0\xaf", "\\xc0\\xaf"}, /* overlong / */
        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},
        {"\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* a surrogate */
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},     /* U+10FFFF */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond it */
        {"\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80"},
        {"\xe2\x82", "\\xe2\\x82"}, /* cut off */
        {"\xe2\x82"
         "A",
         "\\xe2\\x82"
         "A"},
        {"a\xe2\x80\xae"
         "b",
         "a\\xe2\\x80\\xae"
         "b"}, /* right-to-left override */
        {"\xe2\x81\xa6", "\\xe2\\x81\\xa6"},
        {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"}, /* line separator */
        {"\xff\xfe", "\\xff\\xfe"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTO_FREE char *out = str_escape(cases[i].in, SIZE_MAX);
        assert_string_equal(out, cases[i].out);
    }
}

static void test_escape_reads_no_further_than_max(void **state)
{
    (void)state;
    const char unterminated[] = {'a', 'b', '\xe2', '\x82', '\xac'};
    AUTO_FREE char *all = str_escape(unterminated, 5);
    assert_string_equal(all, "ab\xe2\x82\xac");
    AUTO_FREE char *cut = str_escape(unterminated, 4);
    assert_string_equal(cut, "ab\\xe2\\x82");
    AUTO_FREE char *none = str_escape(unterminated, 0);
    assert_string_equal(none, "");
}

/* Whatever goes in, what comes out has no control character, and escaping it once more changes nothing. */
static void test_escape_of_every_three_bytes(void **state)
{
    (void)state;
    for (unsigned n = 0x101; n < 0x1000000; n += 977) {
        const char in[] = {(char)(n & 0xff), (char)(n >> 8 & 0xff), (char)(n >> 16), '\0'};
        AUTO_FREE char *out = str_escape(in, sizeof(in));
        for (const char *p = out; *p; p++)
            assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
        AUTO_FREE char *again = str_escape(out, SIZE_MAX);
        assert_string_equal(again, out);
    }
}

/* text split, the words in brackets */
static void assert_words(const char *text, const char *want)
{
    AUTO_STRV struct strv v = {0};
    char got[256] = "";
    assert_int_equal(str_split_words(text, &v, NULL), 0);
    for (size_t i = 0; i < v.n; i++) {
        size_t n = strlen(got);
        snprintf(got + n, sizeof(got) - n, "[%s]", v.items[i]);
    }
    assert_string_equal(got, want);
}

static void test_split_words(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    AUTO_STRV struct strv v = {0};
    assert_words("", "");
    assert_words(" \t\n ", "");
    assert_words("/bin/a  b\tc ", "[/bin/a][b][c]");
    assert_words("a 'b  c' \"d e\"f g'h'\"i\"", "[a][b  c][d ef][ghi]");
    assert_words("'' \"\" x", "[][][x]");
    assert_words("a\\ b \\' '\\' \"\\\"\" \\\\ c\\", "[a b]['][\\][\"][\\][c\\]");
    assert_words("$HOME;`ls`|*>x", "[$HOME;`ls`|*>x]");
    assert_int_equal(str_split_words("a 'b", &v, &err), -1);
    assert_int_equal(err.code, VMUNDO_USAGE);
    assert_non_null(strstr(err.msg, "closing '"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix_and_suffix),
        cmocka_unit_test(test_eq_takes_null),
        cmocka_unit_test(test_printf_and_copy),
        cmocka_unit_test(test_vector_grows_and_ends_in_null),
        cmocka_unit_test(test_vector_refuses_null),
        cmocka_unit_test(test_vector_steal_and_clear),
        cmocka_unit_test(test_split_words),
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_escape_reads_no_further_than_max),
        cmocka_unit_test(test_escape_of_every_three_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
