/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * export.c: a disk of a branch as an image of its own: a clone where blocks can be shared, else a copy by qemu-img,
 * which leaves out what is empty and puts an overlay and what is below it together.
 */
#include "storage/storage.h"

#include "storage/image.h"
#include "util/process.h"

#include <fcntl.h>
#include <sys/stat.h>

struct source {
    char *path, *format;
    bool block;
};

static void source_clear(struct source *s)
{
    free(s->path);
    free(s->format);
}

/* As if its owner had copied the origin. */
static int give_owner(int fd, const char *origin, struct vmundo_error *err)
{
    struct stat st;
    if (stat(origin, &st) < 0 || !S_ISREG(st.st_mode))
        return 0; /* a device has none to give */
    if (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) < 0)
        return error_errno(err, errno, "cannot give the image to user %u", st.st_uid);
    return fchmod(fd, st.st_mode & 0777) < 0 ? error_errno(err, errno, "cannot set the image's mode") : 0;
}

static bool share(int fd, const struct source *s)
{
    AUTO_CLOSE int from = s->block ? -1 : open(s->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return from >= 0 && sys_ficlone(fd, from) == 0;
}

/* "    (12.34/100%)" */
static void on_progress(void *data, const char *line)
{
    double percent;
    if (sscanf(line, " (%lf/100%%)", &percent) == 1)
        progress_tell(data, (uint64_t)(percent * 100), 10000);
}

static int copy(int fd, const struct source *s, const char *format, const struct progress *p, struct vmundo_error *err)
{
    AUTO_IMAGE_CHAIN struct image_chain c = {0};
    struct progress told = p ? *p : (struct progress){0};
    if (image_open_chain(s->path, s->format, &c, err) < 0)
        return -1;
    AUTO_FREE char *to = image_fd_path(fd, NULL, err), *from = image_chain_options(&c, "", err);
    if (!to || !from)
        return -1;
    const char *argv[] = {"qemu-img", "convert", "-p", "--image-opts", from, "-O", image_qemu_format(format), to, NULL};
    return process_run_lines(argv, on_progress, &told, err);
}

int storage_export(const struct branch *b, const struct export_options *o, struct vmundo_error *err)
{
    CLEANUP(source_clear) struct source s = {0};
    AUTO_CLOSE int fd = -1;
    if (storage_attach(b, err) < 0 || storage_locate(b, o->inside, &s.path, &s.format, &s.block, err) < 0 ||
        (!s.format && str_copy(o->format, &s.format, err) < 0))
        return -1;
    fd = openat(o->dirfd, o->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot create the image %s", o->name);
    if (!(str_eq(s.format, o->format) && share(fd, &s)) && copy(fd, &s, o->format, o->progress, err) < 0)
        return -1;
    if (give_owner(fd, b->origin, err) < 0)
        return -1;
    return fsync(fd) < 0 ? error_errno(err, errno, "cannot make the image %s durable", o->name) : 0;
}
