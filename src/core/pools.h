/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pools.h: pools and volumes, inside core. The state directory remembers in pools.json the pools that are files, because
 * after a reboot nothing else tells of them: an array of objects {name, kind, path, mount, making}. Volume groups on
 * disks are not in it, LVM knows them.
 */
#ifndef CORE_POOLS_H
#define CORE_POOLS_H

#include "core/context.h"
#include "core/lock.h"
#include "storage/pool.h"
#include "util/json.h"

#include <sys/stat.h>

struct pool_entry {
    const char *name;
    const char *kind;        /* "lvm", "xfs" */
    const char *path;        /* of the file or device */
    const char *mount;       /* NULL: it is not mounted anywhere */
    bool making;             /* begun and not finished */
};

/* The array, the caller's. One that is not there is empty. */
int pools_read(const struct vmundo *v, json_t **ret, struct vmundo_error *err);
/* The entry of that name, with strings that belong to pools. */
bool pools_find(const json_t *pools, const char *name, struct pool_entry *ret);
void pools_entry(const json_t *j, struct pool_entry *ret);
/* Put in or replace, and take out, durable. The caller has lock_pools(). */
int pools_put(const struct vmundo *v, const struct pool_entry *e, struct vmundo_error *err);
int pools_forget(const struct vmundo *v, const char *name, struct vmundo_error *err);

/* The lock, unless it is a dry run. */
int pools_lock(const struct vmundo *v, const char *verb, struct lock *ret, struct vmundo_error *err);

/* Steps that are reported as v's actions about `subject`, and taken unless it is a dry run. */
struct pool_report {
    const struct vmundo *v;
    const char *subject;
    struct steps steps;
};
void pool_report_init(struct pool_report *r, const struct vmundo *v, const char *subject);

/* The path with a directory that is free of links; the last part need not exist. The caller's. Errors: VMUNDO_USAGE,
 * VMUNDO_NOT_FOUND the directory. */
int pool_canonical(const char *path, char **ret, struct vmundo_error *err);

/* Is the device or file that `what` (of path) is an origin, or another disk, of a domain of this state directory?
 * VMUNDO_REFUSED names it. */
int pools_check_domains(struct vmundo *v, const char *path, const struct stat *what, struct vmundo_error *err);

#endif
