/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-files.c: what QEMU has opened. Disks are handed to it open, but what a disk's image is based on it opens by its path,
 * following whatever links are there at that moment, and whoever owns a directory on the way can change them at any time.
 * So when it is up, and before the guest has seen anything, every file that it has open is compared with what it was
 * handed, and with what we find by the same paths, by our own rules (path.h).
 *
 * The kernel tells what a process has open (proc(5)), and QEMU what its disks are based on.
 */
#include "hyper/qemu.h"
#include "hyper/rundir.h"
#include "util/path.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>

#define TIMEOUT_MS 10000u

struct file {
    bool device;
    dev_t dev;
    ino_t ino; /* 0 for a device */
};

struct files {
    struct file *list;
    size_t n;
};

static void files_clear(struct files *f)
{
    free(f->list);
    *f = (struct files){0};
}
#define AUTO_FILES CLEANUP(files_clear)

static int add(struct files *f, const struct stat *st, struct vmundo_error *err)
{
    struct file *more = reallocarray(f->list, f->n + 1, sizeof(*more));
    if (!more)
        return error_nomem(err);
    f->list = more;
    bool device = S_ISBLK(st->st_mode);
    f->list[f->n++] = (struct file){device, device ? st->st_rdev : st->st_dev, device ? 0 : st->st_ino};
    return 0;
}

static bool has(const struct files *f, const struct file *one)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i].device == one->device && f->list[i].dev == one->dev && f->list[i].ino == one->ino)
            return true;
    return false;
}

/* ---- what is open ------------------------------------------------------------------------------------------------ */

/* Memory has no path: "/memfd:NAME (deleted)". */
static bool is_memory(int dir, const char *name)
{
    char to[16];
    ssize_t n = readlinkat(dir, name, to, sizeof(to) - 1);
    to[n > 0 ? n : 0] = '\0';
    return str_has_prefix(to, "/memfd:");
}

static int list_open(int run, struct files *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    struct sys_process p;
    char path[64];
    if (rundir_get(run, RUNDIR_QEMU_PID, &o, err) < 0 || rundir_process_parse(o, &p, err) < 0)
        return -1;
    AUTO_CLOSE int pidfd = sys_process_open(&p);
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)p.pid);
    AUTO_DIR DIR *d = pidfd < 0 ? NULL : opendir(path);
    if (!d)
        return error_errno(err, errno, "cannot see what QEMU has opened");
    for (const struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (isdigit((unsigned char)e->d_name[0]) && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
            (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) && !is_memory(dirfd(d), e->d_name) && add(ret, &st, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- what may be ------------------------------------------------------------------------------------------------- */

static int add_path(struct files *f, const char *path, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;
    if (path_open(path, &fd, err) < 0)
        return -1;
    return fstat(fd, &st) < 0 ? error_errno(err, errno, "%s", path) : add(f, &st, err);
}

static int add_given(const int *given, size_t n, struct files *f, struct vmundo_error *err)
{
    struct stat st;
    for (size_t i = 0; i < n; i++)
        if (given[i] >= 0 && fstat(given[i], &st) == 0 && add(f, &st, err) < 0)
            return -1;
    return 0;
}

static int add_lock(int dirfd, struct files *f, struct vmundo_error *err)
{
    struct stat st;
    if (fstatat(dirfd, RUNDIR_QEMU_LOCK, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_errno(err, errno, "cannot look at %s", RUNDIR_QEMU_LOCK);
    return add(f, &st, err);
}

/* What the nodes are of, by the names by which QEMU was to open them. */
static int add_based_on(int dirfd, struct files *f, struct vmundo_error *err)
{
    AUTO_QMP struct qmp q = QMP_INIT;
    AUTO_JSON json_t *nodes = NULL;
    if (qemu_qmp(dirfd, TIMEOUT_MS, &q, err) < 0 ||
        qmp_call(&q, "query-named-block-nodes", json_pack("{s:b}", "flat", 1), &nodes, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const char *path = json_string_value(json_object_get(json_array_get(nodes, i), "file"));
        if (path && path[0] == '/' && !str_has_prefix(path, "/dev/fdset/") && add_path(f, path, err) < 0)
            return -1;
    }
    return 0;
}

static const struct file *find_foreign(const struct files *opened, const struct files *may)
{
    for (size_t i = 0; i < opened->n; i++)
        if (!has(may, &opened->list[i]))
            return &opened->list[i];
    return NULL;
}

int qemu_check_files(int dirfd, const int *disks, size_t n_disks, const int *others, size_t n_others,
                     struct vmundo_error *err)
{
    AUTO_FILES struct files opened = {0}, may = {0};
    if (list_open(dirfd, &opened, err) < 0 || add_lock(dirfd, &may, err) < 0 ||
        add_given(disks, n_disks, &may, err) < 0 || add_given(others, n_others, &may, err) < 0)
        return -1;
    if (!find_foreign(&opened, &may))
        return 0;
    if (add_based_on(dirfd, &may, err) < 0)
        return -1;
    if (!find_foreign(&opened, &may))
        return 0;
    return error_set(err, VMUNDO_REFUSED,
                     "QEMU has opened another file than what a disk is based on: somebody has changed the path meanwhile; "
                     "let nobody else write to the directories of a disk");
}
