/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors: what setters and wrappers leave in the struct, also when the message does not fit. */
#include "tmpdir.h"

static void test_set_fills_everything_in(void **state)
{
    (void)state;
    struct vmundo_error e = {.errnum = 7};
    assert_int_equal(error_set(&e, VMUNDO_CONFLICT, "%s is used by %d", "web", 42), -1);
    assert_int_equal(e.code, VMUNDO_CONFLICT);
    assert_int_equal(e.errnum, 0);
    assert_string_equal(e.msg, "web is used by 42");
}

static void test_errno_is_explained(void **state)
{
    (void)state;
    struct vmundo_error e;
    assert_int_equal(error_errno(&e, ENOENT, "cannot open %s", "x"), -1);
    assert_int_equal(e.code, VMUNDO_FAILED);
    assert_int_equal(e.errnum, ENOENT);
    assert_string_equal(e.msg, "cannot open x: No such file or directory");
}

static void test_wrap_keeps_code_and_errnum(void **state)
{
    (void)state;
    struct vmundo_error e;
    error_errno(&e, EBUSY, "umount");
    e.code = VMUNDO_REFUSED;
    assert_int_equal(error_wrap(&e, "disk %s", "xvda"), -1);
    assert_int_equal(e.code, VMUNDO_REFUSED);
    assert_int_equal(e.errnum, EBUSY);
    assert_string_equal(e.msg, "disk xvda: umount: Device or resource busy");
}

static void test_own_message_as_argument(void **state)
{
    (void)state;
    struct vmundo_error e;
    error_set(&e, VMUNDO_FAILED, "inner");
    error_set(&e, VMUNDO_REFUSED, "outer (%s)", e.msg);
    assert_string_equal(e.msg, "outer (inner)");
    error_wrap(&e, "%s, again", e.msg);
    assert_string_equal(e.msg, "outer (inner), again: outer (inner)");
}

static void test_long_messages_are_cut(void **state)
{
    (void)state;
    char big[3000];
    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    struct vmundo_error e;
    error_errno(&e, EIO, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    assert_int_equal(e.errnum, EIO);
    error_wrap(&e, "context");
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    assert_true(str_has_prefix(e.msg, "context: aaa"));
    error_wrap(&e, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
}

static void test_null_is_accepted(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, VMUNDO_FAILED, "x"), -1);
    assert_int_equal(error_errno(NULL, EIO, "x"), -1);
    assert_int_equal(error_wrap(NULL, "x"), -1);
    assert_int_equal(error_nomem(NULL), -1);
    error_clear(NULL);
}

static void test_clear(void **state)
{
    (void)state;
    struct vmundo_error e;
    assert_int_equal(error_nomem(&e), -1);
    assert_string_equal(e.msg, "out of memory");
    error_clear(&e);
    assert_int_equal(e.code, VMUNDO_OK);
    assert_int_equal(e.errnum, 0);
    assert_string_equal(e.msg, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_fills_everything_in),
        cmocka_unit_test(test_errno_is_explained),
        cmocka_unit_test(test_wrap_keeps_code_and_errnum),
        cmocka_unit_test(test_own_message_as_argument),
        cmocka_unit_test(test_long_messages_are_cut),
        cmocka_unit_test(test_null_is_accepted),
        cmocka_unit_test(test_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
