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

static char *read_attr(dev_t dev, const char *below, const char *attr)
{
    AUTO_FREE char *path = str_printf(NULL, "/sys/dev/block/%u:%u/%s%s", major(dev), minor(dev), below, attr);
    char *text = NULL;
    size_t len = 0;
    if (!path || sys_read_file(AT_FDCWD, path, 65536, &text, &len, NULL) < 0)
        return NULL;
    if (len > 0 && text[len - 1] == '\n')
        text[len - 1] = '\0';
    return text;
}

char *block_attr(dev_t dev, const char *attr)
{
    return read_attr(dev, "", attr);
}

char *block_disk_attr(dev_t dev, const char *attr)
{
    AUTO_FREE char *partition = block_attr(dev, "partition");
    return read_attr(dev, partition ? "../" : "", attr);
}

uint64_t block_attr_u64(dev_t dev, const char *attr, uint64_t missing)
{
    AUTO_FREE char *text = block_attr(dev, attr);
    return text ? strtoull(text, NULL, 10) : missing;
}

/* The kernel counts in 512 bytes here, whatever the sector size of the device. */
uint64_t block_size(dev_t dev)
{
    return block_attr_u64(dev, "size", 0) * 512;
}

int block_dm(dev_t dev, char **ret_name, char **ret_uuid, char **ret_path, struct vmundo_error *err)
{
    AUTO_FREE char *name = block_attr(dev, "dm/name");
    AUTO_FREE char *uuid = name ? block_attr(dev, "dm/uuid") : NULL;
    AUTO_FREE char *path = NULL;
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

bool block_is_loop(dev_t dev, const char *node, struct block_loop *ret)
{
    struct block_loop l = {.file = block_attr(dev, "loop/backing_file")};
    if (!l.file)
        return false;
    l.offset = block_attr_u64(dev, "loop/offset", 0);
    l.limit = block_attr_u64(dev, "loop/sizelimit", 0);
    l.readonly = block_attr_u64(dev, "ro", 0) != 0;
    AUTO_CLOSE int fd = open(node, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct loop_info64 info = {0};
    if (fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0) {
        l.identified = true;
        l.file_dev = decode_dev(info.lo_device);
        l.file_ino = info.lo_inode;
        l.file_rdev = decode_dev(info.lo_rdevice);
    }
    *ret = l;
    return true;
}

void block_loop_clear(struct block_loop *l)
{
    free(l->file);
    *l = (struct block_loop){0};
}
