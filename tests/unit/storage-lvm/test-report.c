/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lvs --reportformat json, as lvm 2.03.16 prints it, and what is not quite that. */
#include "common.h"

#include "storage/pool.h"

#define VG                                                                                                             \
    "\"vg_name\":\"vg-a\", \"vg_size\":\"1249902592\", \"vg_free\":\"759169024\", \"vg_extent_size\":\"4194304\", "    \
    "\"vg_missing_pv_count\":\"0\", \"vg_exported\":\"0\", "
#define ORIGIN                                                                                                         \
    "{" VG "\"lv_name\":\"do.m-U\", \"lv_uuid\":\"yxUHTB\", \"lv_size\":\"134217728\", \"segtype\":\"linear\", "       \
    "\"origin\":\"\", \"pool_lv\":\"\", \"lv_tags\":\"\", \"lv_active\":\"active\", \"lv_merging\":\"0\", "            \
    "\"lv_snapshot_invalid\":\"-1\", \"lv_health_status\":\"\", \"chunk_size\":\"0\", \"data_percent\":\"\", "         \
    "\"metadata_percent\":\"\"}"
#define SNAPSHOT                                                                                                       \
    "{" VG "\"lv_name\":\"snap\", \"lv_uuid\":\"R7EhIZ\", \"lv_size\":\"138412032\", \"segtype\":\"linear\", "         \
    "\"origin\":\"do.m-U\", \"pool_lv\":\"\", \"lv_tags\":\"vmundo,vmundo.domain=we+b,vmundo.generation=1\", "         \
    "\"lv_active\":\"active locally\", \"lv_merging\":\"1\", \"lv_snapshot_invalid\":\"1\", "                          \
    "\"lv_health_status\":\"partial\", \"chunk_size\":\"65536\", \"data_percent\":\"12.50\", "                         \
    "\"metadata_percent\":\"\"}"
#define MERGING /* waits for its origin to be closed; the row as lvs --all has it */                                    \
    "{" VG "\"lv_name\":\"[waits]\", \"lv_uuid\":\"R7EhIY\", \"lv_size\":\"138412032\", \"segtype\":\"linear\", "        \
    "\"origin\":\"do.m-U\", \"pool_lv\":\"\", \"lv_tags\":\"vmundo\", \"lv_active\":\"active\", \"lv_merging\":\"1\", "    \
    "\"lv_snapshot_invalid\":\"0\", \"lv_health_status\":\"\", \"chunk_size\":\"65536\", \"data_percent\":\"0.00\", "     \
    "\"metadata_percent\":\"\"}"
#define INNER                                                                                                          \
    "{" VG "\"lv_name\":\"[lvol0_pmspare]\", \"lv_merging\":\"0\"}"
#define REPORT(rows) "{\"report\":[{\"lv\":[" rows "]}]}"

static void test_report(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    AUTO_LVM_VG struct lvm_vg vg = {0};
    assert_ok(lvm_parse_report(REPORT(ORIGIN "," SNAPSHOT), &vg, &err), &err);
    assert_string_equal(vg.name, "vg-a");
    assert_int_equal(vg.free, 759169024);
    assert_int_equal(vg.extent, 4 << 20);
    assert_false(vg.exported);
    assert_int_equal(vg.n_lvs, 2);
    const struct lvm_lv *origin = lvm_find(&vg, "do.m-U"), *snap = lvm_find(&vg, "snap");
    assert_non_null(origin);
    assert_non_null(snap);
    assert_null(lvm_find(&vg, "nosuch"));
    assert_null(lvm_find(&vg, NULL));
    assert_true(origin->active && !origin->merging && !origin->invalid);
    assert_int_equal(origin->tags.n, 0);
    assert_true(origin->data_percent < 0);
    assert_string_equal(snap->origin, "do.m-U");
    assert_int_equal(snap->tags.n, 3);
    assert_true(strv_has(&snap->tags, "vmundo.domain=we+b"));
    assert_int_equal(snap->chunk, 65536);
    assert_true(snap->data_percent > 12.4 && snap->data_percent < 12.6);
    assert_true(snap->active && snap->merging && snap->invalid);
    assert_string_equal(snap->health, "partial");
}

static void test_hidden(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    AUTO_LVM_VG struct lvm_vg vg = {0};
    assert_ok(lvm_parse_report(REPORT(INNER "," ORIGIN "," MERGING), &vg, &err), &err);
    assert_int_equal(vg.n_lvs, 2);
    const struct lvm_lv *waits = lvm_find(&vg, "waits");
    assert_non_null(waits);
    assert_true(waits->merging);
}

static void test_no_volumes(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    AUTO_LVM_VG struct lvm_vg vg = {0};
    assert_ok(lvm_parse_report(REPORT(""), &vg, &err), &err);
    assert_int_equal(vg.n_lvs, 0);
    assert_null(lvm_find(&vg, "x"));
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"report\":[]}",
        "{\"report\":[{}]}",
        "{\"report\":[{\"lv\":7}]}",
        REPORT("{}"),
        REPORT("7"),
        REPORT("{\"lv_name\":3}"),
        REPORT("{" VG "\"lv_name\":\"x\"}"),
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vmundo_error err = {0};
        struct lvm_vg vg = {0};
        if (lvm_parse_report(bad[i], &vg, &err) == 0)
            fail_msg("taken: %s", bad[i]);
        assert_true(err.msg[0] != '\0');
        assert_null(vg.lvs);
    }
}

/* A row with one value put in place of another. */
static void spoil(const char *from, const char *to)
{
    struct vmundo_error err = {0};
    struct lvm_vg vg = {0};
    const char *row = REPORT(ORIGIN), *at = strstr(row, from);
    assert_non_null(at);
    AUTO_FREE char *text = str_printf(&err, "%.*s%s%s", (int)(at - row), row, to, at + strlen(from));
    if (lvm_parse_report(text, &vg, &err) == 0)
        fail_msg("taken: %s", to);
    assert_null(vg.lvs);
}

static void test_bad_values(void **state)
{
    (void)state;
    spoil("\"1249902592\"", "\"-1\"");
    spoil("\"1249902592\"", "\"12q\"");
    spoil("\"4194304\"", "\"0\"");
    spoil("\"4194304\"", "\"99999999999\"");
    spoil("\"lv_size\":\"134217728\"", "\"lv_size\":134217728");
    spoil("\"lv_tags\":\"\"", "\"lv_tags\":null");
    spoil("\"vg_free\"", "\"vg_fee\"");
}

#define PV(name, vg, tags)                                                                                             \
    "{\"pv_name\":\"" name "\", \"vg_name\":\"" vg "\", \"vg_tags\":\"" tags "\", \"vg_size\":\"620756992\", "              \
    "\"vg_free\":\"20756992\", \"vg_extent_size\":\"4194304\", \"vg_missing_pv_count\":\"1\", \"vg_exported\":\"0\"}"
#define GROUPS(rows) "{\"report\":[{\"pv\":[" rows "]}]}"

static void test_groups(void **state)
{
    (void)state;
    struct vmundo_error err = {0};
    AUTO_LVM_GROUPS struct lvm_groups g = {0}, none = {0};
    assert_ok(lvm_parse_groups(GROUPS(PV("/dev/a", "one", "x,vmundo.pool") "," PV("/dev/b", "two", "") ","
                                          PV("/dev/c", "one", "x,vmundo.pool") "," PV("/dev/d", "", "")), &g, &err), &err);
    assert_int_equal(g.n, 2);
    const struct lvm_group *one = lvm_groups_find(&g, "one");
    assert_non_null(one);
    assert_null(lvm_groups_find(&g, "on"));
    assert_int_equal(one->pvs.n, 2);
    assert_string_equal(one->pvs.items[1], "/dev/c");
    assert_true(strv_has(&one->tags, POOL_TAG));
    assert_false(strv_has(&lvm_groups_find(&g, "two")->tags, POOL_TAG));
    assert_int_equal(one->free, 20756992);
    assert_int_equal(one->missing, 1);
    assert_int_equal(g.single.n, 1);
    assert_string_equal(g.single.items[0], "/dev/d");
    assert_ok(lvm_parse_groups(GROUPS(""), &none, &err), &err);
    assert_int_equal(none.n, 0);
    assert_int_equal(lvm_parse_groups("{\"report\":[{\"vg\":[]}]}", &none, &err), -1);
    assert_int_equal(lvm_parse_groups(GROUPS("{\"pv_name\":\"/dev/a\", \"vg_name\":\"x\"}"), &none, &err), -1);
}

static struct lvm_lv thin_pool(const char *name, const char *tag)
{
    static char segtype[] = "thin-pool";
    struct lvm_lv l = {.name = strdup(name), .segtype = strdup(segtype)};
    if (tag)
        strv_add(&l.tags, tag, NULL);
    return l;
}

static void test_choice_of_thin_pool(void **state)
{
    (void)state;
    AUTO_LVM_VG struct lvm_vg vg = {.lvs = calloc(3, sizeof(struct lvm_lv))};
    assert_null(lvm_thin_pool(&vg));
    vg.lvs[vg.n_lvs++] = thin_pool("a", NULL);
    assert_string_equal(lvm_thin_pool(&vg)->name, "a");
    vg.lvs[vg.n_lvs++] = thin_pool("b", NULL);
    assert_null(lvm_thin_pool(&vg));
    vg.lvs[vg.n_lvs++] = thin_pool("c", POOL_TAG);
    assert_string_equal(lvm_thin_pool(&vg)->name, "c");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_hidden), cmocka_unit_test(test_no_volumes),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_choice_of_thin_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
