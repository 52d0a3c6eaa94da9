/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lock.h: who may work on what. Locks are flock(2) on files in the state directory's locks/, so the kernel lets go of
 * them when their holder dies, however it dies; the file's content (verb and process) is for messages only. The file is
 * removed while the lock is still held, and whoever waited for it looks again whether it still has the right file.
 */
#ifndef CORE_LOCK_H
#define CORE_LOCK_H

#include "core/context.h"
#include "util/cleanup.h"

struct lock {
    int fd;
    int dirfd;               /* borrowed: locks/ stays open with it */
    char *name;
};
#define LOCK_INIT {.fd = -1, .dirfd = -1}
#define AUTO_LOCK CLEANUP(lock_release)

/* One operation per domain. Errors: VMUNDO_CONFLICT, naming the holder. */
int lock_domain(const struct vmundo *v, const char *name, const char *verb, struct lock *ret, struct vmundo_error *err);

/* An origin, by canonical path: shared for making a branch of it, exclusive for keep. */
int lock_origin(const struct vmundo *v, const char *origin, bool exclusive, struct lock *ret,
                struct vmundo_error *err);

/* One change of pools and volumes at a time. */
int lock_pools(const struct vmundo *v, const char *verb, struct lock *ret, struct vmundo_error *err);

void lock_release(struct lock *l);

/* Remove files that nobody holds: left over by processes that were killed. Adds to *count. */
int lock_sweep(const struct vmundo *v, unsigned *count, struct vmundo_error *err);

#endif
