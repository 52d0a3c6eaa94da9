/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* extents.c: see extents.h. */
#include "storage/extents.h"

#include "util/cleanup.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define BATCH 512u /* extents asked for at a time */

void extents_clear(struct extents *e)
{
    free(e->list);
    *e = (struct extents){0};
}

static int add(struct extents *e, const struct fiemap_extent *f, struct vmundo_error *err)
{
    const uint32_t vague = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_NOT_ALIGNED |
                           FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL;
    if (e->n == e->cap) {
        size_t cap = e->cap ? e->cap * 2 : BATCH;
        struct extent *more = reallocarray(e->list, cap, sizeof(*more));
        if (!more)
            return error_nomem(err);
        e->list = more;
        e->cap = cap;
    }
    e->list[e->n++] = (struct extent){
        .start = f->fe_logical,
        .end = f->fe_logical + f->fe_length,
        .at = f->fe_physical,
        .zero = f->fe_flags & FIEMAP_EXTENT_UNWRITTEN,
        .unknown = f->fe_flags & vague,
        .packed = f->fe_flags & FIEMAP_EXTENT_ENCODED,
        .shared = f->fe_flags & FIEMAP_EXTENT_SHARED,
    };
    return 0;
}

int extents_read(int fd, bool flush, struct extents *ret, struct vmundo_error *err)
{
    AUTO_EXTENTS struct extents e = {0};
    AUTO_FREE struct fiemap *map = calloc(1, sizeof(*map) + BATCH * sizeof(map->fm_extents[0]));
    if (!map)
        return error_nomem(err);
    for (bool last = false; !last;) {
        map->fm_start = e.n > 0 ? e.list[e.n - 1].end : 0;
        map->fm_length = FIEMAP_MAX_OFFSET - map->fm_start;
        map->fm_flags = flush ? FIEMAP_FLAG_SYNC : 0;
        map->fm_extent_count = BATCH;
        if (ioctl(fd, FS_IOC_FIEMAP, map) < 0)
            return error_errno(err, errno, "cannot learn where the file's blocks are");
        last = map->fm_mapped_extents == 0;
        for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
            last = last || map->fm_extents[i].fe_flags & FIEMAP_EXTENT_LAST;
            if (add(&e, &map->fm_extents[i], err) < 0)
                return -1;
        }
    }
    *ret = e;
    e = (struct extents){0};
    return 0;
}

const struct extent *extents_seek(const struct extents *e, size_t *i, uint64_t offset)
{
    while (*i < e->n && e->list[*i].end <= offset)
        ++*i;
    return *i < e->n ? &e->list[*i] : NULL;
}

bool extent_has_data(const struct extent *e, uint64_t offset)
{
    return e && e->start <= offset && !e->zero;
}

uint64_t extent_limit(const struct extent *e, uint64_t offset, uint64_t size)
{
    if (!e)
        return size;
    uint64_t limit = e->start > offset ? e->start : e->end;
    return limit < size ? limit : size;
}

bool extent_is_same(const struct extent *a, const struct extent *b, uint64_t offset)
{
    if (a->unknown || b->unknown || a->packed != b->packed)
        return false;
    if (a->packed)
        return a->at == b->at && a->start == b->start && a->end == b->end;
    return a->at + (offset - a->start) == b->at + (offset - b->start);
}
