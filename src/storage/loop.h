/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop.h: files as block devices, loop(4).
 */
#ifndef STORAGE_LOOP_H
#define STORAGE_LOOP_H

#include "util/error.h"

#include <stdbool.h>
#include <sys/stat.h>

#define LOOP_NODE_SIZE 32

/* A loop device over the whole of the open file, with direct I/O where its file system has that. autoclear: it goes with
 * its last user; until then it lives as long as *ret_fd, which is the caller's. node gets its path. */
int loop_attach(int file, bool autoclear, char node[LOOP_NODE_SIZE], int *ret_fd, struct vmundo_error *err);

/* The loop device over the whole of this file, false: there is none. It stays as long as *ret_fd, which is the caller's;
 * ret_fd may be NULL. */
bool loop_find(const struct stat *file, char node[LOOP_NODE_SIZE], int *ret_fd);

/* Let go of the file; a device that is in use goes with its last user. */
int loop_detach(const char *node, struct vmundo_error *err);

/* Notice that the file has another size. */
int loop_update_size(const char *node, struct vmundo_error *err);

#endif
