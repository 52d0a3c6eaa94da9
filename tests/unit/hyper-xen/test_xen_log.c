/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is read off the log of `xl create -F`. The logs are real ones, of Xen 4.17. */
#include "hyper/xen-log.h"

#include "util/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CREATED "Waiting for domain web--new (domid 7) to die [pid 217]\n"
#define REBOOTED                                                                                                       \
    "Domain 7 has shut down, reason code 1 0x1\n"                                                                      \
    "Action for shutdown reason code 1 is restart\n"                                                                   \
    "Domain 7 needs to be cleaned up: destroying the domain\n"                                                         \
    "Done. Rebooting now\n"

static struct xl_log parsed(const char *text)
{
    struct xl_log log;
    xl_log_parse(text, &log);
    return log;
}

static void test_nothing_yet(void **state)
{
    (void)state;
    struct xl_log log = parsed("");
    assert_int_equal(log.phase, XL_CREATING);
    assert_int_equal(log.domid, 0);
    assert_int_equal(log.pid, 0);
    assert_int_equal(log.reason, -1);
}

static void test_complete(void **state)
{
    (void)state;
    struct xl_log log = parsed(CREATED);
    assert_int_equal(log.phase, XL_WATCHING);
    assert_int_equal(log.domid, 7);
    assert_int_equal(log.pid, 217);
    assert_int_equal(log.reason, -1);
}

/* Half a line may have half a number in it. */
static void test_incomplete_line(void **state)
{
    (void)state;
    assert_int_equal(parsed("Waiting for domain web--new (domid 7) to die [pid 2").phase, XL_CREATING);
    assert_int_equal(parsed("Waiting for domain web--new (domid 7) to die [pid 217]").phase, XL_CREATING);
    assert_int_equal(parsed(CREATED "Domain 7 has shut down, reason code 3 0x3").phase, XL_WATCHING);
}

static void test_ends(void **state)
{
    (void)state;
    struct xl_log off = parsed(CREATED "Domain 7 has shut down, reason code 0 0x0\n"
                                       "Action for shutdown reason code 0 is destroy\n"
                                       "Domain 7 needs to be cleaned up: destroying the domain\n"
                                       "Done. Exiting now\n");
    assert_int_equal(off.phase, XL_ENDING);
    assert_int_equal(off.reason, 0);
    assert_int_equal(off.domid, 7);
    struct xl_log destroyed = parsed(CREATED "Domain 7 has been destroyed.\n");
    assert_int_equal(destroyed.phase, XL_ENDING);
    assert_int_equal(destroyed.reason, -1);
    struct xl_log crashed = parsed(CREATED "Domain 7 has shut down, reason code 3 0x3\n"
                                           "Action for shutdown reason code 3 is coredump-destroy\n"
                                           "dumping core to /var/lib/xen/dump/web\n");
    assert_int_equal(crashed.phase, XL_ENDING);
    assert_int_equal(crashed.reason, 3);
}

static void test_preserved(void **state)
{
    (void)state;
    struct xl_log log = parsed(CREATED "Domain 7 has shut down, reason code 3 0x3\n"
                                       "Action for shutdown reason code 3 is preserve\n"
                                       "Done. Exiting now\n");
    assert_int_equal(log.phase, XL_PRESERVED);
    assert_int_equal(log.domid, 7);
}

/* A reboot makes a new domain, under the name that the old one had by then. */
static void test_reboots(void **state)
{
    (void)state;
    static const char *const actions[] = {"restart", "coredump-restart", "rename-restart", "soft-reset"};
    for (size_t k = 0; k < ARRAY_SIZE(actions); k++) {
        char text[512];
        snprintf(text, sizeof(text), CREATED "Domain 7 has shut down, reason code 1 0x1\n"
                 "Action for shutdown reason code 1 is %s\n", actions[k]);
        assert_int_equal(parsed(text).phase, XL_RESTARTING);
        assert_int_equal(parsed(text).domid, 7);
    }
    struct xl_log log = parsed(CREATED REBOOTED "Waiting for domain web (domid 12) to die [pid 217]\n");
    assert_int_equal(log.phase, XL_WATCHING);
    assert_int_equal(log.domid, 12);
    assert_int_equal(log.reason, -1);
}

static void test_suspended_and_resumed(void **state)
{
    (void)state;
    struct xl_log log = parsed(CREATED "Domain 7 has shut down, reason code 2 0x2\n"
                                       "Domain has suspended.\n"
                                       "Continue waiting for domain 7\n");
    assert_int_equal(log.phase, XL_WATCHING);
    assert_int_equal(log.reason, -1);
}

static void test_reasons(void **state)
{
    (void)state;
    assert_string_equal(xl_reason_text(0), "guest powered off");
    assert_string_equal(xl_reason_text(1), "guest rebooted");
    assert_string_equal(xl_reason_text(3), "guest crashed");
    assert_string_equal(xl_reason_text(4), "guest's watchdog expired");
    assert_string_equal(xl_reason_text(99), "guest shut down");
    assert_string_equal(xl_reason_text(-1), "guest shut down");
}

static void expect_errors(const char *text, const char *expected)
{
    AUTO_FREE char *errors = xl_log_errors(text, NULL);
    assert_non_null(errors);
    assert_string_equal(errors, expected);
}

static void test_errors_say_why(void **state)
{
    (void)state;
    expect_errors("", "");
    expect_errors(CREATED, "");
    expect_errors("libxl: error: libxl_aoutils.c:539:async_exec_timeout: killing execution of /etc/xen/scripts/block add "
                  "because of timeout\n"
                  "libxl: error: libxl_create.c:1672:domcreate_launch_dm: Domain 1:unable to add disk devices\n",
                  "killing execution of /etc/xen/scripts/block add because of timeout; Domain 1:unable to add disk devices");
    expect_errors("libxl: info: libxl_create.c:120:f: harmless\nlibxl: warning: libxl_create.c:120:f: harmless\n", "");
    expect_errors("xc: error: panic: xg_dom_boot.c:119: xc_dom_boot_mem_init: can't allocate low memory for domain: Out "
                  "of memory\n",
                  "panic: xg_dom_boot.c:119: xc_dom_boot_mem_init: can't allocate low memory for domain: Out of memory");
    expect_errors("/s/xl.cfg:3: config parsing error near `=': syntax error\nFailed to parse config: Invalid argument\n",
                  "/s/xl.cfg:3: config parsing error near `=': syntax error; Failed to parse config: Invalid argument");
}

/* Those of an earlier life of the domain are no longer of interest. */
static void test_errors_since_the_last_domain(void **state)
{
    (void)state;
    expect_errors("libxl: error: libxl_a.c:1:f: old\n" CREATED, "");
    expect_errors(CREATED "libxl: error: libxl_a.c:1:f: old\n" REBOOTED "libxl: error: libxl_b.c:2:g: new\n", "old; new");
    expect_errors(CREATED REBOOTED "libxl: error: libxl_b.c:2:g: new\n", "new");
}

/* Not without limit, and nothing that a terminal would obey. */
static void test_errors_are_safe(void **state)
{
    (void)state;
    expect_errors("xl: one\nxl: two\nxl: three\nxl: four\nxl: five\n", "one; two; three; four");
    expect_errors("xl: \033[2J\n", "\\x1b[2J");
    char text[2000];
    memset(text, 'x', sizeof(text));
    memcpy(text, "xl: ", 4);
    memcpy(text + sizeof(text) - 2, "\n", 2);
    AUTO_FREE char *errors = xl_log_errors(text, NULL);
    assert_non_null(errors);
    assert_true(strlen(errors) <= 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_yet),
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_incomplete_line),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_preserved),
        cmocka_unit_test(test_reboots),
        cmocka_unit_test(test_suspended_and_resumed),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_errors_say_why),
        cmocka_unit_test(test_errors_since_the_last_domain),
        cmocka_unit_test(test_errors_are_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
