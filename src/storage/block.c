/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block.c: reads /sys/dev/block/MAJOR:MINOR. That directory is found by number, so that it does not matter by which
 * name a device is called.
 */
#include "storage/block.h"

#include "util/str.h"
#include "util/sys.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

/* An attribute that could not be looked for is not one that is missing: what is under a disk, and who has it in use,
 * depends on it. */
static int read_attr(dev_t dev, const char *below, const char *attr, char **ret, struct vmundo_error *err)
{
    AUTO_FREE char *path = str_printf(err, "/sys/dev/block/%u:%u/%s%s", major(dev), minor(dev), below, attr);
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    struct vmundo_error e = {0};
    if (!path)
        return -1;
    if (sys_read_file(AT_FDCWD, path, 65536, &text, &len, &e) < 0) {
        bool missing =
            e.errnum == ENOENT || e.errnum == ENOTDIR || e.errnum == ENODEV || e.errnum == ENXIO || e.errnum == EACCES;
        if (!missing && err)
            *err = e;
        return missing ? 0 : -1;
    }
    if (len > 0 && text[len - 1] == '\n')
        text[len - 1] = '\0';
    *ret = TAKE(text);
    return 0;
}

int block_attr(dev_t dev, const char *attr, char **ret, struct vmundo_error *err)
{
    *ret = NULL;
    return read_attr(dev, "", attr, ret, err);
}

int block_disk_attr(dev_t dev, const char *attr, char **ret, struct vmundo_error *err)
{
    AUTO_FREE char *partition = NULL;
    *ret = NULL;
    return block_attr(dev, "partition", &partition, err) < 0 ? -1
                                                             : read_attr(dev, partition ? "../" : "", attr, ret, err);
}

uint64_t block_attr_u64(dev_t dev, const char *attr, uint64_t missing)
{
    AUTO_FREE char *text = NULL;
    return block_attr(dev, attr, &text, NULL) == 0 && text ? strtoull(text, NULL, 10) : missing;
}

/* The kernel counts in 512 bytes here, whatever the sector size of the device. */
uint64_t block_size(dev_t dev)
{
    return block_attr_u64(dev, "size", 0) * 512;
}

int block_dm(dev_t dev, char **ret_name, char **ret_uuid, char **ret_path, struct vmundo_error *err)
{
    AUTO_FREE char *name = NULL, *uuid = NULL, *path = NULL;
    if (block_attr(dev, "dm/name", &name, err) < 0 || (name && block_attr(dev, "dm/uuid", &uuid, err) < 0))
        return -1;
    if (name && !(path = str_printf(err, "/dev/mapper/%s", name)))
        return -1;
    *ret_name = TAKE(name);
    *ret_uuid = TAKE(uuid);
    *ret_path = TAKE(path);
    return 0;
}

/* struct loop_info64 holds device numbers as the kernel encodes them for user space (new_encode_dev). */
static dev_t decode_dev(uint64_t n)
{
    return makedev((unsigned)(n >> 8 & 0xfff), (unsigned)((n & 0xff) | (n >> 12 & 0xfff00)));
}

int block_loop(dev_t dev, const char *node, struct block_loop *ret, struct vmundo_error *err)
{
    CLEANUP(block_loop_clear) struct block_loop l = {0};
    *ret = (struct block_loop){0};
    if (block_attr(dev, "loop/backing_file", &l.file, err) < 0)
        return -1;
    if (!l.file)
        return 0;
    l.offset = block_attr_u64(dev, "loop/offset", 0);
    l.limit = block_attr_u64(dev, "loop/sizelimit", 0);
    l.readonly = block_attr_u64(dev, "ro", 0) != 0;
    AUTO_CLOSE int fd = open(node, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct loop_info64 info = {0};
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
        return error_errno(err, errno, "cannot look at %s", node);
    if (fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0) {
        l.identified = true;
        l.file_dev = decode_dev(info.lo_device);
        l.file_ino = info.lo_inode;
        l.file_rdev = decode_dev(info.lo_rdevice);
    }
    *ret = l;
    l = (struct block_loop){0};
    return 0;
}

void block_loop_clear(struct block_loop *l)
{
    free(l->file);
    *l = (struct block_loop){0};
}
