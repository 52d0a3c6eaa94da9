/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_lvm.c: what lvm, thin_delta and the kernel's device-mapper say. The first byte says whose words the rest is:
 *     v  lvs     g  pvs     d  thin_delta     s  a snapshot's status     t  a thin volume's status, and its pool's
 *     n  a name in device-mapper, or a path
 */
#include "fuzz.h"

#include "storage/lvm.h"
#include "storage/pool.h"

static void check_volumes(const char *text)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    struct vmundo_error err = {0};
    if (lvm_parse_report(text, &vg, &err) < 0) {
        REQUIRE_REFUSED(err);
        return;
    }
    REQUIRE(vg.n_lvs == 0 || vg.extent > 0);
    for (size_t i = 0; i < vg.n_lvs; i++) {
        REQUIRE(vg.lvs[i].name && vg.lvs[i].uuid && vg.lvs[i].segtype && vg.lvs[i].origin && vg.lvs[i].pool);
        REQUIRE(lvm_find(&vg, vg.lvs[i].name));
    }
    (void)lvm_thin_pool(&vg);
}

static void check_groups(const char *text)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    struct vmundo_error err = {0};
    if (lvm_parse_groups(text, &g, &err) < 0) {
        REQUIRE_REFUSED(err);
        return;
    }
    for (size_t i = 0; i < g.n; i++)
        REQUIRE(g.groups[i].name && g.groups[i].extent > 0 && lvm_groups_find(&g, g.groups[i].name));
}

/* Numbers that are allowed and would take gigabytes are not tried: that takes too long. */
static bool is_large(const char *text)
{
    for (const char *p = text; (p = strstr(p, "length=\"")); p++) {
        unsigned long long n = strtoull(p + strlen("length=\""), NULL, 10);
        if (n > 1000000 && n <= LVM_MAX_CHUNKS)
            return true;
    }
    return false;
}

static void check_delta(const char *text)
{
    AUTO_LVM_CHUNKS struct lvm_chunks c = {0};
    struct vmundo_error err = {0};
    if (is_large(text))
        return;
    if (lvm_parse_delta(text, &c, &err) < 0) {
        REQUIRE_REFUSED(err);
        return;
    }
    REQUIRE(c.size >= 512);
    for (size_t i = 1; i < c.n; i++)
        REQUIRE(c.chunks[i - 1] < c.chunks[i]);
    for (size_t i = 0; i < c.n; i++)
        REQUIRE(c.chunks[i] <= UINT64_MAX / c.size && lvm_chunks_touch(&c, c.chunks[i] * c.size, 1));
}

static void check_snapshot(const char *text)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    struct vmundo_error err = {0};
    uint64_t left;
    bool failed;
    if (lvm_snapshot_status(text, 1 << 20, &s, &err) < 0)
        REQUIRE_REFUSED(err);
    else
        REQUIRE(s.health && s.fill >= 0);
    if (lvm_merge_left(text, &left, &failed, &err) < 0)
        REQUIRE_REFUSED(err);
}

static void check_thin(char *text)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    struct vmundo_error err = {0};
    char *pool = strchr(text, '\n');
    if (pool)
        *pool++ = '\0';
    if (lvm_thin_status(text, pool, 1 << 30, &s, &err) < 0)
        REQUIRE_REFUSED(err);
    else
        REQUIRE(s.health && s.fill >= 0);
}

static void check_name(const char *text)
{
    AUTO_LVM_NAME struct lvm_name n = {0}, path = {0};
    AUTO_FREE char *layer = NULL, *same = NULL;
    struct vmundo_error err = {0};
    if (lvm_split_path(text, &path, &err) < 0)
        REQUIRE_REFUSED(err);
    err = (struct vmundo_error){0};
    if (lvm_split_dm_name(text, &n, &layer, &err) < 0) {
        REQUIRE_REFUSED(err);
        return;
    }
    REQUIRE(n.vg && n.lv && layer);
    same = lvm_dm_name(&n, *layer ? layer : NULL, &err);
    REQUIRE(str_eq(same, text) || str_has_suffix(text, "-"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char choice = fuzz_choice(&data, &size);
    AUTO_FREE char *text = fuzz_text(data, size);
    if (choice == 'v')
        check_volumes(text);
    else if (choice == 'g')
        check_groups(text);
    else if (choice == 'd')
        check_delta(text);
    else if (choice == 's')
        check_snapshot(text);
    else if (choice == 't')
        check_thin(text);
    else if (choice == 'n')
        check_name(text);
    return 0;
}
