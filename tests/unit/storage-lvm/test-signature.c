/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-signature.c: what is on a device is told, or it is said that it cannot be read; never that it is empty when a
 * read fails. */
#include "common.h"

#include "storage/pool.h"
#include "util/process.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <sys/wait.h>

/* ---- reads that fail: also libblkid's, which finds these in the executable first ----------------------------------
 */

static unsigned reads, fail_at, fail_until;

static bool fails(void)
{
    reads++;
    if (reads < fail_at || reads > fail_until)
        return false;
    errno = EIO;
    return true;
}

ssize_t read(int fd, void *buf, size_t n)
{
    ssize_t (*real)(int, void *, size_t) = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    return fails() ? -1 : real(fd, buf, n);
}

ssize_t pread(int fd, void *buf, size_t n, off_t at)
{
    ssize_t (*real)(int, void *, size_t, off_t) = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
    return fails() ? -1 : real(fd, buf, n, at);
}

static int find(const char *path, unsigned from, unsigned until, char **ret, struct vmundo_error *err)
{
    reads = 0;
    fail_at = from;
    fail_until = until;
    int r = signature_find(path, ret, err);
    fail_at = fail_until = 0;
    return r;
}

/* ---- tests --------------------------------------------------------------------------------------------------------
 */

/* Not process_run(), which valgrind does not know all calls of. */
static void run(char *const *argv)
{
    pid_t pid;
    int status = -1;
    assert_int_equal(posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void make(char path[], char *const *mkfs)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 8 << 20), 0);
    close(fd);
    run(mkfs);
}

static void test_read_errors(void **state)
{
    char path[] = "/tmp/vmundo-test-signature.XXXXXX";
    char *const mkfs[] = {(char[]){"mkfs.ext4"}, (char[]){"-q"}, (char[]){"-F"}, path, NULL};
    unsigned refused = 0, total = 0;
    (void)state;
    if (!process_have(mkfs[0]))
        skip();
    make(path, mkfs);
    for (unsigned n = 0; n == 0 || n <= total; n++) {
        AUTO_FREE char *found = NULL;
        struct vmundo_error e = {0};
        if (find(path, n, n, &found, &e) == 0)
            assert_string_equal(found ? found : "nothing", "ext4");
        else
            refused++;
        if (n == 0)
            total = reads;
    }
    assert_true(total > 10);
    assert_true(refused > 3);
    AUTO_FREE char *found = NULL;
    struct vmundo_error e = {0};
    assert_int_equal(find(path, 1, UINT_MAX, &found, &e), -1);
    assert_int_equal(e.errnum, EIO);
    unlink(path);
}

static void test_kinds(void **state)
{
    char path[] = "/tmp/vmundo-test-signature.XXXXXX";
    char *const nothing[] = {(char[]){"true"}, NULL};
    AUTO_FREE char *found = NULL;
    (void)state;
    make(path, nothing);
    assert_int_equal(signature_find(path, &found, NULL), 0);
    assert_null(found);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(signature_find(path, &found, NULL), 0);
    assert_null(found);
    unlink(path);
    assert_int_equal(signature_find(path, &found, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read_errors), cmocka_unit_test(test_kinds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
