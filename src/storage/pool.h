/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pool.h: making places for domains' disks: volume groups and their volumes (LVM2), and file systems whose files can
 * share blocks (XFS in a file or on a device). All of it is thin: lvm, mkfs and the kernel do the work, and what is
 * here adds the checks that keep a mistyped name from costing somebody's data.
 *
 *   signature.c     what is on a device already
 *   lvm-group.c     volume groups, and the thin pool in one
 *   lvm-volume.c    volumes
 *   pool-xfs.c      XFS pools
 *
 * A call that changes something tells each step before it takes it. In a dry run it takes none.
 */
#ifndef STORAGE_POOL_H
#define STORAGE_POOL_H

#include "storage/loop.h"
#include "storage/lvm.h"
#include "util/str.h"

struct steps {
    bool (*step)(void *data, const char *text); /* false: do not take it */
    void (*warn)(void *data, const char *text);
    void *data;
};
bool steps_take(const struct steps *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void steps_warn(const struct steps *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What vmundo makes bears these tags. */
#define POOL_TAG "vmundo.pool"
#define POOL_THIN_NAME "thinpool"
#define VOLUME_TAG "vmundo.volume"
#define VOLUME_UNFINISHED_TAG "vmundo.unfinished" /* it has yet to get its file system */

/* Bytes as people read them: "1.5 GiB". buf holds 32 bytes and is returned. */
const char *pool_size_text(uint64_t bytes, char buf[32]);

/* ---- signature.c ------------------------------------------------------------------------------------------------ */

/* The kind of content that can be told of a device: "ext4", "LVM2_member", "gpt" …, "several kinds"; NULL: none. */
int signature_find(const char *device, char **ret, struct vmundo_error *err);
/* Remove all signatures, durable. Errors: VMUNDO_REFUSED somebody uses the device. */
int signature_wipe(const char *device, struct vmundo_error *err);

/* Is the path a block device that a pool can be made of: nobody uses it, it is no part of a volume group, and bears no
 * signature, unless wipe. *ret is its canonical path, *ret_signature (may be NULL) what will be wiped. Errors:
 * VMUNDO_NOT_FOUND, VMUNDO_USAGE it is no block device, VMUNDO_REFUSED. */
int pool_check_device(const char *path, bool wipe, char **ret, char **ret_signature, struct vmundo_error *err);

/* The one name under which a block device is remembered, the caller's. Errors as above. */
int pool_device_name(const char *path, char **ret, struct vmundo_error *err);

/* Where a block device is mounted, the caller's; NULL: nowhere. */
int pool_mounted_at(const char *device, char **ret, struct vmundo_error *err);

/* ---- lvm-group.c -------------------------------------------------------------------------------------------------- */

struct lvm_group {
    char *name;
    struct strv tags, pvs;
    uint64_t size, free;
    uint32_t extent;
    unsigned missing;
    bool exported;
};
struct lvm_groups {
    struct lvm_group *groups;
    size_t n;
    struct strv single; /* physical volumes of no group */
};
#define AUTO_LVM_GROUPS CLEANUP(lvm_groups_clear)
int lvm_groups(struct lvm_groups *ret, struct vmundo_error *err);
int lvm_parse_groups(const char *text, struct lvm_groups *ret, struct vmundo_error *err);
struct lvm_group *lvm_groups_find(const struct lvm_groups *g, const char *name);
void lvm_groups_clear(struct lvm_groups *g);

/* The group, or VMUNDO_NOT_FOUND; REFUSED when it is exported or lacks disks. *ret is in g. */
int lvm_group_look(const char *name, struct lvm_groups *g, struct lvm_group **ret, struct vmundo_error *err);

/* Its thin pool: the one that vmundo made, else the only one; NULL: none, or more than one. */
const struct lvm_lv *lvm_thin_pool(const struct lvm_vg *vg);

struct lvm_new_group {
    const char *name;
    const struct strv *devices; /* checked */
    const char *what;           /* for messages; NULL: the devices' names */
    bool thin;
    unsigned stripes; /* of the thin pool, 0: none */
};
/* If it fails, there is no group. Errors: VMUNDO_CONFLICT there is one of that name. */
int lvm_group_create(const struct lvm_new_group *n, const struct steps *s, struct vmundo_error *err);
/* Take devices (may be empty) in, take the size that its devices have now, and let its thin pool have most of that. */
int lvm_group_grow(const char *name, const struct strv *devices, const struct steps *s, struct vmundo_error *err);
/* Errors: VMUNDO_REFUSED there are volumes in it. */
int lvm_group_check_empty(const struct lvm_vg *vg, const char *name, struct vmundo_error *err);
/* What is gone already is success. */
int lvm_group_remove(const char *name, const struct steps *s, struct vmundo_error *err);

/* ---- lvm-volume.c ------------------------------------------------------------------------------------------------- */

struct lvm_new_volume {
    const struct lvm_name *name;
    uint64_t size;
    bool thin;
    unsigned stripes;
    const char *fs; /* ext4, xfs, NULL: none */
};
/* If it fails, there is no volume. Errors: VMUNDO_CONFLICT the name is taken, VMUNDO_REFUSED no room. */
int lvm_volume_create(const struct lvm_new_volume *n, const struct steps *s, struct vmundo_error *err);

/* The volume, if it is one that the user may change: no branch, no inner part, nothing merging. Errors:
 * VMUNDO_NOT_FOUND, VMUNDO_REFUSED. *ret_lv is in *vg. */
int lvm_volume_look(const struct lvm_name *n, struct lvm_vg *vg, const struct lvm_lv **ret_lv,
                    struct vmundo_error *err);
/* VMUNDO_REFUSED names snapshots and branches of it; what: "removed", "made smaller". */
int lvm_volume_check_single(const struct lvm_vg *vg, const struct lvm_lv *lv, bool thin_too, const char *what,
                            struct vmundo_error *err);
/* With the file system in it, if that can be. The caller knows that no more than a mount uses it. Errors:
 * VMUNDO_REFUSED no room; or it cannot be made smaller: by its file system, or because it is not known what is in it. */
int lvm_volume_resize(const struct lvm_name *n, uint64_t size, const struct steps *s, struct vmundo_error *err);
int lvm_volume_remove(const struct lvm_name *n, const struct steps *s, struct vmundo_error *err);

/* ---- pool-xfs.c ----------------------------------------------------------------------------------------------------- */

/* Make file `path` (canonical directory) of this size, with no blocks, beside whatever else is there; it has its name
 * when it returns. Errors: VMUNDO_CONFLICT there is a file of that name. */
int pool_make_file(const char *path, uint64_t size, struct vmundo_error *err);
/* A loop device over a file at path, the one that there is or a new one. *ret_fd as in loop_attach(). */
int pool_attach_file(const char *path, bool autoclear, char node[LOOP_NODE_SIZE], int *ret_fd,
                     struct vmundo_error *err);
/* Detach it and remove the file; what is gone is success. */
int pool_remove_file(const char *path, struct vmundo_error *err);
/* Make a file and the loop device over it larger; never smaller: VMUNDO_REFUSED. node: that
 * device, or NULL: to be looked for. */
int pool_grow_file(const char *path, uint64_t size, const char *node, const struct steps *s, struct vmundo_error *err);

/* XFS in a new file of that size, or where path is a block device (checked, wiped) on that. */
int pool_xfs_create(const char *path, bool device, uint64_t size, const struct steps *s, struct vmundo_error *err);
/* Mount what is in the file or on the device at dir, which is made; if it is mounted there already, leave it. */
int pool_xfs_mount(const char *path, const char *dir, const struct steps *s, struct vmundo_error *err);
int pool_xfs_grow(const char *device, struct vmundo_error *err);
/* Errors: VMUNDO_REFUSED something is in it or uses it. */
int pool_xfs_check_empty(const char *dir, struct vmundo_error *err);
int pool_xfs_remove(const char *path, const char *dir, const struct steps *s, struct vmundo_error *err);


/* ---- pool-import.c -------------------------------------------------------------------------------------------------- */

/* Copy the image file to dir (absolute) under this name, with owner, mode and attributes; it has its name when it is whole
 * and durable. move: then a symbolic link to it takes the image's place. The caller knows that nobody uses it. Errors:
 * VMUNDO_CONFLICT the name is taken, or the image was changed meanwhile; VMUNDO_REFUSED no room, or it would not work from
 * there. */
int pool_import(const char *image, const char *dir, const char *name, bool move, const struct progress *p,
                const struct steps *s, struct vmundo_error *err);

#endif
