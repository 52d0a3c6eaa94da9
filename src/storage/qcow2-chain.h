/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2-chain.h: overlays that rest on one another. Each names the file below it in its header, and that is the only
 * record of it: who rests on a file is found by looking at the overlays of the same image, which lie in one directory.
 * One that is removed while others rest on it stays, with an empty file NAME.gone beside it, until the last of them
 * goes.
 */
#ifndef STORAGE_QCOW2_CHAIN_H
#define STORAGE_QCOW2_CHAIN_H

#include "storage/storage.h"

#define CHAIN_GONE ".gone"
#define CHAIN_MAX (2 * STORAGE_MAX_DEPTH)

/* The overlay at path and those that it rests on, as paths, the uppermost first. Errors: errnum ENOENT one is gone;
 * VMUNDO_FAILED it rests on something that is neither an overlay of ours nor origin. */
int chain_list(const char *path, const char *origin, struct strv *ret, struct vmundo_error *err);

/* storage_driver.changes, in bytes of the disk that is in the image */
int chain_changes(const struct branch *b, const struct branch *since, const char *inside, struct ranges *ret,
                  struct vmundo_error *err);

/* What `qemu-img map --output=json` says of one overlay alone: what stands in it, added to *ret. */
int chain_parse_map(const char *json, struct ranges *ret, struct vmundo_error *err);

/* storage_driver.remove */
int chain_remove(const struct branch *b, struct vmundo_error *err);

/* storage_driver.find_merge and merged */
int chain_find_merge(const struct branch *b, struct merge *ret, struct vmundo_error *err);
int chain_merged(const struct merge *m, struct vmundo_error *err);

/* ---- for the files of the driver --------------------------------------------------------------------------------
 * Names are those of overlays in the directory dirfd, which is locked (flock) by whoever removes or renames there. */

/* The name of an overlay of ours in a path, or NULL. */
const char *chain_overlay_name(const char *path);
/* What the header of a file says that it rests on; NULL: it has no header yet, or it is damaged. One that is damaged and
 * not gone (*ret_damaged, may be NULL) may rest on any of them, and so keeps all of them. Errors: errnum ENOENT. */
int chain_read_backing(int dirfd, const char *name, char **ret, bool *ret_damaged, struct vmundo_error *err);
/* Of the image of which `name` is an overlay: the names of all its overlays (also of those that are just being made), or
 * of all marks of those that are gone; added to *ret. */
int chain_overlays(int dirfd, const char *name, struct strv *ret, struct vmundo_error *err);
int chain_marks(int dirfd, const char *name, struct strv *ret, struct vmundo_error *err);
/* Does any file but `except` rest on this one, as far as is known? */
int chain_is_rested_on(int dirfd, const char *name, const char *except, bool *ret, struct vmundo_error *err);
int chain_is_marked_gone(int dirfd, const char *name, bool *ret, struct vmundo_error *err);
/* The file, what was left of its making, and then its mark. */
int chain_unlink(int dirfd, const char *name, struct vmundo_error *err);
/* Of the image of which name is an overlay: remove what is marked as gone and carries nothing, and marks of what is not
 * there. That is what a merge leaves that was cut off. */
int chain_sweep(int dirfd, const char *name, struct vmundo_error *err);

#endif
