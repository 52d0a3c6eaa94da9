/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * storage.c: the table of drivers, and the one way to them.
 *
 * The checked calls answer for all drivers what would otherwise be asked in each: a callback that is missing becomes a
 * refusal (or, where there is nothing to do, success), a driver that breaks the contract is told off instead of
 * believed, and errors say which branch they are about.
 */
#include "storage/drivers.h"

/* In the planner's order of preference: the first that can serve a disk does. */
/* clang-format off */
static const struct storage_driver *const drivers[] = {
    &storage_reflink,
#ifdef HAVE_LVM
    &storage_lvm_thin,
    &storage_lvm,
#endif
    &storage_qcow2,
    &storage_null,
    NULL,
};
/* clang-format on */

const struct storage_driver *const *storage_drivers(void)
{
    return drivers;
}

const struct storage_driver *storage_find(const char *name)
{
    for (size_t i = 0; drivers[i]; i++)
        if (str_eq(drivers[i]->name, name))
            return drivers[i];
    return NULL;
}

/* ---- choosing --------------------------------------------------------------------------------------------------- */

/* The driver's claim, with the promises of struct claim checked. */
static int ask(const struct storage_driver *d, const struct stack *s, const char *format, struct claim *ret,
               struct vmundo_error *err)
{
    CLEANUP(claim_clear) struct claim c = {0};
    if (s->unmounted && !(d->flags & STORAGE_UNMOUNTED))
        return (ret->why = str_printf(err, "%s is not mounted at %s", s->fs_source, s->mount_point)) ? 0 : -1;
    if (d->claim(s, format, &c, err) < 0)
        return error_wrap(err, "%s: driver %s", s->target, d->name);
    if (!c.why || (c.possible && (!c.cost || !c.volume)))
        return error_set(err, VMUNDO_FAILED, "%s: driver %s gave half an answer", s->target, d->name);
    *ret = c;
    c = (struct claim){0};
    return 0;
}

static int choose_named(const struct stack *s, const char *format, const char *method,
                        const struct storage_driver **ret_driver, struct claim *ret, struct vmundo_error *err)
{
    CLEANUP(claim_clear) struct claim c = {0};
    const struct storage_driver *d = storage_find(method);
    if (!d) {
        AUTO_FREE char *names = NULL;
        for (size_t i = 0; drivers[i]; i++) {
            char *more = str_printf(err, "%s%s%s", names ? names : "", names ? ", " : "", drivers[i]->name);
            free(names);
            if (!(names = more))
                return -1;
        }
        return error_set(err, VMUNDO_USAGE, "there is no method %s: the methods are %s", method, names);
    }
    if (ask(d, s, format, &c, err) < 0)
        return -1;
    if (!c.possible)
        return error_set(err, VMUNDO_REFUSED, "%s: method %s cannot serve it: %s", s->target, method, c.why);
    *ret_driver = d;
    *ret = c;
    c = (struct claim){0};
    return 0;
}

int storage_choose(const struct stack *s, const char *format, const char *method,
                   const struct storage_driver **ret_driver, struct claim *ret, struct vmundo_error *err)
{
    if (method)
        return choose_named(s, format, method, ret_driver, ret, err);
    AUTO_FREE char *reasons = NULL;
    for (size_t i = 0; drivers[i]; i++) {
        CLEANUP(claim_clear) struct claim c = {0};
        if (drivers[i]->flags & STORAGE_NEVER_IMPLICIT)
            continue;
        if (ask(drivers[i], s, format, &c, err) < 0)
            return -1;
        if (c.possible) {
            *ret_driver = drivers[i];
            *ret = c;
            c = (struct claim){0};
            return 0;
        }
        char *more =
            str_printf(err, "%s%s%s: %s", reasons ? reasons : "", reasons ? "; " : "", drivers[i]->name, c.why);
        free(reasons);
        if (!(reasons = more))
            return -1;
    }
    return error_set(err, VMUNDO_REFUSED, "%s: nothing can protect this disk (%s)", s->target, reasons);
}

/* ---- checked calls ---------------------------------------------------------------------------------------------- */

static int cannot(const struct branch *b, const char *what, struct vmundo_error *err)
{
    return error_set(err, VMUNDO_REFUSED, "%s: driver %s cannot %s", b->origin, b->driver->name, what);
}

static int broken(const struct branch *b, const char *what, struct vmundo_error *err)
{
    return error_set(err, VMUNDO_FAILED, "%s: driver %s broke its contract: %s", b->origin, b->driver->name, what);
}

int storage_name(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err)
{
    if (!b->driver->name_branch)
        return cannot(b, "make branches", err);
    if (b->base && !(b->driver->flags & (STORAGE_FROM_BRANCH | STORAGE_ON_BRANCH)))
        return cannot(b, "make branches of branches", err);
    if (b->base && !b->fingerprint)
        return broken(b, "no fingerprint of what it starts from", err);
    if (b->driver->name_branch(b, m, state_dir, err) < 0)
        return error_wrap(err, "cannot name a branch of %s", b->origin);
    if (!b->path || b->path[0] != '/')
        return broken(b, "a branch without an absolute path", err);
    AUTO_JSON json_t *j = branch_to_json(b);
    return j ? 0
             : error_set(err, VMUNDO_REFUSED, "%s: its name is not UTF-8 and cannot be recorded: rename it", b->origin);
}

int storage_preflight(const struct branch *b, struct vmundo_error *err)
{
    return b->driver->preflight ? b->driver->preflight(b, err) : 0;
}

int storage_preflight_replacing(const struct branch *b, const struct branch *gone, struct vmundo_error *err)
{
    return b->driver->preflight_replacing ? b->driver->preflight_replacing(b, gone, err) : storage_preflight(b, err);
}

int storage_create(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    if (!b->driver->create)
        return cannot(b, "make branches", err);
    if (b->driver->create(b, m, err) < 0)
        return error_wrap(err, "cannot make a branch of %s", b->origin);
    return b->fingerprint ? 0 : broken(b, "a branch without a fingerprint", err);
}

int storage_refill(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    if (!b->driver->refill || !b->base)
        return cannot(b, "fill a branch anew", err);
    return b->driver->refill(b, m, err) < 0 ? error_wrap(err, "cannot fill the branch %s", b->path) : 0;
}

int storage_recall(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    if (!b->driver->recall)
        return cannot(b, "find a branch made earlier", err);
    return b->driver->recall(b, m, err) < 0 ? error_wrap(err, "cannot use the branch %s", b->path) : 0;
}

int storage_create_unsettled(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    if (!b->driver->create_unsettled)
        return storage_create(b, m, err);
    if (b->driver->create_unsettled(b, m, err) < 0)
        return error_wrap(err, "cannot make a branch of %s", b->origin);
    return b->fingerprint ? 0 : broken(b, "a branch without a fingerprint", err);
}

int storage_settle(const struct branch *b, struct vmundo_error *err)
{
    if (b->driver->settle && b->driver->settle(b, err) < 0)
        return error_wrap(err, "cannot make the branch %s durable", b->path);
    return 0;
}

int storage_attach(const struct branch *b, struct vmundo_error *err)
{
    if (b->driver->attach && b->driver->attach(b, err) < 0)
        return error_wrap(err, "cannot attach the branch %s", b->path);
    return 0;
}

int storage_detach(const struct branch *b, struct vmundo_error *err)
{
    if (b->driver->detach && b->driver->detach(b, err) < 0)
        return error_wrap(err, "cannot detach the branch %s", b->path);
    return 0;
}

int storage_locate(const struct branch *b, const char *inside, char **ret_path, char **ret_format, bool *ret_block,
                   struct vmundo_error *err)
{
    if (b->driver->locate)
        return b->driver->locate(b, inside, ret_path, ret_format, ret_block, err);
    if (inside)
        return cannot(b, "hold images in a volume", err);
    AUTO_FREE char *path = NULL;
    if (str_copy(b->path, &path, err) < 0 || str_copy(b->format, ret_format, err) < 0)
        return -1;
    *ret_path = TAKE(path);
    *ret_block = false;
    return 0;
}

int storage_remove(const struct branch *b, struct vmundo_error *err)
{
    if (!b->driver->remove)
        return cannot(b, "remove branches", err);
    return b->driver->remove(b, err) < 0 ? error_wrap(err, "cannot remove the branch %s", b->path) : 0;
}

int storage_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    if (!b->driver->inspect)
        return cannot(b, "tell how its branches are", err);
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    if (b->driver->inspect(b, &s, err) < 0)
        return error_wrap(err, "cannot look at the branch %s", b->path);
    if (!s.health)
        return broken(b, "a state without health", err);
    *ret = s;
    s = (struct branch_status){0};
    return 0;
}

int storage_untouched(const struct branch *b, bool *ret, struct vmundo_error *err)
{
    if (!b->driver->untouched)
        return cannot(b, "tell whether anything was written", err);
    return b->driver->untouched(b, ret, err) < 0 ? error_wrap(err, "cannot look at the branch %s", b->path) : 0;
}

void merge_clear(struct merge *m)
{
    strv_clear(&m->chain);
    *m = (struct merge){0};
}

int storage_find_merge(const struct branch *b, struct merge *ret, struct vmundo_error *err)
{
    *ret = (struct merge){0};
    if (!b->driver->find_merge)
        return 0;
    return b->driver->find_merge(b, ret, err) < 0 ? error_wrap(err, "cannot look what %s rests on", b->path) : 0;
}

int storage_merged(const struct branch *b, const struct merge *m, struct vmundo_error *err)
{
    if (!b->driver->merged)
        return cannot(b, "merge branches", err);
    return b->driver->merged(m, err) < 0
               ? error_wrap(err, "cannot put the merged %s in its place", m->chain.items[m->top])
               : 0;
}

int storage_glance(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    if (b->driver->glance && b->driver->glance(b, &s, err) < 0)
        return error_wrap(err, "cannot look at the branch %s", b->path);
    *ret = s;
    s = (struct branch_status){0};
    return 0;
}

int storage_extend(const struct branch *b, uint64_t want, struct vmundo_error *err)
{
    if (!b->driver->extend)
        return cannot(b, "make a branch larger", err);
    return b->driver->extend(b, want, err) < 0 ? error_wrap(err, "cannot make the branch %s larger", b->path) : 0;
}

int storage_changed(const struct branch *b, bool *ret, char **ret_what, struct vmundo_error *err)
{
    if (!b->driver->changed || !b->fingerprint)
        return cannot(b, "tell whether it has changed", err);
    return b->driver->changed(b, ret, ret_what, err) < 0 ? error_wrap(err, "cannot tell whether %s changed", b->origin)
                                                         : 0;
}

int storage_changes(const struct branch *b, const struct branch *since, const char *inside, struct ranges *ret,
                    struct vmundo_error *err)
{
    AUTO_RANGES struct ranges r = {0};
    if (!b->driver->changes)
        return cannot(b, "tell which blocks have changed", err);
    if (since && (since->driver != b->driver || !str_eq(since->origin, b->origin)))
        return error_set(err, VMUNDO_REFUSED, "%s and %s are not branches of one origin", b->path, since->path);
    if (b->driver->changes(b, since, inside, &r, err) < 0)
        return error_wrap(err, "cannot tell what has changed in %s", b->path);
    *ret = r;
    r = (struct ranges){0};
    return 0;
}

int storage_keep_check(const struct branch *b, struct vmundo_error *err)
{
    if (!b->driver->keep)
        return cannot(b, "keep a branch", err);
    return b->driver->keep_check ? b->driver->keep_check(b, err) : 0;
}

int storage_keep(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    if (!b->driver->keep)
        return cannot(b, "keep a branch", err);
    return b->driver->keep(b, p, err) < 0 ? error_wrap(err, "cannot keep the changes to %s", b->origin) : 0;
}

/* ---- branches as text ------------------------------------------------------------------------------------------- */

static json_t *strings_to_json(const struct strv *v)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < v->n; i++)
        if (json_array_append_new(array, json_string(v->items[i])) < 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

json_t *branch_to_json(const struct branch *b)
{
    json_t *inside = strings_to_json(&b->inside);
    return inside ? json_pack("{ss ss ss* ss* ss* ss* ss* ss* ss* sI so sO*}", "driver", b->driver->name, "origin",
                              b->origin, "origin_format", b->origin_format, "base", b->base, "path", b->path, "format",
                              b->format, "mount", b->mount, "fingerprint", b->fingerprint, "consistency",
                              b->consistency, "limit", (json_int_t)b->limit, "inside", inside, "detail", b->detail)
                  : NULL;
}

static int strings_from_json(const json_t *array, struct strv *ret, struct vmundo_error *err)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *s = json_string_value(json_array_get(array, i));
        if (!s)
            return error_set(err, VMUNDO_FAILED, "\"inside\" holds something that is not text");
        if (strv_add(ret, s, err) < 0)
            return -1;
    }
    return 0;
}

int branch_from_json(const json_t *j, struct branch *ret, struct vmundo_error *err)
{
    CLEANUP(branch_clear) struct branch b = {0};
    AUTO_FREE char *driver = NULL;
    if (json_get_string(j, "driver", &driver, err) < 0 || json_get_string(j, "origin", &b.origin, err) < 0 ||
        json_opt_string(j, "origin_format", &b.origin_format, err) < 0 ||
        json_opt_string(j, "base", &b.base, err) < 0 || json_opt_string(j, "path", &b.path, err) < 0 ||
        json_opt_string(j, "format", &b.format, err) < 0 || json_opt_string(j, "mount", &b.mount, err) < 0 ||
        json_opt_string(j, "fingerprint", &b.fingerprint, err) < 0 ||
        json_opt_string(j, "consistency", &b.consistency, err) < 0 || json_opt_u64(j, "limit", 0, &b.limit, err) < 0 ||
        strings_from_json(json_object_get(j, "inside"), &b.inside, err) < 0)
        return error_wrap(err, "the record of a branch");
    b.driver = storage_find(driver);
    if (!b.driver)
        return error_set(err, VMUNDO_FAILED, "the branch of %s was made by driver %s, which this vmundo does not have",
                         b.origin, driver);
    b.detail = json_incref(json_object_get(j, "detail"));
    *ret = b;
    b = (struct branch){0};
    return 0;
}

char *mark_text(const struct mark *m, struct vmundo_error *err)
{
    return str_printf(err, "%s %s %llu", m->store, m->domain, (unsigned long long)m->generation);
}

/* ---- ranges ----------------------------------------------------------------------------------------------------- */

void ranges_clear(struct ranges *r)
{
    free(r->list);
    *r = (struct ranges){0};
}

int ranges_add(struct ranges *r, uint64_t start, uint64_t length, struct vmundo_error *err)
{
    struct range *last = r->n ? &r->list[r->n - 1] : NULL;
    if (last && last->start + last->length == start) {
        last->length += length;
        return 0;
    }
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        struct range *more = reallocarray(r->list, cap, sizeof(*more));
        if (!more)
            return error_nomem(err);
        r->list = more;
        r->cap = cap;
    }
    r->list[r->n++] = (struct range){start, length};
    return 0;
}

/* ---- the end of things ------------------------------------------------------------------------------------------ */

void branch_clear(struct branch *b)
{
    char *owned[] = {b->origin, b->origin_format, b->base,        b->path,
                     b->format, b->mount,         b->fingerprint, b->consistency};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
    strv_clear(&b->inside);
    json_decref(b->detail);
    *b = (struct branch){0};
}

void claim_clear(struct claim *c)
{
    char *owned[] = {c->why, c->cost, c->cannot, c->volume, c->inside};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
    *c = (struct claim){0};
}

void branch_status_clear(struct branch_status *s)
{
    free(s->health);
    free(s->bound);
    *s = (struct branch_status){0};
}
