/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * null.c: the plainest driver that keeps the contract: a branch is a copy of a small origin. It serves as the template
 * for new drivers whose branches are files, and where tests want real files without a special file system. It is never
 * chosen by itself. With a limit asked for it is bounded: the file's size is how far it is filled, which a test can
 * change, and there is room for no more than one generation beside an origin.
 */
#include "storage/drivers.h"

#include "storage/sidecar.h"

#include <fcntl.h>
#include <sys/stat.h>

#define MAX_SIZE ((uint64_t)16 << 20)

static int null_claim(const struct stack *s, const char *format, struct claim *ret, struct vmundo_error *err)
{
    (void)format;
    ret->possible = s->kind != STACK_RBD && s->size <= MAX_SIZE;
    if (str_copy(ret->possible ? "asked for" : "it copies, and only what is no larger than 16 MiB", &ret->why, err) < 0)
        return -1;
    return ret->possible &&
                   (str_copy("a full copy", &ret->cost, err) < 0 || str_copy(stack_name(s), &ret->volume, err) < 0)
               ? -1
               : 0;
}

static int null_name(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err)
{
    (void)state_dir;
    b->path = sidecar_path(b->origin, m, ".null", err);
    return b->path ? str_copy(b->origin_format, &b->format, err) : -1;
}

/* Make dst what src is. Whatever state dst is in, doing it again mends it. */
static int copy(int src, int dst, struct vmundo_error *err)
{
    char buf[65536];
    off_t at = 0;
    for (ssize_t n; (n = TEMP_FAILURE_RETRY(pread(src, buf, sizeof(buf), at))) != 0; at += n) {
        ssize_t written = n < 0 ? -1 : TEMP_FAILURE_RETRY(pwrite(dst, buf, (size_t)n, at));
        if (written != n)
            return error_errno(err, written < 0 ? errno : ENOSPC, "cannot copy");
    }
    struct stat st;
    if (fstat(dst, &st) < 0 || (S_ISREG(st.st_mode) && ftruncate(dst, at) < 0) || fsync(dst) < 0)
        return error_errno(err, errno, "cannot copy");
    return 0;
}

static int null_fill(const struct sidecar_fill *f, struct vmundo_error *err)
{
    return copy(f->from, f->fd, err);
}

static int null_create(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    return sidecar_create(b, m, null_fill, false, err);
}

static int null_preflight(const struct branch *b, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    const char *base;
    if (sidecar_preflight(b, err) < 0)
        return -1;
    if (!b->limit || sidecar_open(b->path, false, &dir, &base, NULL) < 0 || dir < 0)
        return 0;
    return error_set(err, VMUNDO_REFUSED, "beside %s there is room for one bounded branch, and there is one", b->origin);
}

static int null_preflight_replacing(const struct branch *b, const struct branch *gone, struct vmundo_error *err)
{
    (void)gone;
    return sidecar_preflight(b, err);
}

static int null_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    struct stat st;
    if (sidecar_inspect(b, ret, err) < 0)
        return -1;
    if (!b->limit || !ret->exists || stat(b->path, &st) < 0)
        return 0;
    ret->limit = b->limit;
    ret->fill = (double)st.st_size / (double)b->limit;
    ret->room = (uint64_t)st.st_size < b->limit ? b->limit - (uint64_t)st.st_size : 0;
    ret->lost = ret->room == 0;
    if (ret->lost) {
        free(ret->health);
        ret->health = NULL;
        if (str_copy("overflow: it is full", &ret->health, err) < 0)
            return -1;
    }
    return str_copy("file", &ret->bound, err);
}

static int null_extend(const struct branch *b, uint64_t want, struct vmundo_error *err)
{
    (void)want;
    return error_set(err, VMUNDO_REFUSED, "%s is as large as it may be", b->path);
}

static int null_keep_check(const struct branch *b, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    return sidecar_keep_check(b, &s, err);
}

static int null_keep(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file branch = SIDECAR_FILE_INIT, origin = SIDECAR_FILE_INIT;
    if (sidecar_open_branch(b->path, O_RDONLY, &branch, err) < 0 ||
        sidecar_open_origin(b->origin, O_WRONLY, &origin, err) < 0 || copy(branch.fd, origin.fd, err) < 0)
        return -1;
    progress_tell(p, 1, 1);
    return 0;
}

const struct storage_driver storage_null = {
    .name = "null",
    .flags = STORAGE_NEVER_IMPLICIT | STORAGE_FROM_BRANCH,
    .claim = null_claim,
    .name_branch = null_name,
    .preflight = null_preflight,
    .preflight_replacing = null_preflight_replacing,
    .create = null_create,
    .remove = sidecar_remove,
    .inspect = null_inspect,
    .glance = null_inspect,
    .extend = null_extend,
    .changed = sidecar_changed,
    .keep_check = null_keep_check,
    .keep = null_keep,
};
