/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot.c: a checkpoint of a domain that may be running. What takes long is done before the pause (flushing what the
 * clones would have to flush) and what the guest does not have to wait for after it (making them durable); in between
 * it is held by somebody who lets it go when the time is up or when we are gone (hyper.h, hold).
 *
 * Branches that cannot be copied (STORAGE_ON_BRANCH) are left to the checkpoint, and in the pause the guest's disks move
 * on to new ones that rest on them. From then on the new ones are not to be lost, whatever happens: so undoing begins
 * with the question whether they have (snapshot_has_moved).
 */
#include "core/snapshot.h"

#include "core/instance.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <fcntl.h>
#include <time.h>

#define PAUSE_MS 10000u
#define FLUSH_ROUNDS 4
#define FLUSHED_US 20000
#define PAUSE_RAM_MS 600000u /* all of its RAM is written in the pause */
/* How long file systems may be frozen, beyond the time for which the guest may be paused. */
#define UNFREEZE_MS 10000u
#define MAX_FROZEN_MS 600000u

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void flush(const char *path)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        (void)fdatasync(fd);
}

/* A clone begins by flushing what it is made of: what is written by now need not be written in the pause. The guest
 * goes on writing meanwhile, and so it is done again until there is little left to do. */
void snapshot_flush(const struct record *r, bool with_ram)
{
    uint64_t took = UINT64_MAX;
    for (int round = 0; round < FLUSH_ROUNDS; round++) {
        uint64_t begun = now_us(), last = took;
        if (with_ram)
            flush(r->ram);
        for (size_t i = 0; i < r->n_branches; i++)
            if (r->branches[i].driver->flags & (STORAGE_SHARES_BLOCKS | STORAGE_ON_BRANCH))
                flush(r->branches[i].path);
        took = now_us() - begun;
        if (took < FLUSHED_US || took >= last) /* little is left, or it does not become less */
            return;
    }
}

static int copy_disks(struct operation *op, struct vmundo_error *err)
{
    struct checkpoint *c = &op->made;
    struct mark m = {.store = op->v->store_id, .domain = op->name, .generation = c->id};
    for (size_t i = 0; i < c->record.n_branches; i++)
        if (!record_has_branch(op->before, c->record.branches[i].path) &&
            storage_create_unsettled(&c->record.branches[i], &m, err) < 0)
            return -1;
    return 0;
}

/* ---- disks that move on --------------------------------------------------------------------------------------------- */

struct moves {
    struct hyper_move *items; /* vdevs are borrowed, paths and formats not */
    size_t n;
};

static void moves_clear(struct moves *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free((char *)(uintptr_t)m->items[i].path);
        free((char *)(uintptr_t)m->items[i].format);
    }
    free(m->items);
}

/* The disks whose branch only op->after has. */
static int find_moves(const struct operation *op, struct moves *ret, struct vmundo_error *err)
{
    const struct record *a = op->after;
    ret->items = calloc(a->n_disks + 1, sizeof(*ret->items));
    if (!ret->items)
        return error_nomem(err);
    for (size_t i = 0; i < a->n_disks; i++) {
        const struct record_disk *d = &a->disks[i];
        char *path = NULL, *format = NULL;
        bool block;
        if (d->branch < 0 || record_has_branch(op->before, a->branches[d->branch].path))
            continue;
        if (storage_locate(&a->branches[d->branch], d->inside, &path, &format, &block, err) < 0)
            return -1;
        ret->items[ret->n++] = (struct hyper_move){.vdev = d->vdev, .path = path, .format = format};
    }
    return 0;
}

static int move_disks(const struct operation *op, const struct instance *i, struct vmundo_error *err)
{
    CLEANUP(moves_clear) struct moves m = {0};
    if (find_moves(op, &m, err) < 0)
        return -1;
    return m.n ? hyper_move(i, m.items, m.n, err) : 0;
}

/* A domain that is off cannot be asked, but then what it had written to a disk that moved on stands there. */
static int find_touched(const struct operation *op, bool *ret, struct vmundo_error *err)
{
    *ret = false;
    for (size_t i = 0; i < op->after->n_branches && !*ret; i++) {
        const struct branch *b = &op->after->branches[i];
        bool untouched = true;
        if (!record_has_branch(op->before, b->path) && storage_untouched(b, &untouched, err) < 0)
            return -1;
        *ret = !untouched;
    }
    return 0;
}

int snapshot_has_moved(struct operation *op, bool *ret, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    CLEANUP(moves_clear) struct moves m = {0};
    *ret = false;
    if (!op->before || !op->after)
        return 0;
    if (find_moves(op, &m, err) < 0)
        return -1;
    if (!m.n)
        return 0;
    if (op->before->running && (instance_open(op->v, op->before, &c, err) < 0 || hyper_state(&c.i, &s, err) < 0))
        return -1;
    if (s.power != HYPER_OFF)
        return hyper_moved(&c.i, m.items, m.n, ret, err);
    return find_touched(op, ret, err);
}

/* ---- in the pause --------------------------------------------------------------------------------------------------- */

static int save_ram(struct operation *op, const struct instance *i, struct vmundo_error *err)
{
    struct checkpoint *c = &op->made;
    struct mark m = {.store = op->v->store_id, .domain = op->name, .generation = c->id};
    AUTO_CLOSE int folder = -1;
    struct instance marked = *i;
    if (!c->saved)
        return 0;
    AUTO_FREE char *of = mark_text(&m, err);
    marked.saved_of = of;
    if (!of || checkpoint_open_folder(op->v, op->name, true, &folder, err) < 0 ||
        hyper_save(&marked, c->saved, err) < 0)
        return -1;
    if (!i->ram)
        record_forget_ram(&c->record); /* it is in saved */
    return c->record.ram ? storage_ram_make(c->record.ram, op->before->ram, 0, &m, false, err) : 0;
}

static int settle_saved(struct operation *op, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(op->made.saved, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), folder = -1;
    if (fd < 0 || fsync(fd) < 0)
        return error_errno(err, errno, "cannot make %s durable", op->made.saved);
    if (checkpoint_open_folder(op->v, op->name, false, &folder, err) < 0)
        return -1;
    return sys_fsync_dir(folder) < 0 ? error_errno(err, errno, "cannot make the name of %s durable", op->made.saved)
                                     : 0;
}

/* What is not durable by now. */
static int settle(struct operation *op, struct vmundo_error *err)
{
    const struct checkpoint *c = &op->made;
    if (c->saved && settle_saved(op, err) < 0)
        return -1;
    if (c->record.ram && storage_ram_settle(c->record.ram, err) < 0)
        return -1;
    for (size_t i = 0; i < c->record.n_branches; i++)
        if (storage_settle(&c->record.branches[i], err) < 0)
            return -1;
    return 0;
}

/* The guest does not run while this is done. */
static int take(struct operation *op, const struct instance *i, struct vmundo_error *err)
{
    context_stage(op->v, op->name, stage_name(STAGE_SNAPSHOT));
    /* With HYPER_SAVE_PAUSES only the saving pauses the guest: it must come before the disks. */
    if (i->driver->flags & HYPER_SAVE_PAUSES)
        return save_ram(op, i, err) < 0 || copy_disks(op, err) < 0 ? -1 : move_disks(op, i, err);
    /* A QEMU that has saved its guest has given up its disks: so that comes last. */
    return copy_disks(op, err) < 0 || move_disks(op, i, err) < 0 ? -1 : save_ram(op, i, err);
}

static int take_held(struct operation *op, const struct instance *i, unsigned ms, struct vmundo_error *err)
{
    bool held = false;
    int fd = -1;
    context_stage(op->v, op->name, stage_name(STAGE_PAUSE));
    uint64_t begun = now_us();
    if (hyper_hold(i, ms, op->made.saved != NULL, &fd, err) < 0)
        return -1;
    int r = take(op, i, err);
    context_stage(op->v, op->name, stage_name(STAGE_RESUME));
    if (hyper_release(i->driver, fd, &held, r < 0 ? NULL : err) < 0)
        return -1;
    op->ret_paused_us = (unsigned)(now_us() - begun);
    if (r < 0)
        return -1;
    if (!held)
        return error_set(err, VMUNDO_FAILED,
                         "%s was let run before the checkpoint was complete (it may be paused for %u s)", op->name,
                         ms / 1000);
    return 0;
}

/* Flushing takes long, and is done before the guest's programs have to wait; then again for what the freezing wrote. */
static int take_running(struct operation *op, const struct instance *i, struct vmundo_error *err)
{
    bool all_ram = op->made.saved && !i->ram;
    unsigned ms = op->pause_ms ? op->pause_ms : all_ram ? PAUSE_RAM_MS : PAUSE_MS;
    unsigned frozen_ms = ms < MAX_FROZEN_MS - UNFREEZE_MS ? ms + UNFREEZE_MS : MAX_FROZEN_MS;
    struct quiesce q = QUIESCE_INIT;
    bool quiesced = quiesce_is_wanted(&op->quiesce);
    snapshot_flush(op->before, i->ram && op->made.record.ram);
    if (quiesced) {
        context_stage(op->v, op->name, stage_name(STAGE_QUIESCE));
        if (quiesce_begin(i, &op->quiesce, frozen_ms, &q, err) < 0)
            return -1;
        snapshot_flush(op->before, i->ram && op->made.record.ram);
    }
    int r = take_held(op, i, ms, err);
    if (quiesced) {
        context_stage(op->v, op->name, stage_name(STAGE_THAW));
        r = quiesce_end(i, &q, r < 0 ? NULL : err) < 0 ? -1 : r;
    }
    return r < 0 || settle(op, err) < 0 ? -1 : str_copy(quiesced ? "quiesced" : "paused", &op->made.consistency, err);
}

/* A second name is enough for what nobody writes to, and it lives as long as one of its names. */
static int share_saved(struct operation *op, struct vmundo_error *err)
{
    AUTO_CLOSE int folder = -1;
    const char *path = op->made.saved;
    if (checkpoint_open_folder(op->v, op->name, true, &folder, err) < 0)
        return -1;
    return link(op->from->saved, path) < 0 ? error_errno(err, errno, "cannot share %s", op->from->saved) : 0;
}

int snapshot_adopt(struct operation *op, struct vmundo_error *err)
{
    const struct record *r = &op->made.record;
    context_stage(op->v, op->name, stage_name(STAGE_SNAPSHOT));
    if (copy_disks(op, err) < 0 || (op->made.saved && share_saved(op, err) < 0) ||
        (r->ram && storage_ram_share(r->ram, op->from->record.ram, err) < 0))
        return -1;
    return settle(op, err);
}

int snapshot_take(struct operation *op, struct vmundo_error *err)
{
    AUTO_INSTANCE struct instance_ctx c = {0};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    free(op->made.consistency);
    op->made.consistency = NULL;
    if (op->before->running && (instance_open(op->v, op->before, &c, err) < 0 || hyper_state(&c.i, &s, err) < 0))
        return -1;
    if (s.power == HYPER_PAUSED && op->quiesce.freeze)
        return error_set(err, VMUNDO_CONFLICT, "%s is paused, and so its agent cannot answer: leave out --quiesce",
                         op->name);
    if (op->before->running && s.power != HYPER_OFF)
        return take_running(op, &c.i, err);
    if (op->made.saved)
        return error_set(err, VMUNDO_CONFLICT, "%s is off, and so has nothing in its RAM: leave out --ram", op->name);
    op->made.record.running = false;
    return copy_disks(op, err) < 0 || settle(op, err) < 0 ? -1 : str_copy("off", &op->made.consistency, err);
}
