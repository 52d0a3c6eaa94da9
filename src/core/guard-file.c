/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard-file.c: what of a guard lies in the folder of its domain: the lock that says that there is one, and the note
 * that says that it has paused the domain, by which another one knows what to undo. And the start of one.
 */
#include "core/guard.h"

#include "core/attendant.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/sys.h"

#include <fcntl.h>

#define STATE_FILE "guard.json"

/* ---- the lock -------------------------------------------------------------------------------------------------------
 */

static const struct attendant guard = {"vmundo-guard", "guard.lock", "guarded"};

int guard_lock(const struct vmundo *v, const char *name, int *ret_fd, struct vmundo_error *err)
{
    return attendant_lock(v, &guard, name, ret_fd, err);
}

bool guard_is_alive(const struct vmundo *v, const char *name)
{
    return attendant_is_alive(v, &guard, name);
}

bool guard_owns_lock(const struct vmundo *v, const char *name, int lock)
{
    return attendant_owns_lock(v, &guard, name, lock);
}

void guard_leave_session(const char *name)
{
    attendant_leave_session(&guard, name);
}

/* ---- the note -------------------------------------------------------------------------------------------------------
 */

void guard_note_clear(struct guard_note *n)
{
    free(n->why);
    free(n->rooms);
    *n = (struct guard_note){0};
}

static int read_rooms(const json_t *rooms, struct guard_note *n, struct vmundo_error *err)
{
    n->n_rooms = json_array_size(rooms);
    n->rooms = calloc(n->n_rooms + 1, sizeof(*n->rooms));
    for (size_t i = 0; n->rooms && i < n->n_rooms; i++) {
        json_int_t room = json_integer_value(json_array_get(rooms, i));
        n->rooms[i] = room > 0 ? (uint64_t)room : 0;
    }
    return n->rooms ? 0 : error_nomem(err);
}

int guard_note_parse(const char *text, uint64_t instance, struct guard_note *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    CLEANUP(guard_note_clear) struct guard_note n = {0};
    uint64_t of = 0;
    if (json_parse(text, STATE_FILE, &o, err) < 0 || json_get_u64(o, "instance", &of, err) < 0 ||
        json_opt_string(o, "paused", &n.why, err) < 0 || read_rooms(json_object_get(o, "rooms"), &n, err) < 0)
        return -1;
    if (of != instance)
        return 0;
    *ret = n;
    n = (struct guard_note){0};
    return 0;
}

int guard_read_note(const struct vmundo *v, const char *name, uint64_t instance, struct guard_note *ret,
                    struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    AUTO_FREE char *text = NULL;
    *ret = (struct guard_note){0};
    if (context_domain_dir(v, name, false, &dir, NULL) < 0 ||
        sys_read_file(dir, STATE_FILE, 65536, &text, NULL, NULL) < 0)
        return 0;
    return guard_note_parse(text, instance, ret, err) < 0
               ? error_wrap(err, "%s of %s is damaged: remove it", STATE_FILE, name)
               : 0;
}

int guard_write_note(const struct vmundo *v, const char *name, uint64_t instance, const struct guard_note *n,
                     struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    json_t *rooms = json_array();
    AUTO_JSON json_t *o = json_pack("{ss sI so}", "paused", n->why, "instance", (json_int_t)instance, "rooms", rooms);
    for (size_t i = 0; o && i < n->n_rooms; i++)
        if (json_array_append_new(rooms, json_integer((json_int_t)n->rooms[i])) < 0)
            return error_nomem(err);
    AUTO_FREE char *text = o ? json_text(o, err) : NULL;
    if (!text)
        return o ? -1 : error_nomem(err);
    if (context_domain_dir(v, name, false, &dir, err) < 0)
        return -1;
    return sys_put_file(dir, STATE_FILE, text, strlen(text), err);
}

int guard_remove_note(const struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    if (context_domain_dir(v, name, false, &dir, err) < 0)
        return -1;
    return unlinkat(dir, STATE_FILE, 0) < 0 && errno != ENOENT ? error_errno(err, errno, "cannot remove %s", STATE_FILE)
                                                               : 0;
}

/* ---- starting one ---------------------------------------------------------------------------------------------------
 */

static int is_bounded(const struct record *r, bool *ret, struct vmundo_error *err)
{
    *ret = false;
    for (size_t i = 0; i < r->n_branches && !*ret; i++) {
        CLEANUP(branch_status_clear) struct branch_status s = {0};
        if (r->branches[i].driver->extend && storage_inspect(&r->branches[i], &s, err) < 0)
            return -1;
        *ret = s.bound != NULL;
    }
    return 0;
}

int guard_is_missing(const struct vmundo *v, const struct record *r, bool *ret, struct vmundo_error *err)
{
    bool bounded = false;
    if (!r->unguarded && is_bounded(r, &bounded, err) < 0)
        return -1;
    *ret = bounded && !guard_is_alive(v, r->name);
    return 0;
}

void guard_spawn(const struct vmundo *v, const struct record *r)
{
    struct vmundo_error e = {0};
    bool missing = false;
    if (guard_is_missing(v, r, &missing, &e) == 0 && (!missing || attendant_spawn(v, &guard, r->name, &e) == 0))
        return;
    AUTO_FREE char *text =
        str_printf(NULL, "nobody watches whether its branches fill up ('vmundo guard' would): %s", e.msg);
    context_report(v, VMUNDO_EVENT_WARNING, r->name, text ? text : e.msg);
}
