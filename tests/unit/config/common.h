/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* common.h: what the tests of config/ share. */
#ifndef TEST_CONFIG_COMMON_H
#define TEST_CONFIG_COMMON_H

#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define AUTO_DOMAIN CLEANUP(domain_clear)

/* Parse text as /cfg/test.cfg; it must be right. */
static inline struct domain parse_ok(const char *text)
{
    struct domain d = {0};
    struct vmundo_error err = {0};
    if (config_parse(text, "/cfg/test.cfg", &d, &err) < 0)
        fail_msg("refused: %s\n%s", err.msg, text);
    return d;
}

/* The message must contain part. */
static inline void assert_says(const struct vmundo_error *err, const char *part)
{
    if (!strstr(err->msg, part))
        fail_msg("'%s' does not say '%s'", err->msg, part);
    assert_int_equal(err->code, VMUNDO_FAILED);
}

/* A missing string is NULL. */
static inline void assert_text(const char *got, const char *want)
{
    if (!str_eq(got, want))
        fail_msg("'%s' is not '%s'", got ? got : "(null)", want ? want : "(null)");
}

#endif
