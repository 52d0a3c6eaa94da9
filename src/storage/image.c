/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.c: image headers and backing chains.
 *
 * Headers are read here because a plan may not cost a process per disk. The layouts: qcow and qcow2 in QEMU's
 * docs/interop/qcow2.txt, qed in docs/interop/qed_spec.txt, vhd in Microsoft's "Virtual Hard Disk Image Format
 * Specification". Before data is written anywhere, qemu-img itself is asked (image_open_chain).
 *
 * QEMU is given descriptors of ours, as /proc/PID/fd/N, not paths: in a directory of another user a path may lead
 * elsewhere by the time it is opened.
 */
#include "storage/image.h"

#include "storage/sidecar.h"
#include "util/path.h"
#include "util/process.h"

#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>

/* ---- headers ---------------------------------------------------------------------------------------------------- */

#define HEADER_SIZE 512
#define MAX_L1_SIZE ((uint64_t)32 << 20) /* QCOW_MAX_L1_SIZE in QEMU's block/qcow2.h */

static uint64_t be(const unsigned char *p, size_t bytes)
{
    uint64_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n = n << 8 | p[i];
    return n;
}

static uint64_t le(const unsigned char *p, size_t bytes)
{
    uint64_t n = 0;
    for (size_t i = bytes; i > 0; i--)
        n = n << 8 | p[i - 1];
    return n;
}

static int read_backing(int fd, uint64_t offset, uint64_t size, struct image_header *h, struct vmundo_error *err)
{
    if (size == 0 || size > 1023 || offset > INT64_MAX - 1024) /* the limit of qcow2.txt */
        return error_set(err, VMUNDO_FAILED, "the name of its backing file is damaged");
    AUTO_FREE char *name = calloc(1, size + 1);
    if (!name)
        return error_nomem(err);
    ssize_t n = TEMP_FAILURE_RETRY(pread(fd, name, size, (off_t)offset));
    if (n < 0) /* with its errnum: who asks what rests on a file must not hear that this one rests on none */
        return error_errno(err, errno, "cannot read the name of its backing file");
    if (n != (ssize_t)size)
        return error_set(err, VMUNDO_FAILED, "the name of its backing file is damaged");
    h->has_backing = true;
    h->backing = TAKE(name);
    return 0;
}

static int read_qcow(int fd, const unsigned char *p, unsigned version, struct image_header *h, struct vmundo_error *err)
{
    enum { CORRUPT = 2, EXTERNAL_DATA = 4 };
    uint64_t v = be(p + 4, 4), backing = be(p + 8, 8), features = 0;
    if (memcmp(p, "QFI\xfb", 4) || (version == 1 ? v != 1 : v != 2 && v != 3))
        return error_set(err, VMUNDO_FAILED, "it is not a %s image", version == 1 ? "qcow" : "qcow2");
    if (v == 3)
        features = be(p + 72, 8);
    h->virtual_size = be(p + 24, 8);
    h->corrupt = features & CORRUPT;
    h->external_data = features & EXTERNAL_DATA;
    return backing ? read_backing(fd, backing, be(p + 16, 4), h, err) : 0;
}

static int read_qed(int fd, const unsigned char *p, struct image_header *h, struct vmundo_error *err)
{
    if (memcmp(p, "QED", 4) != 0)
        return error_set(err, VMUNDO_FAILED, "it is not a qed image");
    h->virtual_size = le(p + 48, 8);
    return le(p + 16, 8) & 1 ? read_backing(fd, le(p + 56, 4), le(p + 60, 4), h, err) : 0;
}

/* Its last sector is what counts; the copy of it at the start is not always there. */
static int read_vhd(int fd, uint64_t size, struct image_header *h, struct vmundo_error *err)
{
    enum { DIFFERENCING = 4 };
    unsigned char p[HEADER_SIZE];
    ssize_t n = size < sizeof(p) ? 0 : TEMP_FAILURE_RETRY(pread(fd, p, sizeof(p), (off_t)(size - sizeof(p))));
    if (n < 0)
        return error_errno(err, errno, "cannot read it");
    if (n != sizeof(p) || memcmp(p, "conectix", 8) != 0)
        return error_set(err, VMUNDO_FAILED, "it is not a vhd image");
    h->virtual_size = be(p + 48, 8);
    h->has_backing = be(p + 60, 4) == DIFFERENCING;
    return 0;
}

int image_read_header(int fd, const char *format, struct image_header *ret, struct vmundo_error *err)
{
    CLEANUP(image_header_clear) struct image_header h = {0};
    unsigned char p[HEADER_SIZE] = {0};
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0 || TEMP_FAILURE_RETRY(pread(fd, p, sizeof(p), 0)) < 0)
        return error_errno(err, errno, "cannot read it");
    int r = 0;
    if (str_eq(format, "raw"))
        h.virtual_size = (uint64_t)size;
    else if (str_eq(format, "qcow2"))
        r = read_qcow(fd, p, 2, &h, err);
    else if (str_eq(format, "qcow"))
        r = read_qcow(fd, p, 1, &h, err);
    else if (str_eq(format, "qed"))
        r = read_qed(fd, p, &h, err);
    else if (str_eq(format, "vhd"))
        r = read_vhd(fd, (uint64_t)size, &h, err);
    else
        r = error_set(err, VMUNDO_FAILED, "the format %s is not known", format);
    if (r < 0)
        return -1;
    *ret = h;
    h = (struct image_header){0};
    return 0;
}

/* The first level of the table of what is where (qcow2.txt: l1_size, l1_table_offset) is empty as long as nothing is. */
int image_has_data(int fd, bool *ret, struct vmundo_error *err)
{
    unsigned char p[48], part[4096];
    if (TEMP_FAILURE_RETRY(pread(fd, p, sizeof(p), 0)) != sizeof(p) || memcmp(p, "QFI\xfb", 4) != 0)
        return error_set(err, VMUNDO_FAILED, "it is not a qcow2 image");
    uint64_t at = be(p + 40, 8), size = be(p + 36, 4) * 8, end = at + size;
    bool found = false;
    if (size > MAX_L1_SIZE || at > INT64_MAX - size)
        return error_set(err, VMUNDO_FAILED, "its table is larger than QEMU allows");
    while (at < end && !found) {
        size_t want = end - at < sizeof(part) ? (size_t)(end - at) : sizeof(part);
        if (TEMP_FAILURE_RETRY(pread(fd, part, want, (off_t)at)) != (ssize_t)want)
            return error_set(err, VMUNDO_FAILED, "its table is cut short");
        for (size_t i = 0; i < want; i++)
            found = found || part[i];
        at += want;
    }
    *ret = found;
    return 0;
}

void image_header_clear(struct image_header *h)
{
    free(h->backing);
    *h = (struct image_header){0};
}

const char *image_qemu_format(const char *format)
{
    static const char *const names[][2] = {
        {"raw", "raw"}, {"qcow", "qcow"}, {"qcow2", "qcow2"}, {"qed", "qed"}, {"vhd", "vpc"}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(names[i][0], format))
            return names[i][1];
    return NULL;
}

/* ---- chains ----------------------------------------------------------------------------------------------------- */

char *image_fd_path(int fd, const char *name, struct vmundo_error *err)
{
    return str_printf(err, "/proc/%d/fd/%d%s%s", getpid(), fd, name ? "/" : "", name ? name : "");
}

void image_chain_clear(struct image_chain *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->links[i].path);
        free(c->links[i].format);
        cleanup_close(&c->links[i].fd);
    }
    *c = (struct image_chain){0};
}

/* The chain takes over fd, also when it fails. */
static int add_link(struct image_chain *c, const char *path, const char *format, int fd, struct vmundo_error *err)
{
    AUTO_CLOSE int owned = fd;
    AUTO_FREE char *p = NULL;
    AUTO_FREE char *f = NULL;
    struct stat st;
    if (c->n == IMAGE_MAX_CHAIN)
        return error_set(err, VMUNDO_REFUSED, "more than %d images are based on one another", IMAGE_MAX_CHAIN);
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "%s", path);
    if (str_copy(path, &p, err) < 0 || str_copy(format, &f, err) < 0)
        return -1;
    c->links[c->n++] = (struct image_link){TAKE(p), TAKE(f), TAKE_FD(owned), S_ISBLK(st.st_mode)};
    return 0;
}

void image_info_clear(struct image_info *i)
{
    free(i->backing);
    free(i->backing_format);
    *i = (struct image_info){0};
}

int image_parse_info(const char *text, struct image_info *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    CLEANUP(image_info_clear) struct image_info i = {0};
    if (json_parse(text, "the answer of qemu-img info", &o, err) < 0 ||
        json_get_u64(o, "virtual-size", &i.virtual_size, err) < 0 ||
        json_opt_string(o, "backing-filename", &i.backing, err) < 0 ||
        json_opt_string(o, "backing-filename-format", &i.backing_format, err) < 0)
        return -1;
    *ret = i;
    i = (struct image_info){0};
    return 0;
}

/* It opens neither the backing file nor, since our own look at the header came first, a data
 * file. */
static int ask_qemu(const struct image_link *l, struct image_info *ret, struct vmundo_error *err)
{
    AUTO_FREE char *path = image_fd_path(l->fd, NULL, err);
    AUTO_FREE char *text = NULL;
    const char *argv[] = {"qemu-img", "info", "--output=json", "--force-share", "-f", l->format, path, NULL};
    if (!path || process_run(argv, 0, &text, err) < 0)
        return -1;
    return image_parse_info(text, ret, err);
}

int image_backing_path(const char *path, const char *name, char **ret, struct vmundo_error *err)
{
    const char *colon = strchr(name, ':'), *slash = strchr(name, '/');
    if (colon && (!slash || colon < slash))
        return error_set(err, VMUNDO_REFUSED, "%s is based on %s, which is not a file", path, name);
    *ret = name[0] == '/' ? str_printf(err, "%s", name)
                          : str_printf(err, "%.*s/%s", (int)(strrchr(path, '/') - path), path, name);
    return *ret ? 0 : -1;
}

/* A backing file is named by the image, that is, by whoever could write the image; but it is read by us, perhaps as
 * root. So it must be one that the owner of the image could read just as well: root's images may be based on anything,
 * those of others on regular files that are theirs or that everybody may read. */
static int check_backing(const struct stat *image, const struct stat *st, const char *path, struct vmundo_error *err)
{
    bool allowed =
        image->st_uid == 0 || (S_ISREG(st->st_mode) && (st->st_uid == image->st_uid || st->st_mode & S_IROTH));
    if (!allowed || !(S_ISREG(st->st_mode) || S_ISBLK(st->st_mode)))
        return error_set(err, VMUNDO_REFUSED,
                         "it is based on %s, which is not a file that its owner (user %u) may read", path,
                         image->st_uid);
    return 0;
}

static int open_backing(const struct stat *image, const char *path, int *ret, struct vmundo_error *err)
{
    struct stat st;
    AUTO_CLOSE int look = -1;
    if (path_open(path, &look, err) < 0)
        return error_wrap(err, "cannot open the backing file");
    if (fstat(look, &st) < 0)
        return error_errno(err, errno, "cannot open the backing file %s", path);
    if (check_backing(image, &st, path, err) < 0)
        return -1;
    AUTO_CLOSE int fd = path_reopen(look, O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return error_errno(err, errno, "cannot open the backing file %s", path);
    *ret = TAKE_FD(fd);
    return 0;
}

/* Look at the last link; if it is based on another image, add that. *ret_more: it did. */
static int extend(struct image_chain *c, const struct stat *image, bool *ret_more, struct vmundo_error *err)
{
    const struct image_link *last = &c->links[c->n - 1];
    CLEANUP(image_info_clear) struct image_info info = {0};
    AUTO_FREE char *path = NULL;
    if (ask_qemu(last, &info, err) < 0)
        return error_wrap(err, "%s", last->path);
    if (c->n == 1)
        c->virtual_size = info.virtual_size;
    *ret_more = info.backing != NULL;
    if (!info.backing)
        return 0;
    if (!info.backing_format)
        return error_set(
            err, VMUNDO_REFUSED,
            "%s does not state the format of its backing file %s: write it down with qemu-img rebase -u -F", last->path,
            info.backing);
    int fd = -1;
    if (image_backing_path(last->path, info.backing, &path, err) < 0 || open_backing(image, path, &fd, err) < 0)
        return error_wrap(err, "%s", last->path);
    return add_link(c, path, info.backing_format, fd, err);
}

static int check_no_data_file(const struct image_link *l, struct vmundo_error *err)
{
    CLEANUP(image_header_clear) struct image_header h = {0};
    if (!str_eq(l->format, "qcow2"))
        return 0;
    if (image_read_header(l->fd, "qcow2", &h, err) < 0)
        return error_wrap(err, "%s", l->path);
    return h.external_data ? error_set(err, VMUNDO_REFUSED, "%s has its data in another file", l->path) : 0;
}

int image_open_chain(const char *path, const char *format, struct image_chain *ret, struct vmundo_error *err)
{
    AUTO_IMAGE_CHAIN struct image_chain c = {0};
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    const char *qemu = image_qemu_format(format);
    struct stat image;
    if (!qemu)
        return error_set(err, VMUNDO_REFUSED, "%s: the format %s is not known", path, format);
    if (sidecar_open_origin(path, O_RDONLY, &f, err) < 0)
        return -1;
    if (fstat(f.fd, &image) < 0)
        return error_errno(err, errno, "%s", path);
    if (add_link(&c, path, qemu, TAKE_FD(f.fd), err) < 0)
        return -1;
    if (str_eq(qemu, "raw"))
        c.virtual_size = (uint64_t)lseek(c.links[0].fd, 0, SEEK_END);
    for (bool more = true; more && !str_eq(c.links[c.n - 1].format, "raw");)
        if (check_no_data_file(&c.links[c.n - 1], err) < 0 || extend(&c, &image, &more, err) < 0)
            return -1;
    *ret = c;
    c = (struct image_chain){0};
    return 0;
}

char *image_chain_options(const struct image_chain *c, const char *prefix, struct vmundo_error *err)
{
    AUTO_FREE char *all = str_printf(err, "%s", "");
    AUTO_FREE char *before = str_printf(err, "%s", prefix);
    for (size_t i = 0; all && before && i < c->n; i++) {
        const struct image_link *l = &c->links[i];
        AUTO_FREE char *path = image_fd_path(l->fd, NULL, err);
        char *more = !path ? NULL
                           : str_printf(err, "%s%s%sdriver=%s,%sfile.driver=%s,%sfile.filename=%s", all, i ? "," : "",
                                        before, l->format, before, l->device ? "host_device" : "file", before, path);
        free(all);
        all = more;
        char *deeper = str_printf(err, "%sbacking.", before);
        free(before);
        before = deeper;
    }
    return before ? TAKE(all) : NULL;
}

/* ---- for core --------------------------------------------------------------------------------------------------- */

static int read_header_of(const char *path, const char *format, struct image_header *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    if (path_open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, &fd, err) < 0)
        return -1;
    return image_read_header(fd, format, ret, err) < 0 ? error_wrap(err, "%s", path) : 0;
}

int storage_check_image(const char *path, const char *format, struct vmundo_error *err)
{
    CLEANUP(image_header_clear) struct image_header h = {0};
    AUTO_IMAGE_CHAIN struct image_chain chain = {0};
    AUTO_CLOSE int look = -1;
    struct vmundo_error e = {0};
    if (str_eq(format, "raw")) /* one that is not there may be on a file system that is not mounted: not for us to say */
        return path[0] != '/' || path_open(path, &look, &e) == 0 || e.errnum == ENOENT ? 0
                                                                                       : error_set(err, e.code, "%s", e.msg);
    if (read_header_of(path, format, &h, err) < 0)
        return -1;
    if (!h.has_backing && !h.external_data)
        return 0;
    AUTO_FREE char *real = realpath(path, NULL);
    if (!real)
        return error_errno(err, errno, "%s", path);
    return image_open_chain(real, format, &chain, err);
}

uint64_t storage_image_size(const char *path, const char *format)
{
    CLEANUP(image_header_clear) struct image_header h = {0};
    return read_header_of(path, format, &h, NULL) < 0 ? 0 : h.virtual_size;
}
