/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard-file.c: what of a guard lies in the folder of its domain: the lock that says that there is one, and the note that
 * says that it has paused the domain, by which another one knows what to undo. And the start of one.
 *
 * The lock is an open file description lock (fcntl(2)): it can be asked for without taking it, and whoever starts a guard
 * takes it and hands it down, so that there is no moment at which the domain seems unguarded.
 */
#include "core/guard.h"

#include "build-config.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/process.h"
#include "util/sys.h"

#include <fcntl.h>

#define STATE_FILE "guard.json"
#define LOCK_FILE "guard.lock"

/* ---- the lock ------------------------------------------------------------------------------------------------------- */

static int open_lock(const struct vmundo *v, const char *name, bool create, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    if (context_domain_dir(v, name, false, &dir, err) < 0)
        return -1;
    int fd = openat(dir, LOCK_FILE, O_RDWR | (create ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? error_errno(err, errno, "cannot open %s of %s", LOCK_FILE, name) : fd;
}

int guard_lock(const struct vmundo *v, const char *name, int *ret_fd, struct vmundo_error *err)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    AUTO_CLOSE int fd = open_lock(v, name, true, err);
    if (fd < 0)
        return -1;
    if (fcntl(fd, F_OFD_SETLK, &l) < 0)
        return errno == EAGAIN || errno == EACCES
                   ? error_set(err, VMUNDO_CONFLICT, "%s is being guarded already, by another process", name)
                   : error_errno(err, errno, "cannot lock %s of %s", LOCK_FILE, name);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

bool guard_is_alive(const struct vmundo *v, const char *name)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    AUTO_CLOSE int fd = open_lock(v, name, false, NULL);
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

bool guard_owns_lock(const struct vmundo *v, const char *name, int lock)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat mine, there;
    AUTO_CLOSE int fd = open_lock(v, name, false, NULL);
    return fd >= 0 && lock >= 0 && fstat(lock, &mine) == 0 && fstat(fd, &there) == 0 && mine.st_dev == there.st_dev &&
           mine.st_ino == there.st_ino && fcntl(lock, F_OFD_SETLK, &l) == 0;
}

/* ---- the note ------------------------------------------------------------------------------------------------------- */

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

int guard_read_note(const struct vmundo *v, const char *name, uint64_t instance, struct guard_note *ret,
                    struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    AUTO_FREE char *text = NULL;
    AUTO_JSON json_t *o = NULL;
    CLEANUP(guard_note_clear) struct guard_note n = {0};
    uint64_t of = 0;
    *ret = (struct guard_note){0};
    if (context_domain_dir(v, name, false, &dir, NULL) < 0 ||
        sys_read_file(dir, STATE_FILE, 65536, &text, NULL, NULL) < 0)
        return 0;
    if (json_parse(text, STATE_FILE, &o, err) < 0 || json_get_u64(o, "instance", &of, err) < 0 ||
        json_opt_string(o, "paused", &n.why, err) < 0 || read_rooms(json_object_get(o, "rooms"), &n, err) < 0)
        return error_wrap(err, "%s of %s is damaged: remove it", STATE_FILE, name);
    if (of != instance)
        return 0;
    *ret = n;
    n = (struct guard_note){0};
    return 0;
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

/* ---- starting one --------------------------------------------------------------------------------------------------- */

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

/* The lock is the child's standard input. */
static int spawn(const struct vmundo *v, const struct record *r, struct vmundo_error *err)
{
    const char *dir = secure_getenv("VMUNDO_LIBEXEC_DIR");
    struct process_options o = PROCESS_OPTIONS_INIT;
    struct vmundo_error e = {0};
    AUTO_CLOSE int lock = -1;
    pid_t pid;
    if (guard_lock(v, r->name, &lock, &e) < 0)
        return e.code == VMUNDO_CONFLICT ? 0 : error_set(err, e.code, "%s", e.msg);
    AUTO_FREE char *program = str_printf(err, "%s/vmundo-guard", dir && *dir ? dir : VMUNDO_LIBEXECDIR);
    if (!program)
        return -1;
    o.new_session = true;
    o.in = lock;
    return process_spawn((const char *const[]){program, v->state_dir, r->name, NULL}, &o, &pid, err);
}

void guard_spawn(const struct vmundo *v, const struct record *r)
{
    struct vmundo_error e = {0};
    bool missing = false;
    if (guard_is_missing(v, r, &missing, &e) == 0 && (!missing || spawn(v, r, &e) == 0))
        return;
    AUTO_FREE char *text = str_printf(NULL, "nobody watches whether its branches fill up ('vmundo guard' would): %s",
                                      e.msg);
    context_report(v, VMUNDO_EVENT_WARNING, r->name, text ? text : e.msg);
}
