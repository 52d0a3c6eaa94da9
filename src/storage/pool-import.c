/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pool-import.c: an image file comes into a pool. The copy gets its name there when it is whole and durable. Only then,
 * if it is to be moved, a symbolic link takes the image's place in one step, so that configurations need not be
 * changed: at any moment the image's path leads to all of it.
 */
#include "storage/attributes.h"
#include "storage/image.h"
#include "storage/pool.h"
#include "storage/sidecar.h"
#include "util/sys.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>

#define PIECE ((size_t)16 << 20)

/* ---- may it be? -----------------------------------------------------------------------------------------------------
 */

/* Its format is nobody's to guess, but what would surely not work from another place is refused. */
static int check_backing(int fd, const char *image, struct vmundo_error *err)
{
    CLEANUP(image_header_clear) struct image_header h = {0};
    if (image_read_header(fd, "qcow2", &h, NULL) < 0)
        return 0;
    if (h.external_data || (h.has_backing && (!h.backing || h.backing[0] != '/')))
        return error_set(
            err, VMUNDO_REFUSED,
            "%s leads to another file by a relative name, or has its data in one, and would not find it from "
            "the pool: import that one, and 'qemu-img rebase' this one to it by an absolute path",
            image);
    return 0;
}

static int check_room(int dirfd, const struct stat *st, const char *dir, struct vmundo_error *err)
{
    struct statvfs s;
    uint64_t need = (uint64_t)st->st_blocks * 512;
    char a[32], b[32];
    if (fstatvfs(dirfd, &s) < 0)
        return error_errno(err, errno, "%s", dir);
    uint64_t have = (uint64_t)s.f_bavail * s.f_frsize;
    return have > need ? 0
                       : error_set(err, VMUNDO_REFUSED,
                                   "the image has %s of data, and there are %s free at %s: 'vmundo pool grow' first",
                                   pool_size_text(need, a), pool_size_text(have, b), dir);
}

/* A move would leave other names of the image behind, or fail at a mount point. */
static int check_single(const struct stat *st, const char *image, struct vmundo_error *err)
{
    return st->st_nlink == 1 ? 0
                             : error_set(err, VMUNDO_REFUSED,
                                         "%s has %lu names (hard links), of which only one could lead to the "
                                         "pool: import it without --move",
                                         image, (unsigned long)st->st_nlink);
}

/* ---- copying --------------------------------------------------------------------------------------------------------
 */

static int copy_part(int from, int to, off_t at, off_t end, off_t size, const struct progress *p,
                     struct vmundo_error *err)
{
    if (lseek(to, at, SEEK_SET) < 0)
        return error_errno(err, errno, "cannot copy");
    while (at < end) { /* sendfile moves at, and works between file systems */
        size_t want = end - at < (off_t)PIECE ? (size_t)(end - at) : PIECE;
        ssize_t n = TEMP_FAILURE_RETRY(sendfile(to, from, &at, want));
        if (n <= 0)
            return error_errno(err, n < 0 ? errno : EIO, "cannot copy");
        progress_tell(p, (uint64_t)at, (uint64_t)size);
    }
    return 0;
}

/* Holes stay holes. */
static int copy(int from, int to, off_t size, const struct progress *p, struct vmundo_error *err)
{
    off_t end;
    if (ftruncate(to, size) < 0)
        return error_errno(err, errno, "cannot make it %lld bytes long", (long long)size);
    if (sys_ficlone(to, from) == 0)
        return 0;
    for (off_t at = 0; at < size; at = end) {
        at = lseek(from, at, SEEK_DATA);
        if (at < 0 && errno == ENXIO)
            return 0;
        end = at < 0 ? -1 : lseek(from, at, SEEK_HOLE);
        if (end < 0)
            return error_errno(err, errno, "cannot find the image's data");
        if (copy_part(from, to, at, end, size, p, err) < 0)
            return -1;
    }
    return 0;
}

static int fill(const struct sidecar_file *image, int part, const struct progress *p, struct vmundo_error *err)
{
    struct stat st;
    if (fstat(image->fd, &st) < 0)
        return error_errno(err, errno, "%s", image->base);
    if (copy(image->fd, part, st.st_size, p, err) < 0)
        return -1;
    if (!attributes_copy_abroad(image->fd, part))
        return error_errno(err, errno, "cannot give it the image's owner, mode and attributes");
    return fsync(part) < 0 ? error_errno(err, errno, "cannot make it durable") : 0;
}

/* ---- the link in its place ------------------------------------------------------------------------------------------
 */

static int put_link(const struct sidecar_file *image, const char *target, struct vmundo_error *err)
{
    AUTO_FREE char *part = str_printf(err, ".%s.vmundo-link", image->base);
    struct stat is, was;
    if (!part)
        return -1;
    if ((unlinkat(image->dirfd, part, 0) < 0 && errno != ENOENT) || symlinkat(target, image->dirfd, part) < 0)
        return error_errno(err, errno, "cannot make a link in place of %s", image->base);
    /* Not one that somebody has put there meanwhile. */
    bool same = fstatat(image->dirfd, image->base, &is, AT_SYMLINK_NOFOLLOW) == 0 && fstat(image->fd, &was) == 0 &&
                is.st_ino == was.st_ino && is.st_dev == was.st_dev;
    if (same && renameat(image->dirfd, part, image->dirfd, image->base) == 0 && sys_fsync_dir(image->dirfd) == 0)
        return 0;
    int e = errno;
    unlinkat(image->dirfd, part, 0);
    return same ? error_errno(err, e, "cannot put a link in place of %s", image->base)
                : error_set(err, VMUNDO_CONFLICT, "somebody replaced %s in this moment", image->base);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------
 */

static int import(const struct sidecar_file *image, int dirfd, const char *name, const struct progress *p,
                  struct vmundo_error *err)
{
    AUTO_FREE char *part = str_printf(err, ".%s.vmundo-part", name), *then = NULL;
    struct vmundo_error e = {0};
    bool changed = false;
    AUTO_FREE char *what = NULL;
    if (!part || fingerprint_take_fd(image->fd, &then, err) < 0)
        return -1;
    if (unlinkat(dirfd, part, 0) < 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove %s, left by an import that was cut off", part);
    AUTO_CLOSE int fd = openat(dirfd, part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot create %s", part);
    if (fill(image, fd, p, &e) == 0 && fingerprint_compare_fd(image->fd, then, &changed, &what, &e) == 0 && !changed) {
        if (sys_renameat2(dirfd, part, dirfd, name, RENAME_NOREPLACE) == 0 && sys_fsync_dir(dirfd) == 0)
            return 0;
        error_errno(&e, errno, "cannot name it %s", name);
    }
    unlinkat(dirfd, part, 0);
    return changed ? error_set(err, VMUNDO_CONFLICT, "%s was changed while it was copied (%s)", image->base,
                               what ? what : "")
                   : error_set(err, e.code, "%s", e.msg);
}

int pool_import(const char *image, const char *dir, const char *name, bool move, const struct progress *p,
                const struct steps *s, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file from = SIDECAR_FILE_INIT;
    AUTO_CLOSE int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_FREE char *target = str_printf(err, "%s/%s", dir, name);
    struct stat st, there;
    char text[32];
    if (!target)
        return -1;
    if (dirfd < 0)
        return error_errno(err, errno, "cannot open %s", dir);
    if (sidecar_open_origin(image, O_RDONLY, &from, err) < 0)
        return -1;
    if (fstat(from.fd, &st) < 0 || !S_ISREG(st.st_mode))
        return error_set(err, VMUNDO_USAGE, "%s is no image file", image);
    if (fstatat(dirfd, name, &there, AT_SYMLINK_NOFOLLOW) == 0)
        return error_set(err, VMUNDO_CONFLICT, "there is a file %s already: choose another with --name", target);
    if (check_backing(from.fd, image, err) < 0 || check_room(dirfd, &st, dir, err) < 0 ||
        (move && check_single(&st, image, err) < 0))
        return -1;
    if (steps_take(s, "copy %s (%s) to %s", image, pool_size_text((uint64_t)st.st_size, text), target) &&
        import(&from, dirfd, name, p, err) < 0)
        return error_wrap(err, "%s", target);
    return move && steps_take(s, "put a symbolic link to it in place of %s", image) ? put_link(&from, target, err) : 0;
}
