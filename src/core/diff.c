/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* diff.c: which parts of a domain's disks differ between two of its states. The drivers tell, from what the storage
 * knows of its own blocks. */
#include "core/checkpoint.h"
#include "core/instance.h"
#include "core/store.h"
#include "util/cleanup.h"

#define HOLD_MS 5000u

void vmundo_diff_free(struct vmundo_diff *d)
{
    for (size_t i = 0; d && i < d->n_disks; i++) {
        free(d->disks[i].vdev);
        free(d->disks[i].ranges);
    }
    if (d) {
        free(d->disks);
        *d = (struct vmundo_diff){0};
    }
}

static const struct branch *branch_of(const struct record *r, const char *vdev)
{
    for (size_t i = 0; i < r->n_disks; i++)
        if (str_eq(r->disks[i].vdev, vdev) && r->disks[i].branch >= 0)
            return &r->branches[r->disks[i].branch];
    return NULL;
}

static int copy_ranges(const struct ranges *from, struct vmundo_disk_diff *ret, struct vmundo_error *err)
{
    ret->ranges = calloc(from->n + 1, sizeof(*ret->ranges));
    if (!ret->ranges)
        return error_nomem(err);
    for (size_t i = 0; i < from->n; i++) {
        ret->ranges[i] = (struct vmundo_range){from->list[i].start, from->list[i].length};
        ret->bytes += from->list[i].length;
    }
    ret->n_ranges = from->n;
    return 0;
}

/* since NULL: the origin. */
static int compare_disk(const struct record *r, const struct record_disk *d, const struct record *since,
                        struct vmundo_disk_diff *ret, struct vmundo_error *err)
{
    AUTO_RANGES struct ranges ranges = {0};
    const struct branch *old = since ? branch_of(since, d->vdev) : NULL;
    if (since && !old)
        return error_set(err, VMUNDO_FAILED, "%s has no branch of %s there", r->name, d->vdev);
    if (storage_changes(&r->branches[d->branch], old, d->inside, &ranges, err) < 0)
        return error_wrap(err, "%s", d->vdev);
    return str_copy(d->vdev, &ret->vdev, err) < 0 ? -1 : copy_ranges(&ranges, ret, err);
}

/* label NULL: *ret stays as it is. */
static int find_state(struct vmundo *v, const char *name, const char *label, struct checkpoint *c,
                      const struct record **ret, struct vmundo_error *err)
{
    if (!label)
        return 0;
    if (store_get_checkpoint(v, name, label, c, err) < 0)
        return -1;
    *ret = &c->record;
    return 0;
}

/* What a running hypervisor knows of an overlay and has not written down, it writes when the guest is paused. */
static int settle(const struct vmundo *v, const struct record *r, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    bool moving = false, held;
    int fd;
    for (size_t i = 0; i < r->n_branches; i++)
        moving = moving || r->branches[i].driver->flags & STORAGE_ON_BRANCH;
    if (!moving || !r->running)
        return 0;
    if (instance_open(v, r, &c, err) < 0 || hyper_state(&c.i, &s, err) < 0)
        return -1;
    if (s.power == HYPER_OFF)
        return 0;
    return hyper_hold(&c.i, HOLD_MS, false, &fd, err) < 0 ? -1 : hyper_release(c.i.driver, fd, &held, err);
}

int vmundo_diff(struct vmundo *v, const char *name, const char *from, const char *to, struct vmundo_diff *ret,
                struct vmundo_error *err)
{
    CLEANUP(record_clear) struct record now = {0};
    AUTO_CHECKPOINT struct checkpoint first = {0}, second = {0};
    CLEANUP(vmundo_diff_free) struct vmundo_diff d = {0};
    const struct record *r = &now, *since = NULL;
    if (store_get_record(v, name, &now, err) < 0 || find_state(v, name, from, &first, &since, err) < 0 ||
        find_state(v, name, to, &second, &r, err) < 0 || (r == &now && settle(v, &now, err) < 0))
        return -1;
    d.disks = calloc(r->n_disks + 1, sizeof(*d.disks));
    if (!d.disks)
        return error_nomem(err);
    for (size_t i = 0; i < r->n_disks; i++) {
        if (r->disks[i].branch < 0)
            continue;
        if (compare_disk(r, &r->disks[i], since, &d.disks[d.n_disks++], err) < 0)
            return -1;
    }
    *ret = d;
    d = (struct vmundo_diff){0};
    return 0;
}
