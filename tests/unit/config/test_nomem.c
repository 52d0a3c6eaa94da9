/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test_nomem.c: every allocation fails once. The linker leads our calls (not those of libxlutil) to the functions here,
 * of which the n-th fails, for all n until nothing fails any more.
 */
#include "common.h"

#include <errno.h>

static unsigned countdown; /* the allocation that fails; 0: none */

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    errno = ENOMEM;
    return true;
}

/* The linker's --wrap=name: __real_name() is the one of libc. */
#define WRAP(type, name, params, ...)                                                                                  \
    type __real_##name params;                                                                                         \
    type __wrap_##name params;                                                                                         \
    type __wrap_##name params                                                                                          \
    {                                                                                                                  \
        return fails() ? NULL : __real_##name(__VA_ARGS__);                                                            \
    }

WRAP(void *, malloc, (size_t n), n)
WRAP(void *, calloc, (size_t n, size_t size), n, size)
WRAP(void *, reallocarray, (void *p, size_t n, size_t size), p, n, size)
WRAP(char *, strdup, (const char *s), s)
WRAP(char *, strndup, (const char *s, size_t n), s, n)
WRAP(FILE *, open_memstream, (char **text, size_t *len), text, len)

int __real_vasprintf(char **ret, const char *fmt, va_list ap);
int __wrap_vasprintf(char **ret, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
int __wrap_vasprintf(char **ret, const char *fmt, va_list ap)
{
    return fails() ? -1 : __real_vasprintf(ret, fmt, ap);
}

static const char text[] = "name='x'\nuuid='0d5d8e23-6c85-4d4b-9c6f-0a1b2c3d4e5f'\nkernel='k'\nroot='r'\nextra='e'\n"
                           "firmware='/f/f'\nboot='c'\nbootloader='b'\nserial=['pty']\n"
                           "disk=['/a,raw,xvda,backendtype=qdisk','phy:b,xvdb,w','drbd:r,xvdc,w']\n"
                           "vif=['mac=00:16:3e:00:00:01,bridge=b']\n";

static const struct config_target targets[] = {
    {"xvda", "/o/a", FORMAT_QCOW2, false},
    {"xvdb", "/dev/b", FORMAT_RAW, true},
};

static int rewrite(struct vmundo_error *err)
{
    AUTO_FREE char *out = NULL;
    return config_rewrite(text, "/cfg/x.cfg", targets, ARRAY_SIZE(targets), "new", &out, err);
}

static int refuse(struct vmundo_error *err)
{
    struct domain d;
    return config_parse("name='x'\nserial='pty'\ntype='a'", "/cfg/x.cfg", &d, err);
}

/* Returns how many allocations there are. */
static unsigned fail_each(int (*call)(struct vmundo_error *err), const char *usual)
{
    for (unsigned n = 1;; n++) {
        struct vmundo_error err = {0};
        countdown = n;
        int r = call(&err);
        bool reached = countdown == 0;
        countdown = 0;
        assert_true(r == 0 || err.msg[0]);
        if (reached && r < 0 && !strstr(err.msg, "out of memory") && !(usual && strstr(err.msg, usual)))
            fail_msg("allocation %u: %s", n, err.msg);
        if (!reached)
            return n - 1;
    }
}

static void test_rewrite(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    assert_int_equal(rewrite(&err), 0);
    assert_true(fail_each(rewrite, NULL) > 100);
}

static void test_refuse(void **state)
{
    (void)state;
    assert_true(fail_each(refuse, "x.cfg:3: bad type") > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rewrite), cmocka_unit_test(test_refuse)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
