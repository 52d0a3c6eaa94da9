/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-copy.c: bring an image file back from a branch's file system into its origin's, changed blocks only.
 *
 * Both file systems began as one. A piece of the file that is at the same place of the volume in both, where the
 * snapshot has no chunk of its own, is the same and is not even read. Everything else is read on both sides, and
 * written where it differs; a hole in the branch becomes a hole in the origin. So it can be done again from the start
 * after any interruption, and nothing but this file is written to.
 */
#include "storage/extents.h"
#include "storage/lvm.h"

#include <fcntl.h>
#include <sys/stat.h>

#define PIECE ((uint64_t)1 << 20)
#define BLOCK 4096u

/* ---- what has to be done
 * --------------------------------------------------------------------------------------------- */

enum action { SAME, COMPARE, PUNCH };

/* A file on its way from one file system to the other. */
struct job {
    struct lvm_copy *copy;
    int from, to;
    struct extents in_from, in_to;
    size_t i_from, i_to;
    uint64_t size, old_size;
    char *buf, *old;
};

static void job_clear(struct job *j)
{
    cleanup_close(&j->from);
    cleanup_close(&j->to);
    extents_clear(&j->in_from);
    extents_clear(&j->in_to);
    free(j->buf);
    free(j->old);
}
#define JOB_INIT                                                                                                       \
    {                                                                                                                  \
        .from = -1, .to = -1                                                                                           \
    }

/* What to do with the piece that begins at offset; *ret_end is where it ends. */
static enum action classify(struct job *j, uint64_t offset, uint64_t *ret_end)
{
    const struct extent *f = extents_seek(&j->in_from, &j->i_from, offset),
                        *t = extents_seek(&j->in_to, &j->i_to, offset);
    const struct lvm_chunks *changed = j->copy->changed;
    uint64_t end = extent_limit(f, offset, j->size), other = extent_limit(t, offset, j->size);
    end = end < other ? end : other;
    if (changed && end - offset > changed->size)
        end = offset - offset % changed->size + changed->size;
    else if (!changed && end - offset > PIECE)
        end = offset + PIECE;
    *ret_end = end;
    if (!extent_has_data(f, offset))
        return extent_has_data(t, offset) ? PUNCH : SAME;
    if (!extent_has_data(t, offset) || !changed || f->packed || !extent_is_same(f, t, offset))
        return COMPARE;
    return lvm_chunks_touch(changed, f->at + (offset - f->start), end - offset) ? COMPARE : SAME;
}

static void rewind_job(struct job *j)
{
    j->i_from = j->i_to = 0;
}

static int open_job(struct lvm_copy *c, const char *inside, int how, struct job *j, struct vmundo_error *err)
{
    struct stat from, to;
    j->copy = c;
    if (lvm_open_inside(c->from, inside, O_RDONLY, &j->from, err) < 0 ||
        lvm_open_inside(c->to, inside, how, &j->to, err) < 0 || extents_read(j->from, true, &j->in_from, err) < 0 ||
        extents_read(j->to, true, &j->in_to, err) < 0)
        return -1;
    if (fstat(j->from, &from) < 0 || fstat(j->to, &to) < 0)
        return error_errno(err, errno, "cannot look at %s", inside);
    j->size = (uint64_t)from.st_size;
    j->old_size = (uint64_t)to.st_size;
    return 0;
}

static uint64_t measure(struct job *j)
{
    uint64_t bytes = 0, end;
    for (uint64_t at = 0; at < j->size; at = end)
        if (classify(j, at, &end) == COMPARE)
            bytes += end - at;
    rewind_job(j);
    return bytes;
}

int lvm_copy_list(struct lvm_copy *c, const char *inside, struct ranges *ret, struct vmundo_error *err)
{
    CLEANUP(job_clear) struct job j = JOB_INIT;
    uint64_t end;
    if (open_job(c, inside, O_RDONLY, &j, err) < 0)
        return error_wrap(err, "%s", inside);
    for (uint64_t at = 0; at < j.size; at = end)
        if (classify(&j, at, &end) != SAME && ranges_add(ret, at, end - at, err) < 0)
            return -1;
    return j.old_size > j.size ? ranges_add(ret, j.size, j.old_size - j.size, err) : 0;
}

int lvm_copy_measure(struct lvm_copy *c, const char *inside, struct vmundo_error *err)
{
    CLEANUP(job_clear) struct job j = JOB_INIT;
    if (open_job(c, inside, O_RDONLY, &j, err) < 0)
        return error_wrap(err, "%s", inside);
    c->total += measure(&j);
    return 0;
}

/* ---- doing it -------------------------------------------------------------------------------------------------------
 */

/* Read exactly n bytes; what lies behind the end of the file is zeros. */
static int read_piece(int fd, char *buf, size_t n, uint64_t at, struct vmundo_error *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = TEMP_FAILURE_RETRY(pread(fd, buf + done, n - done, (off_t)(at + done)));
        if (r < 0)
            return error_errno(err, errno, "cannot read");
        if (r == 0) {
            memset(buf + done, 0, n - done);
            return 0;
        }
        done += (size_t)r;
    }
    return 0;
}

static int write_piece(int fd, const char *buf, size_t n, uint64_t at, struct vmundo_error *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = TEMP_FAILURE_RETRY(pwrite(fd, buf + done, n - done, (off_t)(at + done)));
        if (r <= 0)
            return error_errno(err, r < 0 ? errno : ENOSPC, "cannot write");
        done += (size_t)r;
    }
    return 0;
}

/* Write the blocks of one piece that differ. */
static int copy_piece(struct job *j, uint64_t at, size_t n, struct vmundo_error *err)
{
    if (read_piece(j->from, j->buf, n, at, err) < 0 || read_piece(j->to, j->old, n, at, err) < 0)
        return -1;
    for (size_t i = 0, end; i < n; i = end) {
        end = i + (BLOCK - (at + i) % BLOCK);
        end = end < n ? end : n;
        if (!memcmp(j->buf + i, j->old + i, end - i))
            continue;
        while (end < n && memcmp(j->buf + end, j->old + end, n - end < BLOCK ? n - end : BLOCK))
            end += n - end < BLOCK ? n - end : BLOCK;
        if (write_piece(j->to, j->buf + i, end - i, at + i, err) < 0)
            return -1;
    }
    return 0;
}

static int copy_range(struct job *j, uint64_t at, uint64_t end, struct vmundo_error *err)
{
    while (at < end) {
        size_t n = end - at < PIECE ? (size_t)(end - at) : PIECE;
        if (j->copy->before_write && j->copy->before_write(j->copy->branch, n, err) < 0)
            return -1;
        if (copy_piece(j, at, n, err) < 0)
            return -1;
        at += n;
        j->copy->done += n;
        progress_tell(j->copy->progress, j->copy->done, j->copy->total);
    }
    return 0;
}

/* At the end of the file the whole last block, which would otherwise only be zeroed, and be there again the next time.
 */
static int punch(struct job *j, uint64_t at, uint64_t end, struct vmundo_error *err)
{
    uint64_t to = end == j->size ? (end + BLOCK - 1) / BLOCK * BLOCK : end;
    if (fallocate(j->to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)(to - at)) == 0)
        return 0;
    if (errno != EOPNOTSUPP)
        return error_errno(err, errno, "cannot make a hole");
    return copy_range(j, at, end, err);
}

static int run_job(struct job *j, struct vmundo_error *err)
{
    uint64_t end;
    for (uint64_t at = 0; at < j->size; at = end) {
        enum action action = classify(j, at, &end);
        if ((action == COMPARE && copy_range(j, at, end, err) < 0) || (action == PUNCH && punch(j, at, end, err) < 0))
            return -1;
    }
    if (j->size != j->old_size && ftruncate(j->to, (off_t)j->size) < 0)
        return error_errno(err, errno, "cannot change its size");
    return fsync(j->to) < 0 ? error_errno(err, errno, "cannot make it durable") : 0;
}

int lvm_copy_file(struct lvm_copy *c, const char *inside, struct vmundo_error *err)
{
    CLEANUP(job_clear) struct job j = JOB_INIT;
    if (open_job(c, inside, O_RDWR, &j, err) < 0)
        return error_wrap(err, "%s", inside);
    j.buf = malloc(PIECE);
    j.old = malloc(PIECE);
    if (!j.buf || !j.old)
        return error_nomem(err);
    return run_job(&j, err) < 0 ? error_wrap(err, "%s", inside) : 0;
}

int lvm_copy_device(int from, int to, const struct progress *p, struct vmundo_error *err)
{
    AUTO_FREE char *buf = malloc(PIECE), *old = malloc(PIECE);
    off_t size = lseek(from, 0, SEEK_END);
    if (!buf || !old)
        return error_nomem(err);
    if (size < 0 || lseek(to, 0, SEEK_END) != size)
        return error_set(err, VMUNDO_REFUSED, "the two are not of one size");
    struct lvm_copy c = {.progress = p, .total = (uint64_t)size};
    struct job j = {.copy = &c, .from = from, .to = to, .size = (uint64_t)size, .buf = buf, .old = old};
    if (copy_range(&j, 0, j.size, err) < 0)
        return -1;
    return fsync(to) < 0 ? error_errno(err, errno, "cannot make it durable") : 0;
}
