/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test_load.c: what can be wrong with the file itself. */
#include "common.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[] = "/tmp/vmundo-load-XXXXXX";

static void write_file(const char *name, const char *text, size_t len)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) && chmod(dir, 0755) == 0 && chdir(dir) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"good.cfg", "link.cfg", "loop.cfg",   "fifo",         "big.cfg",
                                        "max.cfg",  "nul.cfg",  "secret.cfg", "dangling.cfg", "empty.cfg"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        unlink(names[i]);
    return chdir("/") == 0 && rmdir(dir) == 0 ? 0 : -1;
}

static void assert_refused(const char *path, int errnum, const char *part)
{
    AUTO_FREE char *text = NULL, *real = NULL;
    struct vmundo_error err = {0};
    assert_int_equal(config_load(path, &text, &real, &err), -1);
    assert_says(&err, part);
    assert_int_equal(err.errnum, errnum);
    assert_null(strchr(err.msg, '\n'));
    assert_null(text);
    assert_null(real);
    assert_int_equal(config_load(path, &text, &real, NULL), -1);
}

static void test_good(void **state)
{
    (void)state;
    AUTO_FREE char *text = NULL, *real = NULL, *want = str_printf(NULL, "%s/good.cfg", dir);
    write_file("good.cfg", "name='x'\n", 9);
    assert_int_equal(symlink("good.cfg", "link.cfg"), 0);
    assert_int_equal(config_load("./link.cfg", &text, &real, NULL), 0);
    assert_string_equal(text, "name='x'\n");
    assert_string_equal(real, want);
}

static void test_empty(void **state)
{
    (void)state;
    AUTO_FREE char *text = NULL, *real = NULL;
    write_file("empty.cfg", "", 0);
    assert_int_equal(config_load("empty.cfg", &text, &real, NULL), 0);
    assert_string_equal(text, "");
}

static void test_missing(void **state)
{
    (void)state;
    assert_refused("missing.cfg", ENOENT, "missing.cfg: No such file or directory");
    assert_refused("miss\ning", ENOENT, "miss\\x0aing: No such file");
    assert_refused("", ENOENT, "No such file or directory");
    assert_int_equal(symlink("nowhere", "dangling.cfg"), 0);
    assert_refused("dangling.cfg", ENOENT, "No such file");
    assert_int_equal(symlink("loop.cfg", "loop.cfg"), 0);
    assert_refused("loop.cfg", ELOOP, "loop.cfg");
}

static void test_not_a_file(void **state)
{
    (void)state;
    alarm(10); /* opening a FIFO could hang */
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_refused("fifo", 0, "/fifo is not a regular file");
    assert_refused(".", EISDIR, "Is a directory");
    assert_refused("/dev/null", 0, "/dev/null is not a regular file");
    alarm(0);
}

static void test_too_large(void **state)
{
    (void)state;
    static char text[(1 << 20) + 1];
    memset(text, '\n', sizeof(text));
    write_file("max.cfg", text, sizeof(text) - 1);
    AUTO_FREE char *got = NULL, *real = NULL;
    assert_int_equal(config_load("max.cfg", &got, &real, NULL), 0);
    write_file("big.cfg", text, sizeof(text));
    assert_refused("big.cfg", 0, "/big.cfg is larger than 1 MiB");
}

static void test_nul(void **state)
{
    (void)state;
    write_file("nul.cfg", "name='x'\n\0\n", 11);
    assert_refused("nul.cfg", 0, "/nul.cfg has a NUL byte");
}

/* As root everything is readable: somebody else tries, in a child. */
static void test_unreadable(void **state)
{
    (void)state;
    write_file("secret.cfg", "name='x'\n", 9);
    assert_int_equal(chmod("secret.cfg", 0), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char *text = NULL, *real = NULL;
        struct vmundo_error err = {0};
        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
            _exit(2);
        bool refused = config_load("secret.cfg", &text, &real, &err) < 0;
        _exit(refused && err.errnum == EACCES && strstr(err.msg, "/secret.cfg: Permission denied") ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),       cmocka_unit_test(test_empty),     cmocka_unit_test(test_missing),
        cmocka_unit_test(test_not_a_file), cmocka_unit_test(test_too_large), cmocka_unit_test(test_nul),
        cmocka_unit_test(test_unreadable),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
