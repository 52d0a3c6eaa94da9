/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * checkpoint.c: checkpoints as values, their names, and their removal. Making one is the engine's work (snapshot.c).
 */
#include "core/checkpoint.h"

#include "core/plan.h"
#include "hyper/hyper.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/sys.h"

#include <fcntl.h>
#include <inttypes.h>

#define FOLDER "checkpoints"

void checkpoint_clear(struct checkpoint *c)
{
    free(c->label);
    free(c->consistency);
    free(c->saved);
    record_clear(&c->record);
    *c = (struct checkpoint){0};
}

void checkpoints_clear(struct checkpoints *c)
{
    for (size_t i = 0; i < c->n; i++)
        checkpoint_clear(&c->items[i]);
    free(c->items);
    *c = (struct checkpoints){0};
}

int checkpoint_to_text(const struct checkpoint *c, char **ret, struct vmundo_error *err)
{
    AUTO_FREE char *record = NULL;
    if (record_to_text(&c->record, &record, err) < 0)
        return -1;
    AUTO_JSON json_t *o =
        json_pack("{sI sI ss* sI sb sb ss ss* ss}", "id", (json_int_t)c->id, "parent", (json_int_t)c->parent, "label",
                  c->label, "created_ms", (json_int_t)c->created_ms, "pinned", c->pinned, "recorded", c->recorded,
                  "consistency", c->consistency, "saved", c->saved, "record", record);
    if (!o)
        return error_nomem(err);
    char *text = json_text(o, err);
    if (!text)
        return -1;
    *ret = text;
    return 0;
}

int checkpoint_from_text(const char *text, struct checkpoint *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    AUTO_CHECKPOINT struct checkpoint c = {0};
    AUTO_FREE char *record = NULL;
    uint64_t created;
    if (json_parse(text, "the checkpoint's record", &o, err) < 0 || json_get_u64(o, "id", &c.id, err) < 0 ||
        json_get_u64(o, "parent", &c.parent, err) < 0 || json_opt_string(o, "label", &c.label, err) < 0 ||
        json_get_u64(o, "created_ms", &created, err) < 0 ||
        json_get_string(o, "consistency", &c.consistency, err) < 0 || json_opt_string(o, "saved", &c.saved, err) < 0 ||
        json_get_string(o, "record", &record, err) < 0 || record_from_text(record, &c.record, err) < 0)
        return -1;
    c.created_ms = (int64_t)created;
    c.pinned = json_opt_bool(o, "pinned", false);
    c.recorded = json_opt_bool(o, "recorded", false);
    *ret = c;
    c = (struct checkpoint){0};
    return 0;
}

const char *checkpoint_name(const struct checkpoint *c)
{
    return c->label ? c->label : c->recorded ? "(recorded)" : "left by the rollback before";
}

/* ---- making one up --------------------------------------------------------------------------------------------------
 */

static bool is_moving(const struct branch *b)
{
    return b->driver->flags & STORAGE_ON_BRANCH;
}

static bool can_branch(const struct branch *b)
{
    return b->driver->flags & (STORAGE_FROM_BRANCH | STORAGE_ON_BRANCH);
}

bool record_can_branch(const struct record *r)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (!can_branch(&r->branches[i]))
            return false;
    return r->n_branches > 0;
}

static int check_depth(const struct branch *b, struct vmundo_error *err)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    if (!is_moving(b))
        return 0;
    if (storage_inspect(b, &s, err) < 0)
        return -1;
    if (s.depth + 1 < STORAGE_MAX_DEPTH)
        return 0;
    return error_set(
        err, VMUNDO_REFUSED,
        "its branch of %s rests on %u others, one on the other, and more would make reading slow: 'vmundo "
        "prune' while it runs under QEMU merges those that go, 'vmundo rollback' to an older checkpoint or the "
        "origin starts from fewer, 'vmundo keep' makes their changes permanent; with the image on XFS or btrfs, "
        "or on a thin volume, there is no such limit",
        b->origin, s.depth);
}

static int check_branches(const struct record *r, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (check_depth(&r->branches[i], err) < 0)
            return error_wrap(err, "%s", r->name);
    for (size_t i = 0; i < r->n_branches; i++)
        if (!can_branch(&r->branches[i]))
            return error_set(err, VMUNDO_REFUSED,
                             "%s is on a branch of driver %s, which can have no branches of its own: with its disks on "
                             "XFS or btrfs, or on thin volumes, there are checkpoints and forks",
                             r->name, r->branches[i].driver->name);
    const struct hyper_driver *h = hyper_find(r->hypervisor);
    for (size_t i = 0; i < r->n_branches && r->running && !(h && h->move); i++)
        if (is_moving(&r->branches[i]))
            return error_set(err, VMUNDO_REFUSED,
                             "with the hypervisor driver %s the %s branch of %s cannot be left to a checkpoint while %s "
                             "runs: 'vmundo stop %s' first",
                             r->hypervisor, r->branches[i].driver->name, r->branches[i].origin, r->name, r->name);
    for (size_t i = 0; i < r->n_disks; i++)
        if (record_disk_is_unprotected(&r->disks[i]))
            return error_set(err, VMUNDO_REFUSED, "%s writes to the origin of %s itself: that cannot be gone back to",
                             r->name, r->disks[i].vdev);
    return r->n_branches ? 0 : error_set(err, VMUNDO_REFUSED, "%s has no disk on a branch", r->name);
}

/* Its branches are to be made of those that it has. */
static void base_on_own(struct record *r)
{
    for (size_t i = 0; i < r->n_branches; i++) {
        struct branch *b = &r->branches[i];
        free(b->base);
        b->base = TAKE(b->path);
    }
}

static char *file_of(const struct vmundo *v, const char *domain, uint64_t id, const char *suffix,
                     struct vmundo_error *err)
{
    return str_printf(err, "%s/domains/%s/" FOLDER "/%" PRIu64 "%s", v->state_dir, domain, id, suffix);
}

static int plan_ram(const struct vmundo *v, struct checkpoint *c, struct vmundo_error *err)
{
    struct record *r = &c->record;
    const struct hyper_driver *h = hyper_find(r->hypervisor);
    if (!h || !h->save)
        return error_set(err, VMUNDO_REFUSED, "the hypervisor driver %s cannot save a guest's RAM: leave out --ram",
                         r->hypervisor);
    if (!r->running)
        return error_set(err, VMUNDO_CONFLICT, "%s is off, and so has nothing in its RAM: leave out --ram", r->name);
    c->saved = file_of(v, r->name, c->id, ".saved", err);
    return c->saved ? 0 : -1;
}

/* Branch i starts from what it was. */
static int branch_again(const struct vmundo *v, struct record *r, size_t i, uint64_t generation,
                        struct vmundo_error *err)
{
    struct branch *b = &r->branches[i];
    free(b->base);
    b->base = TAKE(b->path);
    return plan_name_branch(v, r, i, generation, err);
}

int checkpoint_move_on(const struct vmundo *v, const struct checkpoint *c, struct record *r, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (is_moving(&r->branches[i]) && branch_again(v, r, i, c->id, err) < 0)
            return -1;
    return 0;
}

int checkpoint_plan(const struct vmundo *v, const struct record *r, const char *label, bool ram, struct checkpoint *ret,
                    struct vmundo_error *err)
{
    AUTO_CHECKPOINT struct checkpoint c = {0};
    AUTO_FREE char *name = label ? str_printf(err, "%s", label) : str_printf(err, "cp-%" PRIu64, r->counter + 1);
    if (!name || check_branches(r, err) < 0 || record_copy(r, &c.record, err) < 0)
        return -1;
    c.id = c.record.generation = c.record.counter = r->counter + 1;
    c.parent = r->base;
    c.label = TAKE(name);
    c.created_ms = sys_realtime_ms();
    if (str_copy("off", &c.consistency, err) < 0)
        return -1;
    for (size_t i = 0; i < c.record.n_branches; i++)
        if (!is_moving(&c.record.branches[i]) && branch_again(v, &c.record, i, c.id, err) < 0)
            return -1;
    if (ram && plan_ram(v, &c, err) < 0)
        return -1;
    record_forget_ram(&c.record);
    record_forget_reserve(&c.record);
    if (ram && r->ram && record_plan_ram(v->store_id, &c.record, c.id, err) < 0)
        return -1;
    *ret = c;
    c = (struct checkpoint){0};
    return 0;
}

int checkpoint_of_leftover(const struct record *r, struct checkpoint *ret, struct vmundo_error *err)
{
    AUTO_CHECKPOINT struct checkpoint c = {.id = r->generation, .parent = r->base, .created_ms = sys_realtime_ms()};
    if (record_copy(r, &c.record, err) < 0 || str_copy(r->running ? "crash" : "off", &c.consistency, err) < 0)
        return -1;
    record_forget_ram(&c.record);
    record_forget_reserve(&c.record);
    *ret = c;
    c = (struct checkpoint){0};
    return 0;
}

/* Shared with from's, read-only, and so with that of all that are forked from it. */
static int plan_shared_ram(const struct vmundo *v, struct checkpoint *c, struct vmundo_error *err)
{
    struct record *r = &c->record;
    if (record_plan_ram(v->store_id, r, c->id, err) < 0)
        return -1;
    if (!r->ram)
        return error_set(err, VMUNDO_REFUSED, "there is no place for the RAM of %s beside its disks", r->name);
    r->ram_private = true;
    return 0;
}

int checkpoint_check_fork(const struct record *r, struct vmundo_error *err)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (!(r->branches[i].driver->flags & (STORAGE_FROM_BRANCH | STORAGE_ON_BRANCH)))
            return error_set(err, VMUNDO_REFUSED,
                             "a branch of driver %s can have no branches of its own, and so no fork: with its disks on "
                             "any file system, or on thin volumes, there are forks",
                             r->branches[i].driver->name);
    return check_branches(r, err);
}

int checkpoint_plan_fork(const struct vmundo *v, const struct checkpoint *from, bool ram, struct checkpoint *ret,
                         struct vmundo_error *err)
{
    struct record *r = &ret->record;
    if (checkpoint_check_fork(r, err) < 0)
        return -1;
    ret->id = r->generation = r->counter = r->home = 1;
    ret->created_ms = sys_realtime_ms();
    r->created_ms = ret->created_ms;
    r->base = r->instance = 0;
    record_forget_reserve(r);
    r->keep_reserve = false;
    r->every_ms = r->keep_ms = r->keep_bytes = 0; /* it is not recorded because its parent is */
    r->disks_only = false;
    r->running = true;
    record_forget_ram(r);
    if (str_copy("fork", &ret->label, err) < 0 || str_copy(from->consistency, &ret->consistency, err) < 0)
        return -1;
    base_on_own(r);
    if (plan_name_branches(v, r, err) < 0)
        return -1;
    if (!ram || !from->saved)
        return 0;
    const struct record *theirs = &from->record;
    r->ram_at = theirs->ram_of ? theirs->ram_at : from->id;
    ret->saved = file_of(v, r->name, ret->id, ".saved", err);
    if (!ret->saved || str_copy(theirs->ram_of ? theirs->ram_of : theirs->name, &r->ram_of, err) < 0)
        return -1;
    return theirs->ram ? plan_shared_ram(v, ret, err) : 0;
}

/* ---- going back -----------------------------------------------------------------------------------------------------
 */

int checkpoint_apply(const struct checkpoint *c, bool ram, struct record *r, struct vmundo_error *err)
{
    const struct record *then = &c->record;
    struct record now = {0};
    if (record_copy(then, &now, err) < 0)
        return -1;
    now.generation = r->generation;
    now.counter = r->counter;
    now.instance = r->instance;
    now.created_ms = r->created_ms;
    now.base = c->id;
    now.keep_reserve = r->keep_reserve;
    record_forget_reserve(&now);
    base_on_own(&now);
    now.every_ms = r->every_ms; /* recording is of the domain, not of a state of it */
    now.keep_ms = r->keep_ms;
    now.keep_bytes = r->keep_bytes;
    now.disks_only = r->disks_only;
    record_forget_ram(&now);
    record_clear(r);
    *r = now;
    if (!ram || !c->saved)
        return 0;
    r->ram_private = then->ram && then->ram_private;
    r->ram_at = then->ram_at;
    return str_copy(c->saved, &r->saved, err) < 0 || str_copy(then->ram_of, &r->ram_of, err) < 0
               ? -1
               : str_copy(then->ram, &r->ram_base, err);
}

/* ---- removal and marks ----------------------------------------------------------------------------------------------
 */

int checkpoint_open_folder(const struct vmundo *v, const char *domain, bool create, int *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    if (context_domain_dir(v, domain, create, &dir, err) < 0)
        return -1;
    if (create)
        return sys_ensure_dir(dir, FOLDER, 0700, ret, err);
    *ret = openat(dir, FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *ret < 0 ? error_errno(err, errno, "cannot open %s of %s", FOLDER, domain) : 0;
}

static int remove_files(const struct vmundo *v, const struct checkpoint *c, bool durable, struct vmundo_error *err)
{
    static const char *const suffixes[] = {"saved", "json"};
    AUTO_CLOSE int dir = -1;
    struct vmundo_error e = {0};
    if (checkpoint_open_folder(v, c->record.name, false, &dir, &e) < 0)
        return e.errnum == ENOENT ? 0 : error_set(err, e.code, "%s", e.msg);
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        char name[64];
        snprintf(name, sizeof(name), "%" PRIu64 ".%s", c->id, suffixes[i]);
        if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
            return error_errno(err, errno, "cannot remove %s of %s", name, c->record.name);
    }
    if (durable && sys_fsync_dir(dir) < 0)
        return error_errno(err, errno, "cannot flush %s of %s", FOLDER, c->record.name);
    AUTO_CLOSE int domain = -1;
    if (context_domain_dir(v, c->record.name, false, &domain, err) < 0)
        return -1;
    if (unlinkat(domain, FOLDER, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT)
        return error_errno(err, errno, "cannot remove %s of %s", FOLDER, c->record.name);
    return 0;
}

int checkpoint_remove(const struct vmundo *v, const struct checkpoint *c, const struct record *stays, bool durable,
                      struct vmundo_error *err)
{
    const struct record *r = &c->record;
    for (size_t i = 0; i < r->n_branches; i++)
        if (!record_has_branch(stays, r->branches[i].path) && storage_remove(&r->branches[i], err) < 0)
            return -1;
    if (r->ram && !(stays && str_eq(stays->ram, r->ram)) && storage_ram_remove(r->ram, err) < 0)
        return -1;
    return remove_files(v, c, durable, err);
}

int checkpoint_write_mark(const struct vmundo *v, const struct checkpoint *c, bool durable, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    AUTO_FREE char *text = NULL;
    char name[64];
    snprintf(name, sizeof(name), "%" PRIu64 ".json", c->id);
    if (checkpoint_to_text(c, &text, err) < 0 || checkpoint_open_folder(v, c->record.name, true, &dir, err) < 0)
        return -1;
    return durable ? sys_write_file(dir, name, text, strlen(text), err)
                   : sys_put_file(dir, name, text, strlen(text), err);
}
