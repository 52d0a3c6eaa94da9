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

#endif
