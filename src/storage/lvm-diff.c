/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-diff.c: where a branch differs from another, or from its origin, without reading what is in them. A classic
 * snapshot's exception store lists its chunks; of two thin volumes thin_delta(8) compares the mappings, in a snapshot
 * of the pool's metadata that the kernel keeps for it (Documentation/admin-guide/device-mapper/thin-provisioning.rst),
 * so that the pool can be in use. In a volume that holds images, both file systems tell where the image's blocks are.
 */
#include "storage/extents.h"
#include "storage/lvm.h"
#include "util/process.h"

#include <fcntl.h>
#include <inttypes.h>

#define TIMEOUT_MS 120000u

/* ---- classic --------------------------------------------------------------------------------------------------------
 */

/* The branch's own store, on the device that LVM keeps behind it. */
int lvm_read_changes(const struct branch *b, struct lvm_chunks *ret, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (lvm_split_path(b->path, &n, err) < 0)
        return -1;
    AUTO_FREE char *dm_name = lvm_dm_name(&n, "cow", err);
    AUTO_FREE char *path = dm_name ? str_printf(err, "/dev/mapper/%s", dm_name) : NULL;
    if (!path)
        return -1;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", path);
    return lvm_read_cow(fd, ret, err) < 0 ? error_wrap(err, "%s", path) : 0;
}

/* ---- thin -----------------------------------------------------------------------------------------------------------
 */

static int unknown_delta(const char *text, struct vmundo_error *err)
{
    AUTO_FREE char *shown = str_escape(text, 80);
    return error_set(err, VMUNDO_FAILED, "thin_delta says something unknown: %s", shown ? shown : "");
}

/* The number in key="…", up to the end of this element. */
static bool read_attribute(const char *element, const char *key, uint64_t *ret)
{
    const char *end = strchr(element, '>'), *at = strstr(element, key);
    char *rest;
    if (!end || !at || at > end || at[strlen(key)] < '0' || at[strlen(key)] > '9')
        return false;
    errno = 0;
    *ret = strtoull(at + strlen(key), &rest, 10);
    return !errno && *rest == '"';
}

/* In ascending order, within what a volume can have. */
static int add_blocks(struct lvm_chunks *c, const char *element, struct vmundo_error *err)
{
    uint64_t begin, length, last = UINT64_MAX / c->size;
    if (!read_attribute(element, " begin=\"", &begin) || !read_attribute(element, " length=\"", &length) ||
        begin > last || length > last - begin || (c->n > 0 && begin <= c->chunks[c->n - 1]))
        return unknown_delta(element, err);
    if (length > LVM_MAX_CHUNKS - c->n)
        return error_set(err, VMUNDO_REFUSED, "more than %" PRIu64 " chunks of %u bytes differ, which is too much to list",
                         LVM_MAX_CHUNKS, c->size);
    for (uint64_t i = 0; i < length; i++)
        if (lvm_chunks_add(c, begin + i, err) < 0)
            return -1;
    return 0;
}

int lvm_parse_delta(const char *xml, struct lvm_chunks *ret, struct vmundo_error *err)
{
    static const char *const differs[] = {"<different ", "<left_only ", "<right_only "};
    AUTO_LVM_CHUNKS struct lvm_chunks c = {0};
    const char *size = strstr(xml, " data_block_size=\"");
    uint64_t sectors = 0;
    if (!size || !read_attribute(size, " data_block_size=\"", &sectors) || !sectors || sectors > 1u << 21)
        return unknown_delta(xml, err);
    c.size = (uint32_t)sectors * 512;
    for (const char *at = strchr(size, '<'); at; at = strchr(at + 1, '<')) {
        for (size_t i = 0; i < ARRAY_SIZE(differs); i++)
            if (!strncmp(at, differs[i], strlen(differs[i])) && add_blocks(&c, at, err) < 0)
                return -1;
    }
    *ret = c;
    c = (struct lvm_chunks){0};
    return 0;
}

/* A thin volume's number in its pool, and the pool's name in device-mapper, which may stay NULL. */
static int thin_identity(const char *path, unsigned *ret_id, char **ret_pool, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    AUTO_LVM_DM struct lvm_dm d = {0};
    int maj, min;
    if (lvm_split_path(path, &n, err) < 0)
        return -1;
    AUTO_FREE char *dm_name = lvm_dm_name(&n, NULL, err);
    if (!dm_name || lvm_dm_look(dm_name, LVM_DM_TABLE, &d, err) < 0)
        return -1;
    if (!d.exists || sscanf(d.params, "%d:%d %u", &maj, &min, ret_id) != 3)
        return error_set(err, VMUNDO_CONFLICT, "%s is not active: 'lvchange -K -ay %s/%s' first", path, n.vg, n.lv);
    AUTO_FREE char *file = str_printf(err, "/sys/dev/block/%d:%d/dm/name", maj, min);
    AUTO_FREE char *name = NULL;
    if (!file || sys_read_file(AT_FDCWD, file, 256, &name, NULL, err) < 0)
        return -1;
    name[strcspn(name, "\n")] = 0;
    free(*ret_pool);
    *ret_pool = TAKE(name);
    return 0;
}

static int run_delta(const char *pool, unsigned a, unsigned b, char **ret, struct vmundo_error *err)
{
    size_t n = strlen(pool), suffix = strlen("-tpool");
    if (n <= suffix || !str_eq(pool + n - suffix, "-tpool"))
        return error_set(err, VMUNDO_FAILED, "the thin pool's device is called %s, which LVM would not", pool);
    AUTO_FREE char *first = str_printf(err, "%u", a), *second = str_printf(err, "%u", b);
    AUTO_FREE char *device = str_printf(err, "/dev/mapper/%.*s_tmeta", (int)(n - suffix), pool);
    const char *argv[] = {"thin_delta", "--metadata-snap", "--snap1", first, "--snap2", second, device, NULL};
    return first && second && device ? process_run(argv, TIMEOUT_MS, ret, err) : -1;
}

static int read_delta(const char *pool, unsigned a, unsigned b, struct lvm_chunks *ret, struct vmundo_error *err)
{
    AUTO_FREE char *xml = NULL;
    struct vmundo_error e = {0};
    if (lvm_dm_message(pool, "reserve_metadata_snap", &e) < 0)
        return e.errnum == EBUSY
                   ? error_set(err, VMUNDO_CONFLICT,
                               "somebody else looks at the metadata of thin pool %s, or was killed while looking: "
                               "'dmsetup message %s 0 release_metadata_snap' gives it free",
                               pool, pool)
                   : error_set(err, e.code, "%s", e.msg);
    int r = run_delta(pool, a, b, &xml, err);
    (void)lvm_dm_message(pool, "release_metadata_snap", NULL);
    return r < 0 ? -1 : lvm_parse_delta(xml, ret, err);
}

static int thin_changes(const char *path, const char *since, struct lvm_chunks *ret, struct vmundo_error *err)
{
    AUTO_FREE char *pool = NULL, *other = NULL;
    unsigned a, b;
    if (!process_have("thin_delta"))
        return error_set(err, VMUNDO_REFUSED, "there is no thin_delta in PATH (package thin-provisioning-tools)");
    if (thin_identity(since, &a, &other, err) < 0 || thin_identity(path, &b, &pool, err) < 0)
        return -1;
    return str_eq(pool, other) ? read_delta(pool, a, b, ret, err)
                               : error_set(err, VMUNDO_REFUSED, "%s and %s are in different pools", path, since);
}

/* ---- both -----------------------------------------------------------------------------------------------------------
 */

static int list_chunks(const struct lvm_chunks *c, struct ranges *ret, struct vmundo_error *err)
{
    for (size_t i = 0; i < c->n; i++)
        if (ranges_add(ret, c->chunks[i] * c->size, c->size, err) < 0)
            return -1;
    return 0;
}

static int list_in_file(const struct branch *b, const char *since, const char *inside, const struct lvm_chunks *changed,
                        struct ranges *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int from = -1;
    AUTO_CLOSE int to = -1;
    if (lvm_open_root(b->path, false, &from, err) < 0 || lvm_open_root(since, false, &to, err) < 0)
        return -1;
    struct lvm_copy c = {.from = from, .to = to, .changed = changed};
    return lvm_copy_list(&c, inside, ret, err);
}

int lvm_changes(const struct branch *b, const struct branch *since, const char *inside, struct ranges *ret,
                struct vmundo_error *err)
{
    AUTO_LVM_CHUNKS struct lvm_chunks c = {0};
    const char *from = since ? since->path : b->origin;
    if (b->driver == &storage_lvm_thin ? thin_changes(b->path, from, &c, err) < 0
        : since                        ? error_set(err, VMUNDO_REFUSED, "classic snapshots have none of their own")
                                       : lvm_read_changes(b, &c, err) < 0)
        return -1;
    return inside ? list_in_file(b, from, inside, &c, ret, err) : list_chunks(&c, ret, err);
}
