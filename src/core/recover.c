/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recover.c: bring the state in line with what was meant and what is there. In this order: a damaged database is put
 * aside and rebuilt from the records beside it; unfinished operations are finished or undone; running instances that
 * lost their monitor get a new one; what belongs to nobody is removed. Each step finds nothing to do the second time.
 */
#include "core/guard.h"
#include "core/instance.h"
#include "core/operation.h"
#include "core/recorder.h"
#include "core/reserve.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <dirent.h>
#include <fcntl.h>

static void cleanup_vmundo(struct vmundo **v)
{
    vmundo_close(*v);
}

static int open_or_rebuild(struct vmundo *v, bool *ret_rebuilt, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    /* A moment in which it could not be read looks like damage: what is damaged is so the second time, too. */
    for (int i = 0; i < 2; i++) {
        store_close(v);
        e = (struct vmundo_error){0};
        if (store_open(v, &e) == 0 && store_check(v, &e) == 0)
            return 0;
        if (e.errnum != EUCLEAN) {
            if (err)
                *err = e;
            return -1;
        }
    }
    context_report(v, VMUNDO_EVENT_WARNING, NULL, e.msg);
    if (v->dry_run)
        return error_set(err, VMUNDO_FAILED, "the state database is damaged: recover without --dry-run rebuilds it");
    *ret_rebuilt = true;
    v->rebuilding = true;
    return store_put_aside(v, err) < 0 ? -1 : store_open(v, err);
}

/* One that is damaged is told of and left out; its files stay. */
static int import_checkpoint(struct vmundo *v, const char *name, int dir, const char *file, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    AUTO_CHECKPOINT struct checkpoint c = {0};
    struct vmundo_error e = {0};
    if (sys_read_file(dir, file, 4 << 20, &text, NULL, &e) == 0 && checkpoint_from_text(text, &c, &e) == 0 &&
        str_eq(c.record.name, name))
        return store_put_checkpoint(v, &c, err);
    AUTO_FREE char *told = str_printf(err, "checkpoints/%s is damaged: left as it is", file);
    context_report(v, VMUNDO_EVENT_WARNING, name, told);
    return 0;
}

/* The marks of a domain's checkpoints; *ret NULL: there is no folder of them. */
static int open_marks(const struct vmundo *v, const char *name, DIR **ret, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    int fd = -1;
    if (checkpoint_open_folder(v, name, false, &fd, &e) < 0)
        return e.errnum == ENOENT ? 0 : error_set(err, e.code, "%s", e.msg);
    if ((*ret = fdopendir(fd)))
        return 0;
    error_errno(err, errno, "cannot read the checkpoints of %s", name);
    close(fd);
    return -1;
}

static int import_checkpoints(struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_DIR DIR *d = NULL;
    const struct dirent *f;
    int r = 0;
    if (open_marks(v, name, &d, err) < 0)
        return -1;
    while (d && (r = sys_next_entry(d, &f, err)) > 0)
        if (str_has_suffix(f->d_name, ".json") && f->d_name[0] != '.' &&
            import_checkpoint(v, name, dirfd(d), f->d_name, err) < 0)
            return -1;
    return r;
}

/* The record does not follow what is recorded: the newest recorded checkpoint is what it descends from. */
static int catch_up(struct vmundo *v, struct record *r, struct vmundo_error *err)
{
    CLEANUP(store_rows_clear) struct store_rows rows = {0};
    if (store_rows(v, r->name, &rows, err) < 0)
        return -1;
    bool there = false;
    for (size_t i = 0; i < rows.n; i++) {
        if (rows.items[i].id > r->counter) {
            r->counter = rows.items[i].id;
            r->base = rows.items[i].recorded ? rows.items[i].id : r->base;
        }
        there = there || rows.items[i].id == r->base;
    }
    r->base = there ? r->base : 0; /* it was recorded, and went */
    return 0;
}

/* A folder with a record but no row: the row was lost with the database. */
static int import_record(struct vmundo *v, const char *name, int dir, unsigned *count, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    CLEANUP(record_clear) struct record r = {0};
    if (sys_read_file(dir, "record.json", 4 << 20, &text, NULL, NULL) < 0)
        return 0;
    if (record_from_text(text, &r, err) < 0 || !str_eq(r.name, name)) {
        context_report(v, VMUNDO_EVENT_WARNING, name, "its record.json is damaged: left as it is");
        return 0;
    }
    if (!v->dry_run && (import_checkpoints(v, name, err) < 0 || catch_up(v, &r, err) < 0))
        return -1;
    ++*count;
    AUTO_FREE char *told = str_printf(err, "%s: rebuilt from %s/domains/%s/record.json", name, v->state_dir, name);
    context_report(v, VMUNDO_EVENT_ACTION, name, told);
    return v->dry_run ? 0 : store_put(v, &r, err);
}

/* Interrupted before the end, it is done again from the beginning. */
static int import_records(struct vmundo *v, unsigned *count, struct vmundo_error *err)
{
    AUTO_STRV struct strv names = {0};
    if (store_records(v, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.n; i++) {
        AUTO_CLOSE int dir = -1;
        if (context_domain_dir(v, names.items[i], false, &dir, err) < 0 ||
            import_record(v, names.items[i], dir, count, err) < 0)
            return -1;
    }
    return store_rebuilt(v, err);
}

static int recover_operation(struct vmundo *v, struct store_operation *entry, unsigned *count, struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    AUTO_FREE char *told =
        str_printf(err, "%s the interrupted %s", entry->stage >= STAGE_SWITCH ? "finish" : "undo", entry->verb);
    struct vmundo_error busy = {0};
    if (!v->dry_run && lock_domain(v, entry->domain, "recover", &op.lock, &busy) < 0) {
        if (busy.code == VMUNDO_CONFLICT) /* not interrupted: it is under way */
            return 0;
        *err = busy;
        return -1;
    }
    ++*count;
    context_report(v, VMUNDO_EVENT_ACTION, entry->domain, told);
    if (v->dry_run)
        return 0;
    /* Between the query and the lock its owner may have finished it. */
    int64_t id = entry->id;
    AUTO_FREE char *name = str_printf(err, "%s", entry->domain);
    store_operation_clear(entry);
    if (!name || store_unfinished(v, name, id - 1, entry, err) < 0)
        return -1;
    if (entry->id != id) {
        --*count;
        return 0;
    }
    return operation_load(&op, v, entry, err) < 0 ? -1 : operation_recover(&op, err);
}

/* One that cannot be recovered does not keep the others from it. */
static int recover_operations(struct vmundo *v, unsigned *count, struct vmundo_error *err)
{
    struct vmundo_error first = {0};
    for (int64_t id = 0;;) {
        CLEANUP(store_operation_clear) struct store_operation entry = {0};
        struct vmundo_error e = {0};
        if (store_unfinished(v, NULL, id, &entry, err) < 0)
            return -1;
        if (entry.id == 0)
            break;
        id = entry.id;
        if (recover_operation(v, &entry, count, &e) < 0) {
            context_report(v, VMUNDO_EVENT_WARNING, NULL, e.msg);
            if (!first.code)
                first = e;
        }
    }
    if (first.code && err)
        *err = first;
    return first.code ? -1 : 0;
}

static int regard(struct vmundo *v, const struct record *r, unsigned *count, struct vmundo_error *err)
{
    bool missing = false;
    if (guard_is_missing(v, r, &missing, err) < 0)
        return -1;
    if (!missing)
        return 0;
    ++*count;
    context_report(v, VMUNDO_EVENT_ACTION, r->name, "start a new guard for the running domain");
    if (!v->dry_run)
        guard_spawn(v, r);
    return 0;
}

static void record_again(struct vmundo *v, const struct record *r, unsigned *count)
{
    if (!recorder_is_missing(v, r))
        return;
    ++*count;
    context_report(v, VMUNDO_EVENT_ACTION, r->name, "start a new recorder for the running domain");
    if (!v->dry_run)
        recorder_spawn(v, r);
}

static int rewatch(struct vmundo *v, const char *name, const char *text, unsigned *count, struct vmundo_error *err)
{
    CLEANUP(record_clear) struct record r = {0};
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    if (record_from_text(text, &r, err) < 0)
        return error_wrap(err, "%s", name);
    if (!r.running)
        return 0;
    if (instance_open(v, &r, &c, err) < 0 || hyper_state(&c.i, &s, err) < 0)
        return -1;
    if (s.power != HYPER_OFF && regard(v, &r, count, err) < 0)
        return -1;
    if (s.power != HYPER_OFF)
        record_again(v, &r, count);
    if (!s.unwatched || !c.i.driver->rewatch)
        return 0;
    ++*count;
    context_report(v, VMUNDO_EVENT_ACTION, name, "start a new monitor for the running domain");
    return v->dry_run ? 0 : hyper_rewatch(&c.i, err);
}

/* A reserve that was lost is made again, and one of a domain that is off goes. That there can be none is no failure. */
static void tend_reserve(struct vmundo *v, const char *name, struct lock *lock, unsigned *count)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    struct vmundo_error e = {0};
    bool changed = false;
    if (v->dry_run)
        return;
    op.v = v;
    op.verb = "reserve";
    op.name = name;
    op.lock = *lock;
    *lock = (struct lock)LOCK_INIT;
    op.before = calloc(1, sizeof(*op.before));
    if (!op.before || store_get_record(v, name, op.before, &e) < 0 || reserve_tend(&op, &changed, &e) < 0)
        context_report(v, VMUNDO_EVENT_WARNING, name, e.msg);
    *count += changed;
}

/* What was being written when somebody was killed, and not for an operation, which would be finished. */
static int sweep_marks(struct vmundo *v, const char *name, unsigned *count, struct vmundo_error *err)
{
    AUTO_DIR DIR *d = NULL;
    const struct dirent *f;
    int r = 0;
    if (open_marks(v, name, &d, err) < 0)
        return -1;
    while (d && (r = sys_next_entry(d, &f, err)) > 0) {
        if (f->d_name[0] != '.' || !str_has_suffix(f->d_name, ".tmp"))
            continue;
        ++*count;
        context_report(v, VMUNDO_EVENT_ACTION, name, "remove the half-written mark of a checkpoint");
        if (!v->dry_run && unlinkat(dirfd(d), f->d_name, 0) < 0)
            return error_errno(err, errno, "cannot remove %s of %s", f->d_name, name);
    }
    return r;
}

static int remove_folder(struct vmundo *v, const char *name, unsigned *count, struct vmundo_error *err)
{
    ++*count;
    context_report(v, VMUNDO_EVENT_ACTION, name, "remove its empty folder");
    if (v->dry_run)
        return 0;
    return context_remove_domain_dir(v, name, err);
}

/* Look after one folder of domains/, whose operations (if any) are recovered. */
static int tend(struct vmundo *v, const char *name, unsigned *count, struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    AUTO_FREE char *text = NULL;
    AUTO_CLOSE int dir = -1;
    CLEANUP(store_operation_clear) struct store_operation entry = {0};
    unsigned before = *count;
    struct vmundo_error e = {0};
    if (!v->dry_run && lock_domain(v, name, "recover", &lock, &e) < 0)
        return e.code == VMUNDO_CONFLICT ? 0 : error_set(err, e.code, "%s", e.msg);
    if (store_unfinished(v, name, 0, &entry, err) < 0 || store_get(v, name, &text, err) < 0)
        return -1;
    if (entry.id)
        return 0;
    if (text) {
        int r = rewatch(v, name, text, count, err) < 0 || sweep_marks(v, name, count, err) < 0 ? -1 : 0;
        tend_reserve(v, name, &lock, count);
        return r;
    }
    if (context_domain_dir(v, name, false, &dir, &e) < 0) /* dropped since we have read the names? */
        return e.errnum == ENOENT ? 0 : error_set(err, e.code, "%s", e.msg);
    if (import_record(v, name, dir, count, err) < 0)
        return -1;
    if (*count > before || faccessat(dir, "record.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    return remove_folder(v, name, count, err);
}

int vmundo_recover(const struct vmundo_options *options, unsigned *ret_done, struct vmundo_error *err)
{
    CLEANUP(cleanup_vmundo) struct vmundo *v = NULL;
    AUTO_STRV struct strv folders = {0};
    struct vmundo_error e = {0}, *errp = err ? err : &e;
    bool rebuilt = false;
    unsigned done = 0;
    if (context_open_dir(options, &v, errp) < 0)
        return -1;
    context_give_room(v);
    if (open_or_rebuild(v, &rebuilt, errp) < 0)
        return -1;
    if (rebuilt && import_records(v, &done, errp) < 0)
        return -1;
    int r = recover_operations(v, &done, errp);
    if (context_domain_folders(v, &folders, errp) < 0)
        return -1;
    for (size_t i = 0; i < folders.n; i++)
        if (tend(v, folders.items[i], &done, errp) < 0)
            r = -1;
    if (!v->dry_run && lock_sweep(v, &done, errp) < 0)
        return -1;
    if (r < 0)
        return -1;
    *ret_done = done + rebuilt;
    return 0;
}
