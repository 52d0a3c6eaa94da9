/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Branches that are files: names, the directory, marks, and the life of a branch with the null driver. */
#include "common.h"

#include <dirent.h>
#include <limits.h>
#include <sys/xattr.h>

#define BRANCH ".vmundo/disk.img@web." STORE ".1.null"

/* ---- names ------------------------------------------------------------------------------------------------------ */

static void test_path(void **state)
{
    (void)state;
    static const struct mark m = {STORE, "web.1", 12};
    struct vmundo_error err = {0};
    AUTO_FREE char *path = sidecar_path("/images/a@b.img", &m, ".clone", &err);
    assert_string_equal(path, "/images/.vmundo/a@b.img@web.1." STORE ".12.clone");
    AUTO_FREE char *top = sidecar_path("/a.img", &m, ".clone", &err);
    assert_string_equal(top, "/.vmundo/a.img@web.1." STORE ".12.clone");
}

static void test_path_refused(void **state)
{
    (void)state;
    static const struct mark good = {STORE, "web", 1}, bad = {STORE, "../web", 1}, bad_store = {"../etc", "web", 1};
    struct vmundo_error err = {0};
    assert_null(sidecar_path("relative", &good, ".x", &err));
    assert_null(sidecar_path("/images/", &good, ".x", &err));
    assert_null(sidecar_path("/images/a", &bad, ".x", &err));
    assert_null(sidecar_path("/images/a", &bad_store, ".x", &err));
    assert_int_equal(err.code, VMUNDO_FAILED);
}

/* With its .part the longest name still fits; two long names with one beginning stay two. */
static void test_long_names(void **state)
{
    (void)state;
    char a[NAME_MAX + 8], b[NAME_MAX + 8], domain[64];
    memset(a, 'x', sizeof(a));
    memset(domain, 'd', sizeof(domain));
    a[0] = '/';
    a[NAME_MAX + 1] = '\0';
    domain[63] = '\0';
    strcpy(b, a);
    b[NAME_MAX] = 'y';
    const struct mark m = {STORE, domain, UINT64_MAX};
    struct vmundo_error err = {0};
    AUTO_FREE char *p = sidecar_path(a, &m, ".qcow2", &err);
    AUTO_FREE char *q = sidecar_path(b, &m, ".qcow2", &err);
    AUTO_FREE char *again = sidecar_path(a, &m, ".qcow2", &err);
    assert_non_null(p);
    assert_int_equal(strlen(strrchr(p, '/') + 1), NAME_MAX - strlen(SIDECAR_PART));
    assert_string_not_equal(p, q);
    assert_string_equal(p, again);
}

/* ---- the directory ---------------------------------------------------------------------------------------------- */

static int open_new(const struct tmpdir *t, struct vmundo_error *err)
{
    AUTO_FREE char *path = path_in(t, BRANCH);
    AUTO_CLOSE int fd = -1;
    const char *base;
    return sidecar_open(path, true, &fd, &base, err);
}

static void test_directory(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_FREE char *path = path_in(t, BRANCH);
    struct vmundo_error err = {0};
    struct stat st;
    AUTO_CLOSE int fd = -1;
    const char *base = NULL;
    assert_failed(sidecar_open(path, false, &fd, &base, &err), &err, VMUNDO_FAILED, "No such file");
    assert_int_equal(err.errnum, ENOENT);
    umask(0);
    assert_ok(sidecar_open(path, true, &fd, &base, &err), &err);
    assert_string_equal(base, "disk.img@web." STORE ".1.null");
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    AUTO_CLOSE int again = -1;
    assert_ok(sidecar_open(path, false, &again, &base, &err), &err);
    assert_int_equal(sidecar_tidy(path, NULL), 0);
    assert_false(exists(t->fd, SIDECAR_DIR));
    assert_int_equal(sidecar_tidy(path, NULL), 0);
}

/* Somebody was here first. */
static void test_directory_refused(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error err = {0};
    assert_int_equal(mkdirat(t->fd, SIDECAR_DIR, 0700), 0);
    assert_int_equal(fchmodat(t->fd, SIDECAR_DIR, 0770, 0), 0);
    assert_failed(open_new(t, &err), &err, VMUNDO_FAILED, "mode 0770");
    if (geteuid() == 0) {
        assert_int_equal(fchmodat(t->fd, SIDECAR_DIR, 0700, 0), 0);
        assert_int_equal(fchownat(t->fd, SIDECAR_DIR, 65534, 65534, 0), 0);
        assert_failed(open_new(t, &err), &err, VMUNDO_FAILED, "belongs to user 65534");
    }
    assert_int_equal(unlinkat(t->fd, SIDECAR_DIR, AT_REMOVEDIR), 0);
    assert_int_equal(mkdirat(t->fd, "trap", 0700), 0);
    assert_int_equal(symlinkat("trap", t->fd, SIDECAR_DIR), 0);
    assert_failed(open_new(t, &err), &err, VMUNDO_FAILED, "is not a directory");
    assert_int_equal(unlinkat(t->fd, SIDECAR_DIR, 0), 0);
    put_file(t->fd, SIDECAR_DIR, "");
    assert_failed(open_new(t, &err), &err, VMUNDO_FAILED, "is not a directory");
}

static void test_not_a_branch(void **state)
{
    (void)state;
    static const char *const bad[] = {"relative", "/images/a.img", "/.vmundo", "/images/.vmundo/", "/x.vmundo/a"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vmundo_error err = {0};
        int fd = -1;
        const char *base;
        assert_failed(sidecar_open(bad[i], true, &fd, &base, &err), &err, VMUNDO_FAILED, "not the path of a branch");
    }
}

/* ---- a life ----------------------------------------------------------------------------------------------------- */

static const struct mark mark = {STORE, "web", 1};

static void create(struct branch *b)
{
    struct vmundo_error err = {0};
    assert_ok(storage_create(b, &mark, &err), &err);
    assert_non_null(b->fingerprint);
    assert_non_null(b->detail);
}

static unsigned count_entries(const struct tmpdir *t, const char *dir)
{
    int fd = openat(t->fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    unsigned n = 0;
    for (const struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static void test_life(void **state)
{
    const struct tmpdir *t = *state;
    CLEANUP(branch_clear) struct branch b;
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    struct vmundo_error err = {0};
    struct stat st;
    put_file(t->fd, "disk.img", "old");
    name_branch(t, "null", "disk.img", &b);
    assert_false(exists(t->fd, SIDECAR_DIR)); /* a name is only a name */
    assert_ok(storage_preflight(&b, &err), &err);
    create(&b);
    assert_file(t->fd, BRANCH, "old");
    assert_int_equal(fstatat(t->fd, BRANCH, &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);

    put_file(t->fd, BRANCH, "new!");
    AUTO_FREE char *then = strdup(b.fingerprint);
    create(&b); /* it is there: it stays as it is */
    assert_file(t->fd, BRANCH, "new!");
    assert_string_equal(b.fingerprint, then);
    assert_file(t->fd, "disk.img", "old");

    assert_ok(storage_inspect(&b, &s, &err), &err);
    assert_true(s.exists);
    assert_string_equal(s.health, "ok");
    assert_ok(storage_keep_check(&b, &err), &err);
    assert_ok(storage_keep(&b, NULL, &err), &err);
    assert_file(t->fd, "disk.img", "new!");
    assert_ok(storage_keep(&b, NULL, &err), &err);
    assert_ok(storage_remove(&b, &err), &err);
    assert_ok(storage_remove(&b, &err), &err);
    assert_false(exists(t->fd, SIDECAR_DIR));
    assert_file(t->fd, "disk.img", "new!");
}

static void test_inspect_gone(void **state)
{
    const struct tmpdir *t = *state;
    CLEANUP(branch_clear) struct branch b;
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    struct vmundo_error err = {0};
    put_file(t->fd, "disk.img", "old");
    name_branch(t, "null", "disk.img", &b);
    assert_ok(storage_inspect(&b, &s, &err), &err);
    assert_false(s.exists);
    assert_string_equal(s.health, "invalid: the branch is gone");
    assert_failed(storage_keep_check(&b, &err), &err, VMUNDO_FAILED, "No such file");
}

/* The mark has what it takes to know the branch again, and the time of it. */
static void test_mark(void **state)
{
    const struct tmpdir *t = *state;
    CLEANUP(branch_clear) struct branch b;
    struct vmundo_error err = {0};
    char text[4096];
    put_file(t->fd, "disk.img", "old");
    name_branch(t, "null", "disk.img", &b);
    create(&b);
    ssize_t n = getxattr(b.path, SIDECAR_XATTR, text, sizeof(text) - 1);
    if (n < 0 && errno == EOPNOTSUPP)
        skip();
    assert_true(n > 0);
    text[n] = '\0';
    AUTO_JSON json_t *j = NULL;
    assert_ok(json_parse(text, "mark", &j, &err), &err);
    static const char *const want[][2] = {{"store", STORE}, {"domain", "web"}, {"driver", "null"}, {"format", "raw"}};
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_string_equal(json_string_value(json_object_get(j, want[i][0])), want[i][1]);
    assert_string_equal(json_string_value(json_object_get(j, "origin")), b.origin);
    assert_int_equal(json_integer_value(json_object_get(j, "generation")), 1);

    /* cut off before the caller could write the fingerprint down: it is what it was then, not what it is now */
    AUTO_FREE char *then = TAKE(b.fingerprint);
    put_file(t->fd, "disk.img", "changed");
    create(&b);
    assert_string_equal(b.fingerprint, then);
    bool changed = false;
    AUTO_FREE char *what = NULL;
    assert_ok(storage_changed(&b, &changed, &what, &err), &err);
    assert_true(changed);
}

static void test_foreign_mark(void **state)
{
    const struct tmpdir *t = *state;
    CLEANUP(branch_clear) struct branch b;
    static const struct mark other = {STORE, "mail", 1};
    struct vmundo_error err = {0};
    put_file(t->fd, "disk.img", "old");
    name_branch(t, "null", "disk.img", &b);
    create(&b);
    if (getxattr(b.path, SIDECAR_XATTR, NULL, 0) < 0)
        skip();
    assert_failed(storage_create(&b, &other, &err), &err, VMUNDO_CONFLICT, "the mark of domain web");
}

/* What a crash leaves: half a file under its provisional name; a file of which nobody knows what it is a copy of. */
static void test_leftovers(void **state)
{
    const struct tmpdir *t = *state;
    CLEANUP(branch_clear) struct branch b;
    struct vmundo_error err = {0};
    put_file(t->fd, "disk.img", "old");
    name_branch(t, "null", "disk.img", &b);
    assert_int_equal(mkdirat(t->fd, SIDECAR_DIR, 0700), 0);
    put_file(t->fd, BRANCH ".part", "ha");
    create(&b);
    assert_file(t->fd, BRANCH, "old");
    assert_int_equal(count_entries(t, SIDECAR_DIR), 1);

    free(TAKE(b.fingerprint));
    put_file(t->fd, BRANCH, "unmarked");
    removexattr(b.path, SIDECAR_XATTR);
    create(&b);
    assert_file(t->fd, BRANCH, "old");

    put_file(t->fd, BRANCH ".part", "ha");
    assert_ok(storage_remove(&b, &err), &err);
    assert_false(exists(t->fd, SIDECAR_DIR));
}

/* In a directory of ours no link is followed: it might have come with the file system. */
static void test_link_in_the_way(void **state)
{
    const struct tmpdir *t = *state;
    CLEANUP(branch_clear) struct branch b;
    struct vmundo_error err = {0};
    put_file(t->fd, "disk.img", "old");
    put_file(t->fd, "victim", "precious");
    name_branch(t, "null", "disk.img", &b);
    assert_int_equal(mkdirat(t->fd, SIDECAR_DIR, 0700), 0);
    assert_int_equal(symlinkat("../victim", t->fd, BRANCH ".part"), 0);
    create(&b);
    assert_file(t->fd, "victim", "precious");
    assert_int_equal(unlinkat(t->fd, BRANCH, 0), 0);
    assert_int_equal(symlinkat("../victim", t->fd, BRANCH), 0);
    assert_failed(storage_create(&b, &mark, &err), &err, VMUNDO_FAILED, "cannot open the branch");
    assert_failed(storage_keep(&b, NULL, &err), &err, VMUNDO_FAILED, "cannot open the branch");
    assert_ok(storage_remove(&b, &err), &err);
    assert_file(t->fd, "victim", "precious");
}

static void test_origin_gone(void **state)
{
    const struct tmpdir *t = *state;
    CLEANUP(branch_clear) struct branch b;
    struct vmundo_error err = {0};
    name_branch(t, "null", "disk.img", &b);
    assert_failed(storage_create(&b, &mark, &err), &err, VMUNDO_FAILED, "No such file");
    assert_false(exists(t->fd, SIDECAR_DIR));
    assert_int_equal(symlinkat("other", t->fd, "disk.img"), 0);
    put_file(t->fd, "other", "x");
    assert_failed(storage_create(&b, &mark, &err), &err, VMUNDO_FAILED, "no longer a file");
    assert_false(exists(t->fd, SIDECAR_DIR));
}

/* An overlay of another domain would show the new content through its holes. */
static void test_overlays(void **state)
{
    const struct tmpdir *t = *state;
    CLEANUP(branch_clear) struct branch b;
    struct vmundo_error err = {0};
    put_file(t->fd, "disk.img", "old");
    name_branch(t, "null", "disk.img", &b);
    create(&b);
    put_file(t->fd, ".vmundo/disk.img@other.1." STORE ".3.clone", "");
    put_file(t->fd, ".vmundo/disk.img2@other.1." STORE ".3.qcow2", "");
    put_file(t->fd, ".vmundo/disk.img@other.1." STORE ".3.qcow2.part", "");
    assert_ok(storage_keep_check(&b, &err), &err);
    put_file(t->fd, ".vmundo/disk.img@other.1." STORE ".3.qcow2", "");
    assert_failed(storage_keep_check(&b, &err), &err, VMUNDO_CONFLICT, "overlay of domain other.1 is");
}

/* ---- RAM -------------------------------------------------------------------------------------------------------- */

/* One file by two names: it keeps its mark, and lives as long as one of them. */
static void test_shared_ram(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_FREE char *one = path_in(t, ".vmundo/one.ram"), *two = path_in(t, ".vmundo/two.ram");
    static const struct mark owner = {STORE, "web", 7}, other = {STORE, "fork", 1};
    struct vmundo_error err = {0};
    struct stat a, b;
    assert_failed(storage_ram_share(two, one, &err), &err, VMUNDO_FAILED, "No such file");
    err = (struct vmundo_error){0};
    assert_ok(storage_ram_make(one, NULL, 1 << 20, &owner, true, &err), &err);
    assert_ok(storage_ram_share(two, one, &err), &err);
    assert_ok(storage_ram_share(two, one, &err), &err); /* again */
    assert_int_equal(stat(one, &a), 0);
    assert_int_equal(stat(two, &b), 0);
    assert_true(a.st_ino == b.st_ino && a.st_nlink == 2);
    assert_ok(storage_ram_remove(one, &err), &err);
    assert_ok(storage_ram_check(two, &owner, &err), &err);
    assert_failed(storage_ram_check(two, &other, &err), &err, VMUNDO_CONFLICT, "does not belong");
    err = (struct vmundo_error){0};
    assert_ok(storage_ram_remove(two, &err), &err);
    assert_true(stat(two, &b) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_path_refused),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test_setup_teardown(test_directory, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_directory_refused, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_not_a_branch),
        cmocka_unit_test_setup_teardown(test_life, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_inspect_gone, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_mark, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_foreign_mark, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_leftovers, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_link_in_the_way, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_origin_gone, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_overlays, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_shared_ram, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
