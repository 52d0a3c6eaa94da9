/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The registry, the checked calls, and branches as text. Drivers made up here do wrong what a driver can do wrong. */
#include "common.h"

/* ---- choosing --------------------------------------------------------------------------------------------------- */

static void test_find(void **state)
{
    (void)state;
    for (const struct storage_driver *const *d = storage_drivers(); *d; d++) {
        assert_ptr_equal(storage_find((*d)->name), *d);
        assert_non_null((*d)->claim);
        assert_non_null((*d)->create);
        assert_non_null((*d)->remove);
    }
    assert_null(storage_find("nosuch"));
    assert_null(storage_find(""));
}

static void choose(const struct tmpdir *t, const char *method, int want, enum vmundo_code code, const char *part)
{
    struct vmundo_error err = {0};
    CLEANUP(stack_clear) struct stack s = {0};
    CLEANUP(claim_clear) struct claim c = {0};
    const struct storage_driver *d = NULL;
    AUTO_FREE char *path = path_in(t, "disk.img");
    assert_ok(stack_resolve(path, &s, &err), &err);
    int r = storage_choose(&s, "raw", method, &d, &c, &err);
    if (want < 0) {
        assert_failed(r, &err, code, part);
        return;
    }
    assert_ok(r, &err);
    assert_string_equal(d->name, part);
    assert_true(c.possible);
    assert_string_equal(c.volume, path);
    assert_null(c.inside);
}

static void test_choose_method(void **state)
{
    const struct tmpdir *t = *state;
    put_image(t, "disk.img", 1 << 20, "x");
    choose(t, "null", 0, VMUNDO_OK, "null");
    choose(t, "nosuch", -1, VMUNDO_USAGE, "qcow2, null");
    put_image(t, "disk.img", 17 << 20, "x");
    choose(t, "null", -1, VMUNDO_REFUSED, "no larger than 16 MiB");
}

/* Without a method null is not taken, whatever else there is. */
static void test_choose_none(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    CLEANUP(stack_clear) struct stack s = {0};
    CLEANUP(claim_clear) struct claim c = {0};
    const struct storage_driver *d = NULL;
    assert_ok(stack_resolve("rbd:pool/image", &s, &err), &err);
    assert_failed(storage_choose(&s, "raw", NULL, &d, &c, &err), &err, VMUNDO_REFUSED, "nothing can protect");
    assert_non_null(strstr(err.msg, "reflink: it is not a file"));
    assert_non_null(strstr(err.msg, "qcow2: it is neither"));
    assert_null(strstr(err.msg, "null: "));
    assert_null(d);
}

static void test_choose_unknown_format(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error err = {0};
    CLEANUP(stack_clear) struct stack s = {0};
    CLEANUP(claim_clear) struct claim c = {0};
    const struct storage_driver *d = NULL;
    put_image(t, "disk.img", 1 << 20, "x");
    AUTO_FREE char *path = path_in(t, "disk.img");
    assert_ok(stack_resolve(path, &s, &err), &err);
    assert_failed(storage_choose(&s, "vdi", NULL, &d, &c, &err), &err, VMUNDO_REFUSED, "the format vdi is not known");
    assert_failed(storage_choose(&s, "qcow2", NULL, &d, &c, &err), &err, VMUNDO_REFUSED, "not a qcow2 image");
}

/* Paths are bytes, records are JSON. */
static void test_not_utf8(void **state)
{
    const struct tmpdir *t = *state;
    static const struct mark m = {STORE, "web", 1};
    struct vmundo_error err = {0};
    CLEANUP(branch_clear) struct branch b = {.driver = storage_find("null"), .origin = path_in(t, "d\xff.img")};
    assert_failed(storage_name(&b, &m, t->path, &err), &err, VMUNDO_REFUSED, "not UTF-8");
}

/* ---- drivers that do not do what they should
 * -------------------------------------------------------------------------- */

static void test_cannot(void **state)
{
    (void)state;
    static const struct storage_driver empty = {.name = "empty"};
    static const struct mark m = {STORE, "web", 1};
    char origin[] = "/images/a.img", path[] = "/images/a.branch", then[] = "file ino=1";
    struct branch b = {.driver = &empty, .origin = origin, .path = path, .fingerprint = then};
    struct branch_status s;
    struct vmundo_error err = {0};
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *format = NULL;
    bool flag = true;
    assert_failed(storage_name(&b, &m, "/state", &err), &err, VMUNDO_REFUSED, "driver empty cannot make branches");
    assert_failed(storage_create(&b, &m, &err), &err, VMUNDO_REFUSED, "cannot make branches");
    assert_failed(storage_remove(&b, &err), &err, VMUNDO_REFUSED, "cannot remove branches");
    assert_failed(storage_inspect(&b, &s, &err), &err, VMUNDO_REFUSED, "cannot tell how");
    assert_failed(storage_changed(&b, &flag, &text, &err), &err, VMUNDO_REFUSED, "cannot tell whether");
    assert_failed(storage_keep_check(&b, &err), &err, VMUNDO_REFUSED, "cannot keep");
    assert_failed(storage_keep(&b, NULL, &err), &err, VMUNDO_REFUSED, "cannot keep");
    assert_failed(storage_locate(&b, "root.img", &text, &format, &flag, &err), &err, VMUNDO_REFUSED,
                  "images in a volume");
    /* what may be missing is nothing to do */
    assert_ok(storage_preflight(&b, &err), &err);
    assert_ok(storage_attach(&b, &err), &err);
    assert_ok(storage_detach(&b, &err), &err);
    assert_ok(storage_locate(&b, NULL, &text, &format, &flag, &err), &err);
    assert_string_equal(text, path);
    assert_null(format);
    assert_false(flag);
}

static int name_nothing(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err)
{
    (void)m, (void)state_dir;
    return str_copy("relative", &b->path, err);
}

static int create_nothing(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    (void)b, (void)m, (void)err;
    return 0;
}

static int inspect_nothing(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    (void)b, (void)ret, (void)err;
    return 0;
}

static int remove_fails(const struct branch *b, struct vmundo_error *err)
{
    (void)b;
    return error_set(err, VMUNDO_CONFLICT, "it is stuck");
}

static void test_broken(void **state)
{
    (void)state;
    static const struct storage_driver bad = {
        .name = "bad",
        .name_branch = name_nothing,
        .create = create_nothing,
        .inspect = inspect_nothing,
        .remove = remove_fails,
    };
    static const struct mark m = {STORE, "web", 1};
    char origin[] = "/images/a.img";
    struct branch b = {.driver = &bad, .origin = origin};
    struct branch_status s;
    struct vmundo_error err = {0};
    assert_failed(storage_name(&b, &m, "/state", &err), &err, VMUNDO_FAILED, "broke its contract");
    assert_failed(storage_create(&b, &m, &err), &err, VMUNDO_FAILED, "broke its contract");
    assert_failed(storage_inspect(&b, &s, &err), &err, VMUNDO_FAILED, "broke its contract");
    assert_failed(storage_remove(&b, &err), &err, VMUNDO_CONFLICT, "cannot remove the branch relative: it is stuck");
    free(b.path);
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

static void test_json(void **state)
{
    (void)state;
    static const char text[] =
        "{\"driver\":\"qcow2\",\"origin\":\"/i/a.img\",\"origin_format\":\"raw\",\"path\":\"/i/b\","
        "\"format\":\"qcow2\",\"mount\":\"/m\",\"fingerprint\":\"file ino=1\",\"consistency\":\"off\","
        "\"limit\":9223372036854775807,\"inside\":[\"x\",\"y\"],\"detail\":{\"inode\":7}}";
    struct vmundo_error err = {0};
    AUTO_JSON json_t *j = NULL;
    CLEANUP(branch_clear) struct branch b = {0};
    assert_ok(json_parse(text, "test", &j, &err), &err);
    assert_ok(branch_from_json(j, &b, &err), &err);
    assert_string_equal(b.driver->name, "qcow2");
    assert_int_equal(b.inside.n, 2);
    assert_true(b.limit == INT64_MAX);
    AUTO_JSON json_t *again = branch_to_json(&b);
    AUTO_FREE char *same = json_text(again, &err);
    assert_string_equal(same, text);
}

static void test_json_least(void **state)
{
    (void)state;
    static const char text[] = "{\"driver\":\"null\",\"origin\":\"/i/a.img\",\"limit\":0,\"inside\":[]}";
    struct vmundo_error err = {0};
    AUTO_JSON json_t *j = NULL;
    CLEANUP(branch_clear) struct branch b = {0};
    assert_ok(json_parse(text, "test", &j, &err), &err);
    assert_ok(branch_from_json(j, &b, &err), &err);
    assert_null(b.path);
    assert_null(b.detail);
    AUTO_JSON json_t *again = branch_to_json(&b);
    AUTO_FREE char *same = json_text(again, &err);
    assert_string_equal(same, text);
}

static void test_json_damaged(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"{}", "driver"},
        {"{\"driver\":\"null\"}", "origin"},
        {"{\"driver\":\"nosuch\",\"origin\":\"/a\"}", "driver nosuch"},
        {"{\"driver\":7,\"origin\":\"/a\"}", "driver"},
        {"{\"driver\":\"null\",\"origin\":\"/a\",\"limit\":-1}", "limit"},
        {"{\"driver\":\"null\",\"origin\":\"/a\",\"inside\":[7]}", "inside"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vmundo_error err = {0};
        struct branch b = {0};
        AUTO_JSON json_t *j = NULL;
        assert_ok(json_parse(bad[i][0], "test", &j, &err), &err);
        assert_failed(branch_from_json(j, &b, &err), &err, VMUNDO_FAILED, bad[i][1]);
        assert_null(b.origin);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test_setup_teardown(test_choose_method, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_choose_none),
        cmocka_unit_test_setup_teardown(test_choose_unknown_format, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_not_utf8, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_cannot),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_least),
        cmocka_unit_test(test_json_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
