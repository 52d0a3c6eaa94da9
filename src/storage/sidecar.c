/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sidecar.c: branches that are files, in a directory .vmundo beside the image.
 *
 * They lie beside the image because they must be in the same file system to share its blocks and to change places with
 * it, and because there is as much room as where the user put the image. The directory belongs to us and is closed to
 * everybody else, so that nobody can put a link where root is about to create a file: one that is somebody else's, open
 * to others, or a link is refused. Everything in it is reached through its descriptor.
 */
#include "storage/sidecar.h"

#include "storage/block.h"
#include "util/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#define METADATA_ROOM ((uint64_t)1 << 20)

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* The image's name, or when that and the rest exceed what a file system takes, its start and a hash of the whole. */
static char *short_base(const char *base, size_t room, struct vmundo_error *err)
{
    uint64_t h = 0xcbf29ce484222325u;
    if (strlen(base) <= room)
        return str_printf(err, "%s", base);
    for (const char *p = base; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    return str_printf(err, "%.*s~%016" PRIx64, (int)(room - 17), base, h);
}

char *sidecar_path(const char *origin, const struct mark *m, const char *suffix, struct vmundo_error *err)
{
    const char *slash = strrchr(origin, '/');
    if (origin[0] != '/' || !slash[1] || strchr(m->domain, '/') || strchr(m->store, '/')) {
        error_set(err, VMUNDO_FAILED, "no name for a branch of %s for domain %s", origin, m->domain);
        return NULL;
    }
    AUTO_FREE char *tail = str_printf(err, "@%s.%s.%" PRIu64 "%s", m->domain, m->store, m->generation, suffix);
    if (!tail)
        return NULL;
    size_t used = strlen(tail) + strlen(SIDECAR_PART);
    if (used + 32 > NAME_MAX) {
        error_set(err, VMUNDO_FAILED, "the name of domain %s is too long for the name of a branch", m->domain);
        return NULL;
    }
    AUTO_FREE char *base = short_base(slash + 1, NAME_MAX - used, err);
    return base ? str_printf(err, "%.*s/" SIDECAR_DIR "/%s%s", (int)(slash - origin), origin, base, tail) : NULL;
}

/* ---- the directory ---------------------------------------------------------------------------------------------- */

/* Whose it is comes before whether we can open it: that is what the user must know. */
static int open_dir(int parent, const char *name, int *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int open_errno = errno;
    struct stat st;
    if ((fd < 0 ? fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) : fstat(fd, &st)) < 0)
        return error_errno(err, errno, "cannot look at %s", name);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, VMUNDO_FAILED, "%s is not a directory: branches must be in one of our own", name);
    if (st.st_uid != geteuid())
        return error_set(err, VMUNDO_FAILED, "directory %s belongs to user %u, not to us (user %u)", name, st.st_uid,
                         geteuid());
    if (st.st_mode & 077)
        return error_set(err, VMUNDO_FAILED, "directory %s has mode %04o: make it 0700 and try again", name,
                         st.st_mode & 07777);
    if (fd < 0)
        return error_errno(err, open_errno, "cannot open directory %s", name);
    *ret = TAKE_FD(fd);
    return 0;
}

static int make_dir(int parent, const char *name, int *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    bool made = mkdirat(parent, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return error_errno(err, errno, "cannot create directory %s", name);
    if (open_dir(parent, name, &fd, err) < 0)
        return -1;
    if (made && sys_fsync_dir(parent) < 0)
        return error_errno(err, errno, "cannot make directory %s durable", name);
    *ret = TAKE_FD(fd);
    return 0;
}

/* The part of a branch's path that names the directory, the caller's. *ret_base is the rest. */
static char *dir_of(const char *branch_path, const char **ret_base, struct vmundo_error *err)
{
    const char *slash = strrchr(branch_path, '/');
    char *dir = slash ? strndup(branch_path, (size_t)(slash - branch_path)) : NULL;
    if (slash && !dir) {
        error_nomem(err);
        return NULL;
    }
    if (!dir || !str_has_suffix(dir, "/" SIDECAR_DIR) || !slash[1]) {
        free(dir);
        error_set(err, VMUNDO_FAILED, "%s is not the path of a branch", branch_path);
        return NULL;
    }
    *ret_base = slash + 1;
    return dir;
}

int sidecar_open(const char *branch_path, bool create, int *ret_dirfd, const char **ret_base, struct vmundo_error *err)
{
    AUTO_CLOSE int parent = -1;
    AUTO_CLOSE int fd = -1;
    const char *base = NULL, *name;
    AUTO_FREE char *dir = dir_of(branch_path, &base, err);
    if (!dir || sys_open_parent(dir, &parent, &name, err) < 0)
        return -1;
    if ((create ? make_dir(parent, name, &fd, err) : open_dir(parent, name, &fd, err)) < 0)
        return error_wrap(err, "%.*s", (int)(strlen(dir) - strlen("/" SIDECAR_DIR)), dir);
    *ret_dirfd = TAKE_FD(fd);
    *ret_base = base;
    return 0;
}

int sidecar_tidy(const char *branch_path, struct vmundo_error *err)
{
    AUTO_CLOSE int parent = -1;
    const char *base, *name;
    AUTO_FREE char *dir = dir_of(branch_path, &base, err);
    if (!dir || sys_open_parent(dir, &parent, &name, err) < 0)
        return -1;
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
        return errno == ENOTEMPTY || errno == EEXIST || errno == ENOENT ? 0
                                                                        : error_errno(err, errno, "cannot remove %s", dir);
    (void)sys_fsync_dir(parent);
    return 0;
}

/* ---- opening files ---------------------------------------------------------------------------------------------- */

void sidecar_file_close(struct sidecar_file *f)
{
    cleanup_close(&f->fd);
    cleanup_close(&f->dirfd);
    f->fd = f->dirfd = -1;
}

/* O_NONBLOCK: neither a FIFO nor a lease may make us wait. */
static int open_file(struct sidecar_file *f, int flags, struct stat *st)
{
    f->fd = openat(f->dirfd, f->base, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    return f->fd < 0 ? -1 : fstat(f->fd, st);
}

int sidecar_open_branch(const char *path, int flags, struct sidecar_file *ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    struct stat st;
    if (sidecar_open(path, false, &f.dirfd, &f.base, err) < 0)
        return -1;
    if (open_file(&f, flags, &st) < 0)
        return error_errno(err, errno, "cannot open the branch %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, VMUNDO_FAILED, "the branch %s is not a regular file", path);
    *ret = f;
    f = (struct sidecar_file)SIDECAR_FILE_INIT;
    return 0;
}

int sidecar_open_origin(const char *path, int flags, struct sidecar_file *ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    struct stat st;
    if (sys_open_parent(path, &f.dirfd, &f.base, err) < 0)
        return -1;
    int r = open_file(&f, flags, &st);
    bool by_link = r < 0 && errno == ELOOP;
    if (by_link) {
        f.fd = sys_openat2(f.dirfd, f.base, flags | O_NONBLOCK | O_NOCTTY, 0, 0);
        r = f.fd < 0 ? -1 : fstat(f.fd, &st);
    }
    if (r < 0)
        return error_errno(err, errno, "cannot open %s", path);
    if (!S_ISBLK(st.st_mode) && (by_link || !S_ISREG(st.st_mode)))
        return error_set(err, VMUNDO_FAILED, "%s is no longer a file or a block device", path);
    *ret = f;
    f = (struct sidecar_file)SIDECAR_FILE_INIT;
    return 0;
}

/* ---- marks ------------------------------------------------------------------------------------------------------ */

/* All that it takes to know the branch again without the database. Not every file system has room for it. */
static int write_mark(int fd, const struct branch *b, const struct mark *m, bool must, struct vmundo_error *err)
{
    AUTO_JSON json_t *j =
        json_pack("{ss ss sI ss ss ss* ss* ss ss*}", "store", m->store, "domain", m->domain, "generation",
                  (json_int_t)m->generation, "driver", b->driver->name, "origin", b->origin, "origin_format",
                  b->origin_format, "format", b->format, "fingerprint", b->fingerprint, "consistency", b->consistency);
    AUTO_FREE char *text = j ? json_text(j, err) : NULL;
    if (!text)
        return error_set(err, VMUNDO_FAILED, "cannot write down whose branch it is: %s is not UTF-8", b->origin);
    if (fsetxattr(fd, SIDECAR_XATTR, text, strlen(text), 0) == 0)
        return 0;
    bool no_room = errno == EOPNOTSUPP || errno == ENOSPC || errno == E2BIG || errno == ERANGE;
    return no_room && !must ? 0 : error_errno(err, errno, "cannot set " SIDECAR_XATTR " on %s", b->path);
}

/* *ret_fingerprint stays NULL if there is no mark. Somebody else's is an error. */
static int read_mark(int fd, const struct mark *m, char **ret_fingerprint, struct vmundo_error *err)
{
    char text[XATTR_SIZE_MAX + 1];
    ssize_t n = fgetxattr(fd, SIDECAR_XATTR, text, sizeof(text) - 1);
    if (n < 0)
        return errno == ENODATA || errno == EOPNOTSUPP ? 0 : error_errno(err, errno, "cannot read " SIDECAR_XATTR);
    text[n] = '\0';
    AUTO_JSON json_t *j = NULL;
    AUTO_FREE char *store = NULL;
    AUTO_FREE char *domain = NULL;
    uint64_t generation;
    if (json_parse(text, SIDECAR_XATTR, &j, err) < 0 || json_get_string(j, "store", &store, err) < 0 ||
        json_get_string(j, "domain", &domain, err) < 0 || json_get_u64(j, "generation", &generation, err) < 0)
        return -1;
    if (!str_eq(store, m->store) || !str_eq(domain, m->domain) || generation != m->generation)
        return error_set(err, VMUNDO_CONFLICT, "it bears the mark of domain %s, store %s", domain, store);
    return json_get_string(j, "fingerprint", ret_fingerprint, err);
}

/* ---- creating --------------------------------------------------------------------------------------------------- */

static int note_inode(struct branch *b, ino_t ino, struct vmundo_error *err)
{
    if (!b->detail)
        b->detail = json_object();
    if (!b->detail || json_object_set_new(b->detail, "inode", json_integer((json_int_t)ino)) < 0)
        return error_nomem(err);
    return 0;
}

/* What a mark says, or, where marks cannot be, what the caller has recorded: then it is complete. Only with neither the
 * file does not serve, and is made anew. A file that is shorter than the origin was is none either: btrfs may bring
 * back a new file's attributes without its content, when another file's flush took them along. */
static int find_complete(struct branch *b, const struct mark *m, bool by_mark, bool *ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    struct vmundo_error local = {0};
    struct stat st;
    if (sidecar_open_branch(b->path, O_RDONLY, &f, &local) < 0) {
        *ret = false;
        return local.errnum == ENOENT ? 0 : error_set(err, local.code, "%s", local.msg);
    }
    if (fstat(f.fd, &st) < 0)
        return error_errno(err, errno, "%s", b->path);
    AUTO_FREE char *then = NULL;
    if (read_mark(f.fd, m, &then, err) < 0)
        return error_wrap(err, "%s", b->path);
    const char *size = then && by_mark ? strstr(then, " size=") : NULL;
    *ret = then ? !size || (uint64_t)st.st_size >= strtoull(size + 6, NULL, 10) : !by_mark && b->fingerprint;
    if (!*ret)
        return 0;
    if (then) {
        free(b->fingerprint);
        b->fingerprint = TAKE(then);
    }
    return note_inode(b, st.st_ino, err);
}

/* A new file. What a crash left of it goes first. Another command may be removing the directory because it is empty in
 * the very moment in which we open it: then once more. */
static int open_new(const char *branch_path, const char *name, struct sidecar_file *ret, struct vmundo_error *err)
{
    struct vmundo_error local = {0};
    for (int attempt = 0; attempt < 16; attempt++) {
        AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
        struct stat st;
        local = (struct vmundo_error){0};
        if (sidecar_open(branch_path, true, &f.dirfd, &f.base, &local) == 0) {
            f.base = name;
            if (unlinkat(f.dirfd, f.base, 0) < 0 && errno != ENOENT) {
                error_errno(&local, errno, "cannot remove the old %s", branch_path);
            } else if (open_file(&f, O_RDWR | O_CREAT | O_EXCL, &st) == 0) {
                *ret = f;
                f = (struct sidecar_file)SIDECAR_FILE_INIT;
                return 0;
            } else {
                error_errno(&local, errno, "cannot create %s", branch_path);
            }
        }
        if (local.errnum != ENOENT)
            break;
    }
    if (err)
        *err = local;
    return -1;
}

static int check_unchanged(const struct branch *b, int origin, struct vmundo_error *err)
{
    bool changed;
    AUTO_FREE char *what = NULL;
    if (b->base || str_eq(b->consistency, "crash"))
        return 0;
    if (fingerprint_compare_fd(origin, b->fingerprint, &changed, &what, err) < 0)
        return -1;
    if (changed)
        return error_set(err, VMUNDO_CONFLICT, "%s was changed in this moment (%s): somebody writes to it", b->origin,
                         what);
    return 0;
}

/* What root makes of a user's image belongs to that user, as if they had copied it. */
static int give_owner(int fd, int origin, struct vmundo_error *err)
{
    struct stat st, own;
    if (fstat(origin, &st) < 0 || fstat(fd, &own) < 0)
        return error_errno(err, errno, "cannot look at the owner");
    if (geteuid() != 0 || !S_ISREG(st.st_mode) || (st.st_uid == own.st_uid && st.st_gid == own.st_gid))
        return 0;
    return fchown(fd, st.st_uid, st.st_gid) < 0 ? error_errno(err, errno, "cannot give it to user %u", st.st_uid) : 0;
}

/* Two flushes, and no fewer: the file must be whole before it has its name, and the name must last. */
static int publish(const struct branch *b, const struct sidecar_file *new, struct vmundo_error *err)
{
    const char *name = strrchr(b->path, '/') + 1;
    if (fsync(new->fd) < 0 || (!str_eq(new->base, name) && renameat(new->dirfd, new->base, new->dirfd, name) < 0) ||
        sys_fsync_dir(new->dirfd) < 0)
        return error_errno(err, errno, "cannot make %s durable", b->path);
    return 0;
}

/* How a branch comes to be whole. */
enum durability { BY_NAME, BY_MARK, BY_MARK_LATER };

static int make(struct branch *b, const struct mark *m, int from, sidecar_fill_fn fill, enum durability how,
                struct vmundo_error *err)
{
    bool by_mark = how != BY_NAME;
    AUTO_SIDECAR_FILE struct sidecar_file new = SIDECAR_FILE_INIT;
    AUTO_FREE char *name = str_printf(err, "%s%s", strrchr(b->path, '/') + 1, by_mark ? "" : SIDECAR_PART);
    struct stat st;
    if (!name || open_new(b->path, name, &new, err) < 0)
        return -1;
    const struct sidecar_fill f = {b, from, new.dirfd, name, new.fd};
    if (fstat(new.fd, &st) == 0 && note_inode(b, st.st_ino, err) == 0 && fill(&f, err) == 0 &&
        check_unchanged(b, from, err) == 0 && give_owner(new.fd, from, err) == 0 &&
        write_mark(new.fd, b, m, by_mark, err) == 0 && (how == BY_MARK_LATER || publish(b, &new, err) == 0))
        return 0;
    unlinkat(new.dirfd, name, 0);
    (void)sidecar_tidy(b->path, NULL);
    return -1;
}

static int create(struct branch *b, const struct mark *m, sidecar_fill_fn fill, enum durability how,
                  struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file from = SIDECAR_FILE_INIT;
    AUTO_FREE char *print = NULL;
    bool complete;
    if (find_complete(b, m, how != BY_NAME, &complete, err) < 0)
        return -1;
    if (complete)
        return 0;
    if (b->base)
        return sidecar_open_branch(b->base, O_RDONLY, &from, err) < 0 ? -1 : make(b, m, from.fd, fill, how, err);
    if (sidecar_open_origin(b->origin, O_RDONLY, &from, err) < 0 || fingerprint_take_fd(from.fd, &print, err) < 0)
        return -1;
    free(b->fingerprint);
    b->fingerprint = TAKE(print);
    return make(b, m, from.fd, fill, how, err);
}

int sidecar_refill(struct branch *b, const struct mark *m, sidecar_fill_fn fill, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file from = SIDECAR_FILE_INIT, to = SIDECAR_FILE_INIT;
    struct stat st, base;
    if (sidecar_open_branch(b->base, O_RDONLY, &from, err) < 0 || sidecar_open_branch(b->path, O_RDWR, &to, err) < 0)
        return -1;
    if (fstat(to.fd, &st) < 0 || fstat(from.fd, &base) < 0)
        return error_errno(err, errno, "%s", b->path);
    if (st.st_size != base.st_size)
        return error_set(err, VMUNDO_CONFLICT, "%s has %lld bytes, and %s has %lld", b->path, (long long)st.st_size,
                         b->base, (long long)base.st_size);
    const struct sidecar_fill f = {b, from.fd, to.dirfd, to.base, to.fd};
    if (note_inode(b, st.st_ino, err) < 0 || fill(&f, err) < 0 || write_mark(to.fd, b, m, true, err) < 0)
        return -1;
    return fsync(to.fd) < 0 ? error_errno(err, errno, "cannot make %s durable", b->path) : 0;
}

int sidecar_recall(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    bool complete;
    if (find_complete(b, m, true, &complete, err) < 0)
        return -1;
    return complete ? 0 : error_set(err, VMUNDO_CONFLICT, "it is not there, or not whole");
}

int sidecar_create(struct branch *b, const struct mark *m, sidecar_fill_fn fill, bool by_mark, struct vmundo_error *err)
{
    return create(b, m, fill, by_mark ? BY_MARK : BY_NAME, err);
}

int sidecar_create_unsettled(struct branch *b, const struct mark *m, sidecar_fill_fn fill, struct vmundo_error *err)
{
    return create(b, m, fill, BY_MARK_LATER, err);
}

static int settle(const char *path, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    if (sidecar_open_branch(path, O_RDONLY, &f, err) < 0)
        return -1;
    return fsync(f.fd) < 0 || sys_fsync_dir(f.dirfd) < 0 ? error_errno(err, errno, "cannot flush %s", path) : 0;
}

int sidecar_settle(const struct branch *b, struct vmundo_error *err)
{
    return settle(b->path, err);
}

/* ---- RAM ------------------------------------------------------------------------------------------------------------
 */

static int fill_ram(int fd, const char *from, uint64_t size, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file source = SIDECAR_FILE_INIT;
    struct stat st;
    if (!from)
        return ftruncate(fd, (off_t)size) < 0 ? error_errno(err, errno, "cannot size it") : 0;
    if (sidecar_open_branch(from, O_RDONLY, &source, err) < 0)
        return -1;
    if (fstat(source.fd, &st) < 0 || (size && (uint64_t)st.st_size != size))
        return error_set(err, VMUNDO_CONFLICT, "the saved RAM has %lld bytes, the domain now has %llu",
                         (long long)st.st_size, (unsigned long long)size);
    return sys_ficlone(fd, source.fd) < 0 ? error_errno(err, errno, "cannot clone %s", from) : 0;
}

static char *ram_mark(const struct mark *m, struct vmundo_error *err)
{
    return str_printf(err, "{\"store\":\"%s\",\"domain\":\"%s\",\"generation\":%" PRIu64 "}", m->store, m->domain,
                      m->generation);
}

int storage_ram_make(const char *path, const char *from, uint64_t size, const struct mark *m, bool durable,
                     struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    AUTO_FREE char *text = ram_mark(m, err);
    if (!text || open_new(path, strrchr(path, '/') + 1, &f, err) < 0)
        return -1;
    if (fill_ram(f.fd, from, size, err) == 0 && (fsetxattr(f.fd, SIDECAR_XATTR, text, strlen(text), 0) < 0 ||
                                                         (durable && (fsync(f.fd) < 0 || sys_fsync_dir(f.dirfd) < 0))
                                                     ? error_errno(err, errno, "cannot make it durable")
                                                     : 0) == 0)
        return 0;
    unlinkat(f.dirfd, f.base, 0);
    return error_wrap(err, "%s", path);
}

static int link_ram(const char *path, const char *with, struct vmundo_error *err)
{
    AUTO_CLOSE int to = -1;
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    const char *base = NULL;
    if (sidecar_open(path, true, &to, &base, err) < 0 || sidecar_open_branch(with, O_RDONLY, &f, err) < 0)
        return -1;
    if (unlinkat(to, base, 0) < 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove the old %s", path);
    if (linkat(f.dirfd, f.base, to, base, 0) < 0)
        return error_errno(err, errno, "cannot share the RAM in %s", with);
    return sys_fsync_dir(to) < 0 ? error_errno(err, errno, "cannot make %s durable", path) : 0;
}

int storage_ram_share(const char *path, const char *with, struct vmundo_error *err)
{
    struct vmundo_error local = {0};
    for (int attempt = 0; attempt < 16; attempt++) { /* as in open_new() */
        local = (struct vmundo_error){0};
        if (link_ram(path, with, &local) == 0)
            return 0;
        if (local.errnum != ENOENT)
            break;
    }
    if (err)
        *err = local;
    return -1;
}

int storage_ram_refill(const char *path, const char *from, const struct mark *m, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    AUTO_FREE char *text = ram_mark(m, err);
    struct stat st;
    if (!text || sidecar_open_branch(path, O_RDWR, &f, err) < 0)
        return -1;
    if (fstat(f.fd, &st) < 0)
        return error_errno(err, errno, "%s", path);
    if (fill_ram(f.fd, from, (uint64_t)st.st_size, err) < 0)
        return error_wrap(err, "%s", path);
    return fsetxattr(f.fd, SIDECAR_XATTR, text, strlen(text), 0) < 0 ? error_errno(err, errno, "cannot mark %s", path)
                                                                     : 0;
}

int storage_ram_check(const char *path, const struct mark *m, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    AUTO_FREE char *want = ram_mark(m, err);
    char text[512];
    if (!want || sidecar_open_branch(path, O_RDONLY, &f, err) < 0)
        return -1;
    ssize_t n = fgetxattr(f.fd, SIDECAR_XATTR, text, sizeof(text));
    if (n == (ssize_t)strlen(want) && memcmp(text, want, (size_t)n) == 0)
        return 0;
    return error_set(err, VMUNDO_CONFLICT, "the RAM in %s does not belong to this state of the disks", path);
}

int storage_ram_settle(const char *path, struct vmundo_error *err)
{
    return settle(path, err);
}

int storage_ram_remove(const char *path, struct vmundo_error *err)
{
    struct branch b = {.path = (char *)(uintptr_t)path};
    return sidecar_remove(&b, err);
}

/* ---- the other callbacks ---------------------------------------------------------------------------------------- */

static int unlink_both(int dirfd, const char *base, struct vmundo_error *err)
{
    AUTO_FREE char *part = str_printf(err, "%s" SIDECAR_PART, base);
    if (!part)
        return -1;
    if ((unlinkat(dirfd, base, 0) < 0 && errno != ENOENT) || (unlinkat(dirfd, part, 0) < 0 && errno != ENOENT))
        return error_errno(err, errno, "cannot remove %s", base);
    return sys_fsync_dir(dirfd) < 0 ? error_errno(err, errno, "cannot make the removal of %s durable", base) : 0;
}

int sidecar_remove(const struct branch *b, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    const char *base;
    struct vmundo_error local = {0};
    if (sidecar_open(b->path, false, &dirfd, &base, &local) < 0)
        return local.errnum == ENOENT ? 0 : error_set(err, local.code, "%s", local.msg);
    return unlink_both(dirfd, base, err) < 0 ? -1 : sidecar_tidy(b->path, err);
}

int sidecar_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    struct vmundo_error local = {0};
    struct stat st;
    struct branch_status s = {0};
    if (sidecar_open_branch(b->path, O_RDONLY, &f, &local) < 0) {
        if (local.errnum != ENOENT)
            return error_set(err, local.code, "%s", local.msg);
        if (str_copy("invalid: the branch is gone", &s.health, err) < 0)
            return -1;
    } else {
        if (fstat(f.fd, &st) < 0)
            return error_errno(err, errno, "%s", b->path);
        if (str_copy("ok", &s.health, err) < 0)
            return -1;
        s.exists = true;
        s.used = (uint64_t)st.st_blocks * 512;
    }
    *ret = s;
    return 0;
}

int sidecar_changed(const struct branch *b, bool *ret, char **ret_what, struct vmundo_error *err)
{
    return fingerprint_compare(b->origin, b->fingerprint, ret, ret_what, err);
}

/* With so many bytes more than there are. */
static int check_room(const struct branch *b, uint64_t more, struct vmundo_error *err)
{
    AUTO_CLOSE int parent = -1;
    AUTO_CLOSE int fd = -1;
    const char *base, *name;
    struct statvfs v;
    AUTO_FREE char *dir = dir_of(b->path, &base, err);
    if (!dir || sys_open_parent(dir, &parent, &name, err) < 0)
        return -1;
    *strrchr(dir, '/') = '\0';
    struct vmundo_error local = {0};
    if (open_dir(parent, name, &fd, &local) < 0 && local.errnum != ENOENT)
        return error_set(err, local.errnum ? VMUNDO_FAILED : VMUNDO_REFUSED, "%s: %s", dir, local.msg);
    if (fstatvfs(parent, &v) < 0)
        return error_errno(err, errno, "%s", dir);
    if (v.f_flag & ST_RDONLY)
        return error_set(err, VMUNDO_REFUSED, "%s is in a read-only file system: no branch can be made there", dir);
    if (fd < 0 && faccessat(parent, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return error_set(err, VMUNDO_REFUSED, "no permission to make the directory " SIDECAR_DIR " in %s", dir);
    /* What is kept back for root is not counted: part of it nobody gets (ext4), and the hypervisor is not root. */
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    if (room + more < METADATA_ROOM)
        return error_set(err, VMUNDO_REFUSED,
                         "%s has %" PRIu64 " KiB free: a branch needs %" PRIu64 " KiB to begin with", dir, room >> 10,
                         METADATA_ROOM >> 10);
    return 0;
}

int sidecar_preflight(const struct branch *b, struct vmundo_error *err)
{
    return check_room(b, 0, err);
}

int sidecar_preflight_replacing(const struct branch *b, const struct branch *gone, struct vmundo_error *err)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    if (gone->driver->inspect(gone, &s, err) < 0)
        return -1;
    return check_room(b, s.exists ? s.used : 0, err);
}

/* ---- keep_check ------------------------------------------------------------------------------------------------- */

static int check_writable(const struct stack *s, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    int flags = 0;
    if (s->kind == STACK_FILE && s->fs_readonly)
        return error_set(err, VMUNDO_REFUSED, "%s is in a read-only file system", s->path);
    if (sidecar_open_origin(s->path, O_RDONLY, &f, err) < 0)
        return -1;
    if (s->kind == STACK_FILE && ioctl(f.fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))
        return error_set(err, VMUNDO_REFUSED, "%s is %s: take that away first (chattr -%c)", s->path,
                         flags & FS_IMMUTABLE_FL ? "immutable" : "append-only", flags & FS_IMMUTABLE_FL ? 'i' : 'a');
    /* Asked, not tried: opening a device for writing and closing it sets udev to work on it. */
    if (faccessat(f.dirfd, f.base, W_OK, AT_EACCESS) < 0)
        return error_set(err, VMUNDO_REFUSED, "no permission to write %s: %s", s->path, strerror(errno));
    if (s->kind == STACK_BLOCK && block_attr_u64(s->dev, "ro", 0) != 0)
        return error_set(err, VMUNDO_REFUSED, "%s is read-only", s->path);
    return 0;
}

/* DOMAIN.STORE.GENERATION.qcow2: how long is DOMAIN, which may have dots in it? */
static int domain_length(const char *tail)
{
    const char *end = tail + strlen(tail);
    for (int dots = 0; end > tail && dots < 3; dots += *end == '.')
        end--;
    return (int)(end - tail);
}

/* DOMAIN.STORE. of a branch's name, after the "@". */
static size_t owner_length(const char *tail)
{
    const char *dot = tail + domain_length(tail) + 1;
    return (size_t)(dot + strcspn(dot, ".") + 1 - tail);
}

/* An overlay shows the origin through its holes: nobody may change the origin while there is one. All overlays of one
 * image lie in one directory, and their names begin with what comes before the mark in ours. Those of the same domain go
 * when the origin has changed: checkpoints, and what ours rests on. */
static int check_overlays(const struct branch *b, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    const char *base;
    if (sidecar_open(b->path, false, &fd, &base, err) < 0)
        return -1;
    AUTO_DIR DIR *d = fdopendir(fd);
    if (!d)
        return error_errno(err, errno, "cannot list the directory of %s", b->path);
    TAKE_FD(fd);
    size_t stem = (size_t)(strrchr(base, '@') - base) + 1, own = stem + owner_length(base + stem);
    const struct dirent *e;
    int r;
    while ((r = sys_next_entry(d, &e, err)) > 0) {
        if (strncmp(e->d_name, base, stem) || !strncmp(e->d_name, base, own) || !str_has_suffix(e->d_name, ".qcow2"))
            continue;
        const char *domain = e->d_name + stem;
        return error_set(err, VMUNDO_CONFLICT,
                         "an overlay of domain %.*s is based on %s: drop or keep that domain first",
                         domain_length(domain), domain, b->origin);
    }
    return r;
}

int sidecar_keep_check(const struct branch *b, struct stack *ret_origin, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    CLEANUP(stack_clear) struct stack s = {0};
    AUTO_FREE char *who = NULL;
    if (sidecar_open_branch(b->path, O_RDONLY, &f, err) < 0)
        return -1;
    if (stack_resolve(b->origin, &s, err) < 0 || check_writable(&s, err) < 0 || check_overlays(b, err) < 0 ||
        storage_in_use(&s, false, &who, err) < 0)
        return -1;
    if (who)
        return error_set(err, VMUNDO_CONFLICT, "%s is in use by %s", b->origin, who);
    *ret_origin = s;
    s = (struct stack){0};
    return 0;
}
