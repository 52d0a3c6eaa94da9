/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* merge.c: see merge.h. One merge is two steps under the domain's lock: it is begun, and, when the hypervisor is done,
 * it takes effect. Both are the same call: storage says what there is to merge, the hypervisor whether that is done. */
#include "core/merge.h"

#include "core/instance.h"
#include "core/verbs.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <fcntl.h>

#define NOTE_FILE "merging"
#define LOOK_US 10000

bool merge_is_needed(const struct record *r)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (r->branches[i].driver->find_merge)
            return true;
    return false;
}

bool merge_is_possible(const struct record *r)
{
    return hyper_can_merge(hyper_find(r->hypervisor));
}

/* ---- that it is under way --------------------------------------------------------------------------------------- */

/* After a reboot it means nothing. */
static int note(const struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    return context_domain_dir(v, name, false, &dir, err) < 0 ? -1 : sys_put_file(dir, NOTE_FILE, "", 0, err);
}

static bool is_noted(const struct vmundo *v, const char *name)
{
    AUTO_CLOSE int dir = -1;
    return context_domain_dir(v, name, false, &dir, NULL) == 0 &&
           faccessat(dir, NOTE_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void forget(const struct vmundo *v, const char *name)
{
    AUTO_CLOSE int dir = -1;
    if (context_domain_dir(v, name, false, &dir, NULL) == 0)
        unlinkat(dir, NOTE_FILE, 0);
}

void merge_give_up(struct vmundo *v, const char *name)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(record_clear) struct record r = {0};
    struct vmundo_error e = {0};
    if (!is_noted(v, name))
        return;
    if (store_get_record(v, name, &r, NULL) == 0 && r.running && instance_open(v, &r, &c, &e) == 0)
        (void)hyper_unmerge(&c.i, &e);
    if (e.code && e.code != VMUNDO_CONFLICT)
        context_report(v, VMUNDO_EVENT_WARNING, name, e.msg);
    forget(v, name);
}

/* ---- one step --------------------------------------------------------------------------------------------------- */

enum step { STEP_NOTHING, STEP_BEGUN, STEP_DONE };

static int merge_disk(struct operation *op, const struct instance *i, const struct record_disk *d, enum step *ret,
                      struct vmundo_error *err)
{
    AUTO_MERGE struct merge m = {0};
    const struct branch *b = &op->before->branches[d->branch];
    bool done = false;
    if (storage_find_merge(b, &m, err) < 0)
        return -1;
    if (!m.base)
        return 0;
    const struct hyper_merge h = {
        .vdev = d->vdev, .chain = m.chain.items, .n = m.chain.n, .top = m.top, .base = m.base, .below = b->origin};
    if (note(op->v, op->name, err) < 0 || hyper_merge(i, &h, &done, err) < 0)
        return -1;
    *ret = done ? STEP_DONE : STEP_BEGUN;
    if (!done)
        return 0;
    forget(op->v, op->name);
    return storage_merged(b, &m, err);
}

static int step(struct vmundo *v, const char *name, enum step *ret, struct vmundo_error *err)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    *ret = STEP_NOTHING;
    if (verbs_begin(&op, v, STORE_RECORDING, name, err) < 0) /* a short time, for which others wait */
        return -1;
    if (!op.before->running || !merge_is_possible(op.before) || !merge_is_needed(op.before))
        return 0;
    if (instance_open(v, op.before, &c, err) < 0 || hyper_glance(&c.i, &s, err) < 0)
        return -1;
    for (size_t i = 0; s.power == HYPER_RUNNING && i < op.before->n_disks && *ret == STEP_NOTHING; i++)
        if (op.before->disks[i].branch >= 0 && merge_disk(&op, &c.i, &op.before->disks[i], ret, err) < 0)
            return -1;
    return 0;
}

/* *ret: the hypervisor has ended it, and not somebody who took the domain's lock meanwhile. */
static int wait_for(struct vmundo *v, const char *name, bool (*go_on)(const void *), const void *data, bool *ret,
                    struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(record_clear) struct record r = {0};
    bool busy = true;
    if (store_get_record(v, name, &r, err) < 0 || instance_open(v, &r, &c, err) < 0)
        return -1;
    while (busy && (!go_on || go_on(data))) {
        if (hyper_merging(&c.i, &busy, err) < 0)
            return -1;
        if (busy)
            usleep(LOOK_US);
    }
    *ret = !busy && is_noted(v, name);
    return 0;
}

static int merge_on(struct vmundo *v, const char *name, bool (*go_on)(const void *data), const void *data,
                    struct vmundo_error *err)
{
    bool begun = false, ended = true;
    while (ended && (!go_on || go_on(data))) {
        enum step s;
        if (step(v, name, &s, err) < 0)
            return -1;
        if (s == STEP_NOTHING)
            break;
        if (s == STEP_BEGUN && begun)
            return error_set(err, VMUNDO_FAILED,
                             "%s: QEMU could not merge what its disks rest on ('vmundo log', qemu.log)", name);
        begun = s == STEP_BEGUN;
        if (begun && wait_for(v, name, go_on, data, &ended, err) < 0)
            return -1;
    }
    return 0;
}

int merge_all(struct vmundo *v, const char *name, bool (*go_on)(const void *data), const void *data,
              struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    if (merge_on(v, name, go_on, data, err) == 0)
        return 0;
    if (is_noted(v, name) && lock_domain(v, name, STORE_RECORDING, &lock, NULL) == 0)
        merge_give_up(v, name);
    return -1;
}
