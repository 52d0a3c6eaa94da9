/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * null.c: the hypervisor that runs nothing: template for new drivers, and test double. An instance is the file
 * `running` in its directory: "paused" or "running". A test that wants a guest which ended by itself writes how into it
 * ("guest powered off"); one that wants a guest which does not listen to shutdown puts a file `stubborn` beside it.
 */
#include "hyper/drivers.h"

#include "util/sys.h"

#include <fcntl.h>
#include <sys/socket.h>

#define STATE "running"

static int open_dir(const struct instance *i, int *ret, struct vmundo_error *err)
{
    int fd = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", i->dir);
    *ret = fd;
    return 0;
}

/* *ret NULL: there is no instance. */
static int read_state(const struct instance *i, char **ret, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    struct vmundo_error e = {0};
    *ret = NULL;
    if (open_dir(i, &dir, &e) < 0 || sys_read_file(dir, STATE, 4096, ret, NULL, &e) < 0)
        return e.errnum == ENOENT ? 0 : error_set(err, e.code, "%s", e.msg);
    return 0;
}

static int write_state(const struct instance *i, const char *state, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    if (open_dir(i, &dir, err) < 0)
        return -1;
    return sys_put_file(dir, STATE, state, strlen(state), err);
}

static bool lives(const char *state)
{
    return str_eq(state, "paused") || str_eq(state, "running");
}

static int start(const struct instance *i, struct vmundo_error *err)
{
    AUTO_FREE char *state = NULL;
    if (read_state(i, &state, err) < 0)
        return -1;
    return lives(state) ? 0 : write_state(i, "paused", err);
}

static int set(const struct instance *i, const char *wanted, struct vmundo_error *err)
{
    AUTO_FREE char *state = NULL;
    if (read_state(i, &state, err) < 0)
        return -1;
    if (!lives(state))
        return error_set(err, VMUNDO_CONFLICT, "the domain is off");
    return str_eq(state, wanted) ? 0 : write_state(i, wanted, err);
}

static int resume(const struct instance *i, struct vmundo_error *err)
{
    return set(i, "running", err);
}

static int pause_it(const struct instance *i, struct vmundo_error *err)
{
    return set(i, "paused", err);
}

static int destroy(const struct instance *i, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    struct vmundo_error e = {0};
    if (open_dir(i, &dir, &e) < 0)
        return e.errnum == ENOENT ? 0 : error_set(err, e.code, "%s", e.msg);
    if (unlinkat(dir, STATE, 0) < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot remove %s/%s", i->dir, STATE);
    return sys_fsync_dir(dir) < 0 ? error_errno(err, errno, "cannot write %s durably", i->dir) : 0;
}

static int shutdown_it(const struct instance *i, unsigned timeout_ms, bool *ret_off, struct vmundo_error *err)
{
    (void)timeout_ms;
    AUTO_FREE char *stubborn = str_printf(err, "%s/stubborn", i->dir);
    if (!stubborn)
        return -1;
    bool off = access(stubborn, F_OK) < 0;
    if (off && destroy(i, err) < 0)
        return -1;
    *ret_off = off;
    return 0;
}

static int state(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    if (read_state(i, &text, err) < 0)
        return -1;
    struct hyper_status s = {.power = str_eq(text, "running")  ? HYPER_RUNNING
                                      : str_eq(text, "paused") ? HYPER_PAUSED
                                                               : HYPER_OFF};
    if (s.power == HYPER_OFF)
        s.ended = TAKE(text);
    *ret = s;
    return 0;
}

/* A line of greeting, and the end. */
static int console(const struct instance *i, int *ret_fd, struct vmundo_error *err)
{
    static const char greeting[] = "this is the console of a null domain\r\n";
    AUTO_FREE char *text = NULL;
    int pair[2];
    if (read_state(i, &text, err) < 0)
        return -1;
    if (!lives(text))
        return error_set(err, VMUNDO_CONFLICT, "the domain is off");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, errno, "cannot make a console");
    ssize_t n = send(pair[1], greeting, strlen(greeting), MSG_NOSIGNAL);
    close(pair[1]);
    if (n < 0) {
        close(pair[0]);
        return error_errno(err, errno, "cannot make a console");
    }
    *ret_fd = pair[0];
    return 0;
}

const struct hyper_driver hyper_null = {
    .name = "null",
    .flags = HYPER_SIDE_BY_SIDE | HYPER_NEVER_IMPLICIT,
    .start = start,
    .resume = resume,
    .pause = pause_it,
    .shutdown = shutdown_it,
    .destroy = destroy,
    .state = state,
    .console = console,
};
