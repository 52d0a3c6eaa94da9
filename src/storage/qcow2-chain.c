/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2-chain.c: see qcow2-chain.h. First what one file rests on, then who rests on it, then removal.
 */
#include "storage/qcow2-chain.h"

#include "storage/image.h"
#include "storage/sidecar.h"
#include "util/sys.h"

#include <fcntl.h>
#include <sys/file.h>

/* ---- downwards -------------------------------------------------------------------------------------------------- */

const char *chain_overlay_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    const size_t n = strlen("/" SIDECAR_DIR);
    return slash && (size_t)(slash - path) >= n && !strncmp(slash - n, "/" SIDECAR_DIR, n) && slash[1] ? slash + 1
                                                                                                       : NULL;
}

int chain_read_backing(int dirfd, const char *name, char **ret, bool *ret_damaged, struct vmundo_error *err)
{
    CLEANUP(image_header_clear) struct image_header h = {0};
    AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open the overlay %s", name);
    struct vmundo_error local = {0};
    *ret = NULL;
    if (image_read_header(fd, "qcow2", &h, &local) < 0 && local.errnum) /* it could not be read, whatever it says */
        return error_set(err, local.code, "the overlay %s: %s", name, local.msg);
    bool gone = false; /* then what it needs is lost with it */
    bool damaged = !h.backing && !str_has_suffix(name, SIDECAR_PART); /* that one is renamed when it is whole */
    if (ret_damaged && damaged && chain_is_marked_gone(dirfd, name, &gone, err) < 0)
        return -1;
    if (ret_damaged)
        *ret_damaged = damaged && !gone;
    return str_copy(h.backing, ret, err);
}

int chain_list(const char *path, const char *origin, struct strv *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    AUTO_STRV struct strv all = {0};
    AUTO_FREE char *next = NULL;
    const char *name;
    if (sidecar_open(path, false, &dirfd, &name, err) < 0 || str_copy(path, &next, err) < 0)
        return -1;
    while (!str_eq(next, origin)) {
        AUTO_FREE char *this = TAKE(next);
        if (!(name = chain_overlay_name(this)) || all.n > CHAIN_MAX)
            return error_set(err, VMUNDO_FAILED, "%s does not rest on %s", path, origin);
        if (strv_add(&all, this, err) < 0 || chain_read_backing(dirfd, name, &next, NULL, err) < 0)
            return -1;
        if (!next)
            return error_set(err, VMUNDO_FAILED, "%s does not say what it rests on: it is damaged", this);
    }
    *ret = all;
    all = (struct strv){0};
    return 0;
}

/* ---- upwards ---------------------------------------------------------------------------------------------------- */

static bool is_overlay(const char *name)
{
    return str_has_suffix(name, ".qcow2") || str_has_suffix(name, ".qcow2" SIDECAR_PART);
}

static bool is_mark(const char *name)
{
    return str_has_suffix(name, ".qcow2" CHAIN_GONE);
}

/* The names of all that belongs to an image begin alike, up to the "@". */
static int list(int dirfd, const char *like, bool (*is)(const char *name), struct strv *ret, struct vmundo_error *err)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const char *at = strrchr(like, '@');
    size_t stem = at ? (size_t)(at - like) + 1 : 0;
    const struct dirent *e;
    int r;
    if (!d)
        return error_errno(err, errno, "cannot list the directory of %s", like);
    while ((r = sys_next_entry(d, &e, err)) > 0)
        if (!strncmp(e->d_name, like, stem) && is(e->d_name) && strv_add(ret, e->d_name, err) < 0)
            return -1;
    return r;
}

int chain_overlays(int dirfd, const char *name, struct strv *ret, struct vmundo_error *err)
{
    return list(dirfd, name, is_overlay, ret, err);
}

int chain_marks(int dirfd, const char *name, struct strv *ret, struct vmundo_error *err)
{
    return list(dirfd, name, is_mark, ret, err);
}

int chain_is_rested_on(int dirfd, const char *name, const char *except, bool *ret, struct vmundo_error *err)
{
    AUTO_STRV struct strv all = {0};
    *ret = false;
    if (chain_overlays(dirfd, name, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all.n && !*ret; i++) {
        AUTO_FREE char *backing = NULL;
        struct vmundo_error local = {0};
        bool damaged = false;
        if (str_eq(all.items[i], except) || str_eq(all.items[i], name))
            continue;
        if (chain_read_backing(dirfd, all.items[i], &backing, &damaged, &local) < 0 && local.errnum != ENOENT)
            return error_set(err, local.code, "%s", local.msg);
        *ret = damaged || str_eq(chain_overlay_name(backing), name);
    }
    return 0;
}

/* ---- removal ---------------------------------------------------------------------------------------------------- */

static int mark_gone(int dirfd, const char *name, struct vmundo_error *err)
{
    AUTO_FREE char *mark = str_printf(err, "%s" CHAIN_GONE, name);
    AUTO_CLOSE int fd = mark ? openat(dirfd, mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600) : -1;
    if (fd < 0 || sys_fsync_dir(dirfd) < 0)
        return mark ? error_errno(err, errno, "cannot write down that %s is removed", name) : -1;
    return 0;
}

int chain_is_marked_gone(int dirfd, const char *name, bool *ret, struct vmundo_error *err)
{
    AUTO_FREE char *mark = str_printf(err, "%s" CHAIN_GONE, name);
    if (!mark)
        return -1;
    *ret = faccessat(dirfd, mark, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    return *ret || errno == ENOENT ? 0 : error_errno(err, errno, "cannot look for %s", mark);
}

/* name and those below it that only it keeps. */
static int find_doomed(int dirfd, const char *name, struct strv *ret, struct vmundo_error *err)
{
    AUTO_FREE char *this = NULL;
    if (str_copy(name, &this, err) < 0)
        return -1;
    while (this) {
        AUTO_FREE char *backing = NULL;
        struct vmundo_error local = {0};
        bool others = false, gone = false;
        if (strv_add(ret, this, err) < 0)
            return -1;
        if (chain_read_backing(dirfd, this, &backing, NULL, &local) < 0 && local.errnum != ENOENT)
            return error_set(err, local.code, "%s", local.msg);
        const char *below = chain_overlay_name(backing);
        if (below && chain_is_marked_gone(dirfd, below, &gone, err) < 0)
            return -1;
        if (!gone)
            return 0;
        if (chain_is_rested_on(dirfd, below, this, &others, err) < 0)
            return -1;
        free(this);
        this = NULL;
        if (!others && str_copy(below, &this, err) < 0)
            return -1;
    }
    return 0;
}

/* The file before its mark: while one of them is there, it is known what is to be done. */
int chain_unlink(int dirfd, const char *name, struct vmundo_error *err)
{
    static const char *const suffixes[] = {SIDECAR_PART, "", CHAIN_GONE};
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        AUTO_FREE char *file = str_printf(err, "%s%s", name, suffixes[i]);
        if (!file)
            return -1;
        if (unlinkat(dirfd, file, 0) < 0 && errno != ENOENT)
            return error_errno(err, errno, "cannot remove %s", file);
    }
    return 0;
}

/* The lowest first: it can only be found through those above. */
static int remove_chain(int dirfd, const char *name, struct vmundo_error *err)
{
    AUTO_STRV struct strv doomed = {0};
    if (find_doomed(dirfd, name, &doomed, err) < 0)
        return -1;
    for (size_t i = doomed.n; i > 0; i--)
        if (chain_unlink(dirfd, doomed.items[i - 1], err) < 0)
            return -1;
    return sys_fsync_dir(dirfd) < 0 ? error_errno(err, errno, "cannot make the removal of %s durable", name) : 0;
}

int chain_remove(const struct branch *b, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    const char *name;
    bool others = false;
    struct vmundo_error local = {0};
    if (sidecar_open(b->path, false, &dirfd, &name, &local) < 0)
        return local.errnum == ENOENT ? 0 : error_set(err, local.code, "%s", local.msg);
    /* A domain and its forks, each with a lock of its own, have overlays here that rest on one another. */
    if (TEMP_FAILURE_RETRY(flock(dirfd, LOCK_EX)) < 0)
        return error_errno(err, errno, "cannot lock the directory of %s", b->path);
    if (chain_is_rested_on(dirfd, name, NULL, &others, err) < 0)
        return -1;
    /* Also what is only marked may let others go: see ret_damaged. */
    if ((others ? mark_gone(dirfd, name, err) : remove_chain(dirfd, name, err)) < 0 ||
        chain_sweep(dirfd, name, err) < 0)
        return -1;
    return sidecar_tidy(b->path, err);
}
