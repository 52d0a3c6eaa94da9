/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-dm.c: what the kernel's device-mapper says about a volume, asked by one ioctl instead of an lvm command, and the
 * meaning of its status lines (libdevmapper takes them apart).
 */
#include "storage/lvm.h"

#include <libdevmapper.h>
#include <sys/sysmacros.h>

#define SECTOR 512u

/* libdevmapper prints its complaints; a library that never prints has to stop it. */
__attribute__((format(printf, 5, 6))) static void silence(int level, const char *file, int line, int code,
                                                          const char *fmt, ...)
{
    (void)level;
    (void)file;
    (void)line;
    (void)code;
    (void)fmt;
}

static void cleanup_task(struct dm_task **t)
{
    if (*t)
        dm_task_destroy(*t);
}

static void cleanup_pool(struct dm_pool **p)
{
    if (*p)
        dm_pool_destroy(*p);
}

void lvm_dm_clear(struct lvm_dm *d)
{
    free(d->target);
    free(d->params);
    *d = (struct lvm_dm){0};
}

static int ask(struct dm_task *task, struct lvm_dm *ret, struct vmundo_error *err)
{
    struct dm_info info;
    uint64_t start = 0, length = 0;
    char *target = NULL, *params = NULL;
    if (!dm_task_run(task)) {
        int e = dm_task_get_errno(task);
        if (e == ENXIO || e == ENOENT) /* *ret stays as it is: it does not exist */
            return 0;
        return error_errno(err, e ? e : EIO, "cannot ask device-mapper (only root can)");
    }
    if (!dm_task_get_info(task, &info))
        return error_set(err, VMUNDO_FAILED, "device-mapper gave no answer");
    if (!info.exists)
        return 0;
    dm_get_next_target(task, NULL, &start, &length, &target, &params);
    if (str_copy(target ? target : "", &ret->target, err) < 0 || str_copy(params ? params : "", &ret->params, err) < 0)
        return -1;
    ret->exists = true;
    ret->suspended = info.suspended;
    ret->open_count = info.open_count;
    ret->dev = makedev(info.major, info.minor);
    ret->size = length * SECTOR;
    return 0;
}

int lvm_dm_look(const char *dm_name, enum lvm_dm_what what, struct lvm_dm *ret, struct vmundo_error *err)
{
    AUTO_LVM_DM struct lvm_dm d = {0};
    dm_log_with_errno_init(silence);
    CLEANUP(cleanup_task)
    struct dm_task *task = dm_task_create(what == LVM_DM_STATUS ? DM_DEVICE_STATUS : DM_DEVICE_TABLE);
    /* No flush: it would wait for a volume that is stuck because it is full. */
    if (!task || !dm_task_set_name(task, dm_name) || !dm_task_no_flush(task))
        return error_nomem(err);
    if (ask(task, &d, err) < 0)
        return error_wrap(err, "%s", dm_name);
    *ret = d;
    d = (struct lvm_dm){0};
    return 0;
}

int lvm_dm_message(const char *dm_name, const char *text, struct vmundo_error *err)
{
    dm_log_with_errno_init(silence);
    CLEANUP(cleanup_task) struct dm_task *task = dm_task_create(DM_DEVICE_TARGET_MSG);
    if (!task || !dm_task_set_name(task, dm_name) || !dm_task_set_sector(task, 0) || !dm_task_set_message(task, text))
        return error_nomem(err);
    if (dm_task_run(task))
        return 0;
    int e = dm_task_get_errno(task);
    return error_errno(err, e ? e : EIO, "device-mapper does not take the message %s for %s", text, dm_name);
}

/* ---- classic snapshots
 * ------------------------------------------------------------------------------------------------ */

int lvm_snapshot_status(const char *params, uint64_t full, struct branch_status *ret, struct vmundo_error *err)
{
    CLEANUP(cleanup_pool) struct dm_pool *mem = dm_pool_create("vmundo", 256);
    struct dm_status_snapshot *s = NULL;
    const char *health = "ok";
    dm_log_with_errno_init(silence);
    if (!mem || !dm_get_status_snapshot(mem, params, &s))
        return error_set(err, VMUNDO_FAILED, "the snapshot's state is \"%.80s\", which nobody can read", params);
    if (s->invalid)
        health = "invalid: it was full, and all that was changed in it is lost";
    else if (s->overflow)
        health = "overflow: it is full, and writes to it fail";
    else if (s->merge_failed)
        health = "merge failed: bringing it back into its origin ran into an error";
    bool lost = s->invalid || s->overflow;
    ret->lost = lost || s->merge_failed;
    ret->used = s->used_sectors * SECTOR;
    ret->limit = s->total_sectors * SECTOR;
    ret->fill = lost ? 1 : ret->limit ? (double)ret->used / (double)ret->limit : 0;
    ret->room = ret->limit > ret->used ? ret->limit - ret->used : 0;
    return str_copy(health, &ret->health, err) < 0
               ? -1
               : str_copy(lost || ret->limit < full ? "snapshot" : NULL, &ret->bound, err);
}

int lvm_merge_left(const char *params, uint64_t *ret, bool *ret_failed, struct vmundo_error *err)
{
    CLEANUP(cleanup_pool) struct dm_pool *mem = dm_pool_create("vmundo", 256);
    struct dm_status_snapshot *s = NULL;
    dm_log_with_errno_init(silence);
    if (!mem || !dm_get_status_snapshot(mem, params, &s))
        return error_set(err, VMUNDO_FAILED, "the merge's state is \"%.80s\", which nobody can read", params);
    *ret = s->used_sectors > s->metadata_sectors ? s->used_sectors - s->metadata_sectors : 0;
    *ret_failed = s->merge_failed || s->invalid;
    return 0;
}

/* ---- thin volumes
 * ------------------------------------------------------------------------------------------------------- */

static const char *pool_health(const struct dm_status_thin_pool *p)
{
    if (p->fail)
        return "failed: its pool has failed, lvconvert --repair it";
    if (p->needs_check)
        return "needs repair: its pool's metadata must be checked, lvconvert --repair it";
    if (p->out_of_data_space)
        return "full: its pool has no room for data, writes wait for a minute and then fail, until it is extended";
    if (p->read_only)
        return "read-only: its pool cannot be written to, its metadata may be full";
    return "ok";
}

/* A new block of data costs a block of metadata at the worst, and mostly much less. */
static void judge_pool(const struct dm_status_thin_pool *p, uint64_t size, struct branch_status *ret, bool *ret_data)
{
    double data = (double)p->used_data_blocks / (double)p->total_data_blocks;
    double metadata = (double)p->used_metadata_blocks / (double)p->total_metadata_blocks;
    *ret_data = data > metadata;
    ret->fill = data > metadata ? data : metadata;
    ret->room =
        (*ret_data ? p->total_data_blocks - p->used_data_blocks : p->total_metadata_blocks - p->used_metadata_blocks) *
        (size / p->total_data_blocks);
}

int lvm_thin_status(const char *params, const char *pool_params, uint64_t pool_size, struct branch_status *ret,
                    struct vmundo_error *err)
{
    CLEANUP(cleanup_pool) struct dm_pool *mem = dm_pool_create("vmundo", 256);
    struct dm_status_thin *t = NULL;
    struct dm_status_thin_pool *p = NULL;
    dm_log_with_errno_init(silence);
    if (!mem || !dm_get_status_thin(mem, params, &t) || (pool_params && !dm_get_status_thin_pool(mem, pool_params, &p)))
        return error_set(err, VMUNDO_FAILED, "the thin volume's state is \"%.80s\", which nobody can read", params);
    ret->used = t->mapped_sectors * SECTOR;
    ret->limit = 0;
    if (p && p->total_data_blocks && p->total_metadata_blocks) {
        bool data = false;
        judge_pool(p, pool_size, ret, &data);
        if (str_copy(data ? "thin data" : "thin metadata", &ret->bound, err) < 0)
            return -1;
    }
    ret->lost = t->fail || (p && (p->fail || p->needs_check || (p->read_only && !p->out_of_data_space)));
    return str_copy(p && !str_eq(pool_health(p), "ok") ? pool_health(p)
                    : t->fail                          ? "failed: the kernel refuses it"
                                                       : "ok",
                    &ret->health, err);
}

/* The table of a thin volume begins with its pool's number, "253:3 2". */
int lvm_pool_status(const char *thin_dm_name, struct lvm_dm *ret, struct vmundo_error *err)
{
    AUTO_LVM_DM struct lvm_dm thin = {0}, pool = {0};
    int maj, min;
    if (lvm_dm_look(thin_dm_name, LVM_DM_TABLE, &thin, err) < 0)
        return -1;
    if (!thin.exists || sscanf(thin.params, "%d:%d", &maj, &min) != 2)
        return 0;
    CLEANUP(cleanup_task) struct dm_task *task = dm_task_create(DM_DEVICE_STATUS);
    if (!task || !dm_task_set_major(task, maj) || !dm_task_set_minor(task, min) || !dm_task_no_flush(task))
        return error_nomem(err);
    if (ask(task, &pool, err) < 0)
        return -1;
    *ret = pool;
    pool = (struct lvm_dm){0};
    return 0;
}
