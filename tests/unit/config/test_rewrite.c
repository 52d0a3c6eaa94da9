/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test_rewrite.c: golden files. golden/NAME.in is rewritten as NAME.edit says and must become NAME.out byte for byte,
 * or be refused with what NAME.err says. The lines of an edit file: "VDEV FORMAT file|block TARGET" and "name NAME".
 */
#include "common.h"

#include <glob.h>

struct edit {
    struct config_target targets[8];
    size_t n;
    const char *name;
};

/* golden/STEM SUFFIX, or NULL. The caller frees it. */
static char *read_golden(const char *stem, const char *suffix)
{
    AUTO_FREE char *path = str_printf(NULL, "%s%s", stem, suffix);
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    AUTO_FREE char *text = NULL;
    size_t size = 0;
    ssize_t len = getdelim(&text, &size, '\0', f);
    fclose(f);
    return len < 0 ? strdup("") : TAKE(text); /* an empty file has nothing to get */
}

static void parse_edit(char *text, struct edit *edit)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *word = strsep(&line, " ");
        if (str_eq(word, "name")) {
            edit->name = line;
            continue;
        }
        struct config_target *t = &edit->targets[edit->n++];
        t->vdev = word;
        t->format = disk_format_parse(strsep(&line, " "));
        t->block = str_eq(strsep(&line, " "), "block");
        t->target = line;
    }
}

static void check_golden(const char *stem)
{
    AUTO_FREE char *in = read_golden(stem, ".in"), *want = read_golden(stem, ".out"),
                   *refusal = read_golden(stem, ".err");
    AUTO_FREE char *edit_text = read_golden(stem, ".edit"), *got = NULL;
    struct edit edit = {.n = 0};
    struct vmundo_error err = {0};
    print_message("%s\n", stem);
    assert_true(in && edit_text && !want != !refusal);
    parse_edit(edit_text, &edit);
    int r = config_rewrite(in, "/cfg/x.cfg", edit.targets, edit.n, edit.name, &got, &err);
    if (want) {
        assert_string_equal(err.msg, "");
        assert_int_equal(r, 0);
        assert_text(got, want);
    } else {
        assert_int_equal(r, -1);
        refusal[strcspn(refusal, "\n")] = '\0';
        assert_says(&err, refusal);
        assert_null(got);
    }
}

static void test_golden(void **state)
{
    (void)state;
    glob_t files = {0};
    assert_int_equal(glob(GOLDEN_DIR "/*.in", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        AUTO_FREE char *stem = strndup(files.gl_pathv[i], strlen(files.gl_pathv[i]) - strlen(".in"));
        check_golden(stem);
    }
    assert_true(files.gl_pathc >= 18);
    globfree(&files);
}

/* The new text describes the same domain but for what was asked, and can be rewritten again. */
static void test_fields(void **state)
{
    (void)state;
    AUTO_FREE char *in = read_golden(GOLDEN_DIR "/overlay", ".in"), *once = NULL, *back = NULL;
    struct config_target t = {.vdev = "hda", .target = "/o/a", .format = FORMAT_QCOW2};
    assert_int_equal(config_rewrite(in, "/cfg/x.cfg", &t, 1, "copy", &once, NULL), 0);
    AUTO_DOMAIN struct domain before = parse_ok(in), after = parse_ok(once);
    assert_false(domain_equal(&before, &after));
    assert_text(after.name, "copy");
    assert_text(after.disks[0].target, "/o/a");
    assert_int_equal(after.disks[0].format, FORMAT_QCOW2);
    assert_text(after.disks[1].target, "/img/b");
    assert_text(after.disks[2].target, "/dev/vg/v");

    t = (struct config_target){.vdev = "hda", .target = "/img/a", .format = FORMAT_RAW};
    assert_int_equal(config_rewrite(once, "/cfg/x.cfg", &t, 1, "over", &back, NULL), 0);
    AUTO_DOMAIN struct domain again = parse_ok(back);
    assert_true(domain_equal(&before, &again));
}

static void test_errors_without_error(void **state)
{
    (void)state;
    char *got = NULL;
    assert_int_equal(config_rewrite("name=", "/cfg/x.cfg", NULL, 0, NULL, &got, NULL), -1);
    assert_int_equal(config_rewrite("name='x'\n", "/cfg/x.cfg", NULL, 0, "-", &got, NULL), -1);
    assert_null(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_errors_without_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
