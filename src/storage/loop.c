/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop.c: loop devices are asked for by LOOP_CONFIGURE, which sets up all or nothing; between asking for a free one and
 * taking it somebody else may take it, so that is tried again. They are found again by the file's device and inode.
 */
#include "storage/loop.h"

#include "storage/block.h"
#include "util/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#define ATTEMPTS 64

int loop_attach(int file, bool autoclear, char node[LOOP_NODE_SIZE], int *ret_fd, struct vmundo_error *err)
{
    AUTO_CLOSE int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return error_errno(err, errno, "cannot open /dev/loop-control");
    for (int i = 0; i < ATTEMPTS; i++) {
        int n = ioctl(control, LOOP_CTL_GET_FREE);
        if (n < 0)
            return error_errno(err, errno, "there is no free loop device");
        snprintf(node, LOOP_NODE_SIZE, "/dev/loop%d", n);
        AUTO_CLOSE int fd = open(node, O_RDWR | O_CLOEXEC);
        struct loop_config config = {.fd = (uint32_t)file};
        config.info.lo_flags = (uint32_t)LO_FLAGS_DIRECT_IO | (autoclear ? (uint32_t)LO_FLAGS_AUTOCLEAR : 0);
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            *ret_fd = TAKE_FD(fd);
            return 0;
        }
        if (errno != EBUSY && errno != ENOENT && errno != ENXIO)
            return error_errno(err, errno, "cannot set up %s", node);
        usleep(10000);
    }
    return error_set(err, VMUNDO_FAILED, "every free loop device is taken by somebody else first: try again");
}

/* Opened first and looked at then: one that is open does not clear itself. */
static bool is_over(const char *path, const struct stat *file, int *ret_fd)
{
    struct stat st;
    CLEANUP(block_loop_clear) struct block_loop l = {0};
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISBLK(st.st_mode) || block_loop(st.st_rdev, path, &l, NULL) < 0 ||
        !l.identified || l.file_dev != file->st_dev || l.file_ino != file->st_ino || l.offset || l.limit)
        return false;
    if (ret_fd)
        *ret_fd = TAKE_FD(fd);
    return true;
}

bool loop_find(const struct stat *file, char node[LOOP_NODE_SIZE], int *ret_fd)
{
    AUTO_DIR DIR *d = opendir("/sys/block");
    for (const struct dirent *e; d && (e = readdir(d));) {
        char path[NAME_MAX + 8];
        snprintf(path, sizeof(path), "/dev/%s", e->d_name);
        if (str_has_prefix(e->d_name, "loop") && strlen(path) < LOOP_NODE_SIZE && is_over(path, file, ret_fd)) {
            strcpy(node, path);
            return true;
        }
    }
    return false;
}

int loop_detach(const char *node, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(node, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && (ioctl(fd, LOOP_CLR_FD) == 0 || errno == ENXIO))
        return 0;
    return error_errno(err, errno, "cannot detach %s", node);
}

int loop_update_size(const char *node, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(node, O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, LOOP_SET_CAPACITY) < 0)
        return error_errno(err, errno, "cannot make %s larger", node);
    return 0;
}
