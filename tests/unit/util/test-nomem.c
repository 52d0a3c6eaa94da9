/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Out of memory: every allocation of src/util fails once. Linked with --wrap, so that its calls come here first; the
 * JSON library has a hook of its own. For each operation the first allocation fails, then the second, and so on until
 * it gets through. Each time it must say so, leave its output alone, and (valgrind and the sanitizers look) leak
 * nothing.
 */
#include "tmpdir.h"
#include "util/json.h"
#include "util/process.h"

#include <stdio.h>

static long countdown = -1; /* allocations until one fails, -1: none does */
static unsigned failures;

static bool fail_now(void)
{
    if (countdown < 0 || countdown-- > 0)
        return false;
    failures++;
    errno = ENOMEM;
    return true;
}

#define WRAP(type, name, params, args)                                                                                 \
    type __real_##name params;                                                                                         \
    type __wrap_##name params;                                                                                         \
    type __wrap_##name params                                                                                          \
    {                                                                                                                  \
        if (fail_now())                                                                                                \
            return (type)0;                                                                                            \
        return __real_##name args;                                                                                     \
    }
typedef char *string;
typedef void *pointer;
WRAP(pointer, malloc, (size_t n), (n))
WRAP(pointer, calloc, (size_t n, size_t m), (n, m))
WRAP(pointer, realloc, (void *p, size_t n), (p, n))
WRAP(pointer, reallocarray, (void *p, size_t n, size_t m), (p, n, m))
WRAP(string, strdup, (const char *s), (s))
WRAP(string, strndup, (const char *s, size_t n), (s, n))
WRAP(string, __strdup, (const char *s), (s))
WRAP(string, __strndup, (const char *s, size_t n), (s, n))

int __wrap_vasprintf(char **ret, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
int __wrap_vasprintf(char **ret, const char *fmt, va_list ap)
{
    if (fail_now())
        return -1;
    char buf[4096]; /* not the real one: with _FORTIFY_SOURCE that has another name */
    int n = vsnprintf(buf, sizeof(buf), fmt, ap);
    *ret = __real_strdup(buf);
    return n;
}
int __wrap___vasprintf_chk(char **ret, int flag, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));
int __wrap___vasprintf_chk(char **ret, int flag, const char *fmt, va_list ap)
{
    (void)flag;
    return __wrap_vasprintf(ret, fmt, ap);
}

static void *json_malloc(size_t n)
{
    return fail_now() ? NULL : __real_malloc(n);
}

/* Runs op with its first allocation failing, its second, ... until none of them did. Returns how many there are. */
typedef int (*operation)(const struct tmpdir *t, struct vmundo_error *err);
static unsigned fail_each(const struct tmpdir *t, operation op)
{
    for (long n = 0; n < 1000; n++) {
        struct vmundo_error e = {0};
        failures = 0;
        countdown = n;
        int r = op(t, &e);
        countdown = -1;
        if (failures == 0) {
            assert_int_equal(r, 0);
            return (unsigned)n;
        }
        assert_int_equal(r, -1);
        assert_int_equal(e.code, VMUNDO_FAILED);
        assert_string_not_equal(e.msg, "");
    }
    fail_msg("never gets through");
    return 0;
}

static int op_strings(const struct tmpdir *t, struct vmundo_error *err)
{
    (void)t;
    AUTO_STRV struct strv v = {0};
    AUTO_FREE char *s = str_printf(err, "%d", 1), *copy = NULL;
    if (!s || str_copy(s, &copy, err) < 0 || strv_add(&v, s, err) < 0 || strv_addf(&v, err, "%s", s) < 0)
        return -1;
    if (strv_take(&v, TAKE(copy), err) < 0)
        return -1;
    AUTO_FREE char *safe = str_escape(s, 10);
    return safe ? 0 : error_nomem(err);
}

static int op_files(const struct tmpdir *t, struct vmundo_error *err)
{
    AUTO_FREE char *path = NULL, *text = NULL;
    AUTO_CLOSE int dirfd = -1;
    const char *base = NULL;
    static char big[10000];
    if (str_copy(t->path, &path, err) < 0 || sys_open_parent(path, &dirfd, &base, err) < 0)
        return -1;
    if (sys_write_file(t->fd, "f", big, sizeof(big), err) < 0)
        return -1;
    return sys_read_file(t->fd, "f", sizeof(big), &text, NULL, err);
}

static int op_json(const struct tmpdir *t, struct vmundo_error *err)
{
    (void)t;
    AUTO_JSON json_t *j = NULL;
    AUTO_FREE char *a = NULL, *b = NULL, *text = NULL;
    if (json_parse("{\"a\":\"x\",\"b\":[1,2,{\"c\":\"y\"}]}", "test", &j, err) < 0)
        return -1;
    if (json_get_string(j, "a", &a, err) < 0 || json_opt_string(j, "a", &b, err) < 0)
        return -1;
    text = json_text(j, err);
    return text ? 0 : -1;
}

static int op_run(const struct tmpdir *t, struct vmundo_error *err)
{
    (void)t;
    AUTO_FREE char *out = NULL;
    const char *const argv[] = {"echo", "a", "b", NULL};
    return process_run(argv, 0, &out, err);
}

static void ignore(void *data, const char *line)
{
    (void)data;
    (void)line;
}

static int op_lines(const struct tmpdir *t, struct vmundo_error *err)
{
    (void)t;
    const char *const argv[] = {"sh", "-c", "echo out; echo err >&2", NULL};
    return process_run_lines(argv, ignore, NULL, err);
}

static void test_strings(void **state)
{
    assert_in_range(fail_each(*state, op_strings), 8, 100);
}

static void test_files(void **state)
{
    assert_in_range(fail_each(*state, op_files), 4, 100);
}

static void test_json(void **state)
{
    json_set_alloc_funcs(json_malloc, free);
    assert_in_range(fail_each(*state, op_json), 10, 1000);
    json_set_alloc_funcs(malloc, free);
}

static void test_processes(void **state)
{
    assert_in_range(fail_each(*state, op_run), 8, 200);
    assert_in_range(fail_each(*state, op_lines), 8, 200);
}

/* A failing program's last words cannot be escaped: then the error tells of the failure without them. */
static void test_failure_without_words(void **state)
{
    (void)state;
    const char *const argv[] = {"sh", "-c", "echo words >&2; exit 5", NULL};
    bool without = false;
    for (long n = 0; n < 100; n++) {
        struct vmundo_error e = {0};
        countdown = n;
        assert_int_equal(process_run(argv, 0, NULL, &e), -1);
        countdown = -1;
        without = without || str_eq(e.msg, "sh: failed without a message (exit status 5)");
        if (str_eq(e.msg, "sh: words (exit status 5)"))
            break;
    }
    assert_true(without);
}

#define IN_TMPDIR(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_TMPDIR(test_strings),
        IN_TMPDIR(test_files),
        IN_TMPDIR(test_json),
        IN_TMPDIR(test_processes),
        cmocka_unit_test(test_failure_without_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
