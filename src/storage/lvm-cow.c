/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-cow.c: which chunks of the origin a classic snapshot holds for itself, read from its exception store.
 *
 * Its first chunk is a header. Then come areas: one chunk of metadata that lists as many pairs (old chunk, new chunk)
 * as it can hold, and as many chunks of data. The pair whose new chunk is 0 is behind the last: chunk 0 is the header.
 * All numbers are little-endian. kernel: drivers/md/dm-snap-persistent.c. The store grows at its end only, and every
 * entry that is there is valid, so reading it beside the kernel gives the state at some moment during the reading.
 */
#include "storage/lvm.h"

#include <endian.h>

#define MAGIC 0x70416e53u /* "SnAp" */
#define VERSION 1u
#define SECTOR 512u
#define ALIGNMENT 4096u /* fd may be opened with O_DIRECT */
#define MIN_CHUNK 4096u
#define MAX_CHUNK (512u << 10)

struct header {
    uint32_t magic, valid, version, chunk_sectors;
};

struct exception {
    uint64_t old_chunk, new_chunk;
};

void lvm_chunks_clear(struct lvm_chunks *c)
{
    free(c->chunks);
    *c = (struct lvm_chunks){0};
}

int lvm_chunks_add(struct lvm_chunks *c, uint64_t chunk, struct vmundo_error *err)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 1024;
        uint64_t *more = reallocarray(c->chunks, cap, sizeof(*more));
        if (!more)
            return error_nomem(err);
        c->chunks = more;
        c->cap = cap;
    }
    c->chunks[c->n++] = chunk;
    return 0;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int read_at(int fd, void *buf, size_t size, uint64_t offset, struct vmundo_error *err)
{
    ssize_t n = TEMP_FAILURE_RETRY(pread(fd, buf, size, (off_t)offset));
    if (n < 0)
        return error_errno(err, errno, "cannot read the snapshot's exception store");
    if ((size_t)n < size)
        return error_set(err, VMUNDO_FAILED, "the snapshot's exception store ends in the middle of a list");
    return 0;
}

static int read_header(int fd, void *buf, uint32_t *ret_chunk, struct vmundo_error *err)
{
    struct header h;
    if (read_at(fd, buf, ALIGNMENT, 0, err) < 0)
        return -1;
    memcpy(&h, buf, sizeof(h));
    uint32_t sectors = le32toh(h.chunk_sectors);
    if (le32toh(h.magic) != MAGIC)
        return error_set(err, VMUNDO_FAILED, "it is not the exception store of a snapshot");
    if (le32toh(h.valid) != 1)
        return error_set(err, VMUNDO_FAILED, "the snapshot is invalid: it was full once");
    if (le32toh(h.version) != VERSION || sectors < MIN_CHUNK / SECTOR || sectors > MAX_CHUNK / SECTOR ||
        (sectors & (sectors - 1)))
        return error_set(err, VMUNDO_FAILED,
                         "the snapshot's exception store is of a kind that is not known: version %u, chunks of %u "
                         "sectors",
                         le32toh(h.version), sectors);
    *ret_chunk = sectors * SECTOR;
    return 0;
}

/* Returns 1 when there may be another area, 0 when this was the last. */
static int take_area(const void *buf, struct lvm_chunks *c, struct vmundo_error *err)
{
    for (size_t i = 0; i < c->size / sizeof(struct exception); i++) {
        struct exception e;
        memcpy(&e, (const char *)buf + i * sizeof(e), sizeof(e));
        if (e.new_chunk == 0)
            return 0;
        if (lvm_chunks_add(c, le64toh(e.old_chunk), err) < 0)
            return -1;
    }
    return 1;
}

int lvm_read_cow(int fd, struct lvm_chunks *ret, struct vmundo_error *err)
{
    AUTO_LVM_CHUNKS struct lvm_chunks c = {0};
    AUTO_FREE void *buf = aligned_alloc(ALIGNMENT, MAX_CHUNK);
    if (!buf)
        return error_nomem(err);
    if (read_header(fd, buf, &c.size, err) < 0)
        return -1;
    uint64_t stride = (uint64_t)c.size * (1 + c.size / sizeof(struct exception));
    int more = 1;
    for (uint64_t at = c.size; more > 0; at += stride) {
        if (read_at(fd, buf, c.size, at, err) < 0)
            return -1;
        more = take_area(buf, &c, err);
    }
    if (more < 0)
        return -1;
    if (c.n > 0)
        qsort(c.chunks, c.n, sizeof(*c.chunks), ascending);
    *ret = c;
    c = (struct lvm_chunks){0};
    return 0;
}

bool lvm_chunks_touch(const struct lvm_chunks *c, uint64_t start, uint64_t len)
{
    uint64_t first = start / c->size, last = (start + len - 1) / c->size;
    size_t low = 0, high = c->n; /* the first that is not below first */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->chunks[middle] < first)
            low = middle + 1;
        else
            high = middle;
    }
    return len > 0 && low < c->n && c->chunks[low] <= last;
}
