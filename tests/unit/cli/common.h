/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* common.h: cmocka, and what the tests of the command line's parts share. */
#ifndef TESTS_CLI_COMMON_H
#define TESTS_CLI_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline void assert_says(const struct vmundo_error *err, enum vmundo_code code, const char *part)
{
    assert_int_equal(err->code, code);
    if (!strstr(err->msg, part))
        fail_msg("error \"%s\" instead of \"…%s…\"", err->msg, part);
}

#endif
