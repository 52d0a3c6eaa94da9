/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sidecar.h: what the drivers whose branches are files have in common. storage.h has the part that others use too.
 *
 * A branch file is made in one of two ways. By name: under NAME.part, and it gets its name when it is complete and
 * durable, so that a file that has its name is a whole branch. By mark: under its name, and it gets its mark when it is
 * complete, so that a file that has the mark is; this takes a file system that keeps the order of the two, and saves
 * one flush. All work is done relative to the descriptor of the .vmundo directory, which is ours alone (0700).
 */
#ifndef STORAGE_SIDECAR_H
#define STORAGE_SIDECAR_H

#include "storage/storage.h"
#include "util/path.h"

#include <sys/stat.h>

#define SIDECAR_DIR PATH_PRIVATE
#define SIDECAR_PART ".part"
#define SIDECAR_XATTR "user.vmundo"

/* A file by its directory and its name there. */
struct sidecar_file {
    int dirfd, fd;
    const char *base; /* points into the path that it was opened by */
};
#define SIDECAR_FILE_INIT                                                                                              \
    {                                                                                                                  \
        .dirfd = -1, .fd = -1                                                                                          \
    }
void sidecar_file_close(struct sidecar_file *f);
#define AUTO_SIDECAR_FILE CLEANUP(sidecar_file_close)

/* Open a branch, which must be a regular file in a directory of ours, or an origin: a regular file or a block device.
 * No link is followed, but that devices may be named by one (/dev/mapper/NAME). Errors: errnum ENOENT when it is gone.
 */
int sidecar_open_branch(const char *path, int flags, struct sidecar_file *ret, struct vmundo_error *err);
int sidecar_open_origin(const char *path, int flags, struct sidecar_file *ret, struct vmundo_error *err);

/* The driver's part of create: fill the new, empty file part with a branch of what it starts from. */
struct sidecar_fill {
    const struct branch *branch;
    int from;         /* the origin, or the branch that it starts from, open for reading */
    int dirfd;        /* of the .vmundo directory */
    const char *name; /* of the new file in it */
    int fd;           /* of the new file, open for reading and writing */
};
typedef int (*sidecar_fill_fn)(const struct sidecar_fill *f, struct vmundo_error *err);

/* storage_driver.refill with the same fill, by mark, for what sidecar_create has made. */
int sidecar_refill(struct branch *b, const struct mark *m, sidecar_fill_fn fill, struct vmundo_error *err);

/* storage_driver.recall, by mark. */
int sidecar_recall(struct branch *b, const struct mark *m, struct vmundo_error *err);

/* storage_driver.create for a branch that is a file: leave it if it is complete, else make it with fill, mark it, give
 * it the origin's owner, make it durable, by mark or by name. Sets b->fingerprint and detail "inode", the branch's own. Errors: the origin
 * changed meanwhile (unless consistency says that it may); somebody else's file is in the way. */
int sidecar_create(struct branch *b, const struct mark *m, sidecar_fill_fn fill, bool by_mark,
                   struct vmundo_error *err);

/* storage_driver.create_unsettled for a branch that is known to be complete by its mark, and settle. */
int sidecar_create_unsettled(struct branch *b, const struct mark *m, sidecar_fill_fn fill, struct vmundo_error *err);
int sidecar_settle(const struct branch *b, struct vmundo_error *err);

/* storage_driver.remove, inspect (used: all that is allocated), changed. */
int sidecar_remove(const struct branch *b, struct vmundo_error *err);
int sidecar_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err);
int sidecar_changed(const struct branch *b, bool *ret, char **ret_what, struct vmundo_error *err);

/* storage_driver.preflight: may we make files there, and is there room for metadata? */
int sidecar_preflight(const struct branch *b, struct vmundo_error *err);
/* storage_driver.preflight_replacing: with what that branch alone takes up (inspect's `used`). */
int sidecar_preflight_replacing(const struct branch *b, const struct branch *gone, struct vmundo_error *err);

/* storage_driver.keep_check: is the branch there, may the origin be written, does nobody use it, is no overlay of
 * another domain backed by it? *ret_origin is the origin's stack, the caller's. */
int sidecar_keep_check(const struct branch *b, struct stack *ret_origin, struct vmundo_error *err);

#endif
