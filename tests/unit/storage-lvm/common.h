/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* common.h: cmocka, and the two assertions that the tests of the LVM parts share. */
#ifndef TESTS_STORAGE_LVM_COMMON_H
#define TESTS_STORAGE_LVM_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/lvm.h"

static inline void assert_ok(int r, const struct vmundo_error *err)
{
    if (r != 0)
        fail_msg("failed: %s", err->msg);
}

static inline void assert_failed(int r, const struct vmundo_error *err, const char *part)
{
    assert_int_equal(r, -1);
    if (!strstr(err->msg, part))
        fail_msg("error \"%s\" instead of \"…%s…\"", err->msg, part);
}

#endif
