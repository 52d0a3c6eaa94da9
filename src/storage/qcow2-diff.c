/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2-diff.c: what differs between two overlays, or an overlay and its origin: all that stands in the overlays above
 * what both rest on. qemu-img tells what stands in one of them, without reading data. The tables of one that a running
 * QEMU writes to are partly in QEMU's memory: it must have written them (paused, it has) for the answer to be whole.
 */
#include "storage/qcow2-chain.h"

#include "storage/image.h"
#include "storage/sidecar.h"
#include "util/process.h"

#include <fcntl.h>

/* Before QEMU 6.1 it does not tell what is not there from zeros. */
int chain_parse_map(const char *text, struct ranges *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *map = NULL;
    if (json_parse(text, "the answer of qemu-img map", &map, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(map); i++) {
        const json_t *part = json_array_get(map, i);
        uint64_t start, length;
        if (!json_opt_bool(part, "present", true))
            continue;
        if (json_get_u64(part, "start", &start, err) < 0 || json_get_u64(part, "length", &length, err) < 0)
            return -1;
        if (start > INT64_MAX - length)
            return error_set(err, VMUNDO_FAILED, "the answer of qemu-img map: a part that no disk can have");
        if (ranges_add(ret, start, length, err) < 0)
            return -1;
    }
    return 0;
}

/* Without QEMU's lock: it would be in the way of a QEMU that merges overlays, or that one in ours. */
static int map_overlay(const char *path, struct ranges *ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    AUTO_FREE char *text = NULL;
    if (sidecar_open_branch(path, O_RDONLY, &f, err) < 0)
        return -1;
    AUTO_FREE char *file = image_fd_path(f.fd, NULL, err);
    AUTO_FREE char *image =
        file ? str_printf(err,
                          "json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"file\","
                          "\"filename\":\"%s\",\"locking\":\"off\"}}",
                          file)
             : NULL;
    const char *argv[] = {"qemu-img", "map", "--force-share", "--output=json", image, NULL};
    return !image || process_run(argv, 0, &text, err) < 0 ? -1 : chain_parse_map(text, ret, err);
}

static int by_start(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* In order, and none of them twice. */
static int unite(struct ranges *all, struct ranges *ret, struct vmundo_error *err)
{
    uint64_t end = 0;
    if (all->n)
        qsort(all->list, all->n, sizeof(*all->list), by_start);
    for (size_t i = 0; i < all->n; i++) {
        uint64_t start = all->list[i].start, stop = start + all->list[i].length;
        start = start < end ? end : start;
        if (stop > start && ranges_add(ret, start, stop - start, err) < 0)
            return -1;
        end = stop > end ? stop : end;
    }
    return 0;
}

int chain_changes(const struct branch *b, const struct branch *since, const char *inside, struct ranges *ret,
                  struct vmundo_error *err)
{
    AUTO_STRV struct strv now = {0}, then = {0};
    AUTO_RANGES struct ranges all = {0};
    (void)inside;
    if (chain_list(b->path, b->origin, &now, err) < 0 ||
        (since && chain_list(since->path, since->origin, &then, err) < 0))
        return -1;
    size_t a = now.n, c = then.n;
    for (; a && c && str_eq(now.items[a - 1], then.items[c - 1]); a--)
        c--;
    for (size_t i = 0; i < a; i++)
        if (map_overlay(now.items[i], &all, err) < 0)
            return -1;
    for (size_t i = 0; i < c; i++)
        if (map_overlay(then.items[i], &all, err) < 0)
            return -1;
    return unite(&all, ret, err);
}
