/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * extents.c: what two files that share blocks do not share. Their extents (FIEMAP,
 * Documentation/filesystems/fiemap.rst) are walked side by side; nothing is read. It takes about half a microsecond for
 * each.
 */
#include "storage/sidecar.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#define BATCH 512

/* One file's extents, in order. */
struct walk {
    int fd;
    struct fiemap *batch;
    uint32_t i;    /* the next one of the batch */
    uint64_t from; /* where the next batch begins */
    bool last;
    struct fiemap_extent e; /* what is left of the present one; fe_length 0: there are no more */
};

static void walk_clear(struct walk *w)
{
    free(w->batch);
    w->batch = NULL;
}

static int fetch(struct walk *w, struct vmundo_error *err)
{
    const size_t size = sizeof(struct fiemap) + BATCH * sizeof(struct fiemap_extent);
    if (!w->batch && !(w->batch = malloc(size)))
        return error_nomem(err);
    memset(w->batch, 0, size);
    w->batch->fm_start = w->from;
    w->batch->fm_length = FIEMAP_MAX_OFFSET - w->from;
    w->batch->fm_extent_count = BATCH;
    w->i = 0;
    return ioctl(w->fd, FS_IOC_FIEMAP, w->batch) < 0 ? error_errno(err, errno, "cannot list its extents") : 0;
}

static int step(struct walk *w, struct vmundo_error *err)
{
    w->e.fe_length = 0;
    if (w->last)
        return 0;
    if ((!w->batch || w->i == w->batch->fm_mapped_extents) && fetch(w, err) < 0)
        return -1;
    w->last = w->batch->fm_mapped_extents == 0;
    if (w->last)
        return 0;
    w->e = w->batch->fm_extents[w->i++];
    w->from = w->e.fe_logical + w->e.fe_length;
    w->last = w->e.fe_flags & FIEMAP_EXTENT_LAST;
    return 0;
}

static void cut(struct walk *w, uint64_t n)
{
    w->e.fe_logical += n;
    w->e.fe_physical += n;
    w->e.fe_length -= n;
}

static bool same_blocks(const struct fiemap_extent *a, const struct fiemap_extent *b)
{
    const uint32_t nowhere = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_DATA_INLINE;
    return !((a->fe_flags | b->fe_flags) & nowhere) && a->fe_physical - a->fe_logical == b->fe_physical - b->fe_logical;
}

/* How far a's extent goes before something changes, and whether b has that, too. */
static uint64_t compare(const struct walk *a, const struct walk *b, bool *ret_same)
{
    uint64_t end_a = a->e.fe_logical + a->e.fe_length, end_b = b->e.fe_logical + b->e.fe_length;
    *ret_same = false;
    if (!b->e.fe_length || b->e.fe_logical >= end_a)
        return a->e.fe_length;
    if (b->e.fe_logical > a->e.fe_logical)
        return b->e.fe_logical - a->e.fe_logical;
    *ret_same = same_blocks(&a->e, &b->e);
    return (end_a < end_b ? end_a : end_b) - a->e.fe_logical;
}

static int measure(struct walk *a, struct walk *b, uint64_t *ret, struct vmundo_error *err)
{
    uint64_t own = 0;
    if (step(a, err) < 0 || step(b, err) < 0)
        return -1;
    while (a->e.fe_length) {
        bool same;
        if (b->e.fe_length && b->e.fe_logical + b->e.fe_length <= a->e.fe_logical) {
            if (step(b, err) < 0)
                return -1;
            continue;
        }
        uint64_t n = compare(a, b, &same);
        own += same ? 0 : n;
        cut(a, n);
        if (!a->e.fe_length && step(a, err) < 0)
            return -1;
    }
    *ret = own;
    return 0;
}

int sidecar_unshared(const struct branch *b, const char *other, uint64_t *ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT, o = SIDECAR_FILE_INIT;
    CLEANUP(walk_clear) struct walk a = {0}, theirs = {0};
    if (sidecar_open_branch(b->path, O_RDONLY, &f, err) < 0 || sidecar_open_branch(other, O_RDONLY, &o, err) < 0)
        return -1;
    a.fd = f.fd;
    theirs.fd = o.fd;
    return measure(&a, &theirs, ret, err);
}
