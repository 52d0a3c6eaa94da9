/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stack.h: what lies under a disk's target.
 *
 * stack_resolve() follows a target through symbolic links, whole-device loop devices, the mount table and
 * device-mapper names down to what a driver can take a snapshot of. It only looks: no file is opened for writing, no
 * program is run, nothing is mounted.
 */
#ifndef STORAGE_STACK_H
#define STORAGE_STACK_H

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum stack_kind { STACK_FILE, STACK_BLOCK, STACK_RBD };

struct stack {
    enum stack_kind kind;
    char *target;            /* as given */
    char *path;              /* canonical path of the file or device (after loop devices were followed); for rbd the
                              * target itself */
    char *via_loop;          /* /dev/loopN that stood between target and path, or NULL */
    uint64_t size;           /* of the file or device in bytes */
    uint64_t allocated;      /* st_blocks * 512 for files */
    dev_t dev;               /* of the file system (STACK_FILE) or of the device itself (STACK_BLOCK) */
    ino_t ino;
    unsigned nlink;
    uid_t uid;

    /* STACK_FILE: the file system it is in */
    char *mount_point;
    char *fs_type;           /* xfs, btrfs, ext4, overlay … */
    char *fs_source;         /* the device, as the mount table names it */
    char *fs_root;           /* the part of the file system that is mounted there ("/", or less with bind mounts) */
    bool fs_readonly;
    bool unmounted;          /* it is not mounted now, fstab(5) says that it belongs there: the file itself has not been
                              * seen (size, allocated and uid are 0, ino stands for it) */
    bool can_reflink;        /* FICLONE works there (XFS: asked the file system; btrfs, bcachefs: by type) */
    uint64_t fs_free;        /* bytes an ordinary user may still write */

    /* The device-mapper identity of the device (STACK_BLOCK) or of the device under the file system (STACK_FILE);
     * NULL if it is not device-mapper's. "LVM-<vg uuid><lv uuid>[-layer]" for logical volumes. */
    char *dm_name, *dm_uuid;
    char *dm_path;           /* /dev/mapper/<dm_name> */
};

/* Errors, all VMUNDO_FAILED with the reason: missing, a dangling link, a link loop, a directory, a FIFO, a socket, a
 * character device, zero length, permission. The caller frees with stack_clear. */
int stack_resolve(const char *target, struct stack *ret, struct vmundo_error *err);
void stack_clear(struct stack *s);

/* For a target that does not exist: complete s (whose target stands) if it belongs to a file system on a block device
 * that is in fstab(5) but not mounted. */
int stack_from_fstab(struct stack *s, bool *ret_found, struct vmundo_error *err);

/* The name by which to find it again after a reboot, s's: /dev/dm-3 or /dev/sdb may be another device then, so a
 * device is called by its device-mapper name, or else as the user calls it. */
const char *stack_name(const struct stack *s);

#endif
