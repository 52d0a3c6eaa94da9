/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* path.h: opening what a user names, where others may own what lies on the way. */
#ifndef UTIL_PATH_H
#define UTIL_PATH_H

#include "util/error.h"

#include <stdbool.h>
#include <sys/types.h>

/* The directory of our own beside an image. */
#define PATH_PRIVATE ".vmundo"

/* Root, we ourselves, and who became root to run us (sudo(8)): who can decide what we do anyway. */
bool path_is_trusted(uid_t uid);

/* Open what the absolute path names, with O_PATH. Links are followed, but a link of somebody else (path_is_trusted) leads only
 * to what is its owner's: or else whoever owns a directory could let us use any file, by putting a link in the place of an image.
 * A directory PATH_PRIVATE must be ours and closed to others. *ret is the caller's; what it names cannot be changed any more by
 * whoever changes the path. Errors: VMUNDO_REFUSED; errnum as open(2), ELOOP for
 * too many links. */
int path_open(const char *path, int *ret, struct vmundo_error *err);

/* The same, open for reading or writing. */
int path_open_file(const char *path, int flags, int *ret, struct vmundo_error *err);

/* Open it again for reading or writing, without going through its path. -1 and errno. */
int path_reopen(int fd, int flags);

#endif
