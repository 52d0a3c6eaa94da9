/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block.h: what sysfs says about block devices. Nothing here opens a device unless it says so, so that looking has no
 * side effects and needs no permission on the device. kernel: Documentation/ABI/stable/sysfs-block.
 */
#ifndef STORAGE_BLOCK_H
#define STORAGE_BLOCK_H

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* One attribute of a device ("size", "dm/name", "loop/backing_file") without its final newline, the caller's; NULL when
 * the device or the attribute is not there, or not ours to read. It is an error when that cannot be told. */
int block_attr(dev_t dev, const char *attr, char **ret, struct vmundo_error *err);
uint64_t block_attr_u64(dev_t dev, const char *attr, uint64_t missing);

/* In bytes; 0: no such device, no medium, a loop device without a file. */
uint64_t block_size(dev_t dev);

/* As block_attr, of the whole disk when the device is a partition: only the disk has some attributes. */
int block_disk_attr(dev_t dev, const char *attr, char **ret, struct vmundo_error *err);

/* The device-mapper identity, all three NULL if it is none of device-mapper's. The strings are the caller's. */
int block_dm(dev_t dev, char **ret_name, char **ret_uuid, char **ret_path, struct vmundo_error *err);

/* A loop device that has a file. */
struct block_loop {
    char *file;             /* its path, as the kernel knows it */
    uint64_t offset, limit; /* the part of the file that it shows; limit 0: to the end */
    bool readonly;
    bool identified; /* we were allowed to open the device: the three below are known */
    dev_t file_dev;
    ino_t file_ino;
    dev_t file_rdev; /* when it is a block device itself */
};

/* Is it a whole loop device with a file? If not, ret->file is NULL. Opens node read-only to identify the file. */
int block_loop(dev_t dev, const char *node, struct block_loop *ret, struct vmundo_error *err);
void block_loop_clear(struct block_loop *l);

#endif
