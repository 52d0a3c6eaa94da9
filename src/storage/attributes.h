/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* attributes.h: giving a file all that belongs to another one besides its content. */
#ifndef STORAGE_ATTRIBUTES_H
#define STORAGE_ATTRIBUTES_H

#include <stdbool.h>

/* Give `to` the owner, mode, ACL, extended attributes, and inode flags (compression, no copy-on-write, project …) of
 * `from`, and take away extended attributes that `from` has not. Times stay: they belong to the content. Both are open
 * regular files. false, and errno: something could not be given, and `to` has some of it. */
bool attributes_copy(int from, int to);

/* The same for a file in another file system: without the flags, which mean something in their own only. */
bool attributes_copy_abroad(int from, int to);

#endif
