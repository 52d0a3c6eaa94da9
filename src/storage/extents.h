/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * extents.h: where the blocks of a file are on the device below its file system (FIEMAP,
 * Documentation/filesystems/fiemap.rst). Two pieces of files at the same place are the same block.
 */
#ifndef STORAGE_EXTENTS_H
#define STORAGE_EXTENTS_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct extent {
    uint64_t start, end; /* in the file, bytes */
    uint64_t at;         /* on the device, bytes */
    bool zero;           /* allocated but never written: reads as zeros */
    bool unknown;        /* nobody says where it is */
    bool packed;         /* compressed: `at` is where all of it is, and not a byte of it can be told from another */
    bool shared;         /* with another file */
};

struct extents {
    struct extent *list; /* ascending */
    size_t n, cap;
};
#define AUTO_EXTENTS CLEANUP(extents_clear)
void extents_clear(struct extents *e);

/* All of the file open at fd; flush: what is only in the page cache is written first. */
int extents_read(int fd, bool flush, struct extents *ret, struct vmundo_error *err);

/* The extent at or behind offset, moving *i forward only; NULL: none. */
const struct extent *extents_seek(const struct extents *e, size_t *i, uint64_t offset);

/* Does e (from extents_seek for offset; may be NULL) have data at offset? */
bool extent_has_data(const struct extent *e, uint64_t offset);

/* Where e, or the hole before it, ends; size: of the file. */
uint64_t extent_limit(const struct extent *e, uint64_t offset, uint64_t size);

/* Both have data at offset: is it the same block? */
bool extent_is_same(const struct extent *a, const struct extent *b, uint64_t offset);

#endif
