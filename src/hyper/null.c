/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * null.c: the hypervisor that runs nothing: template for new drivers, and test double. An instance is the file
 * `running` in its directory: "paused" or "running". A test that wants a guest which ended by itself writes how into it
 * ("guest powered off"); one that wants a guest which does not listen to shutdown puts a file `stubborn` beside it.
 *
 * It is held while somebody has its directory locked, flock(2): nothing runs, so nothing needs to stop.
 *
 * The guest's RAM is 4096 bytes: the file that the caller gives, or else `ram` in its directory, which may be missing. A
 * saved state is a line, and after it the RAM if that is not in a shared file.
 *
 * A disk that goes on in another image is a line in `moved`: the image's path.
 */
#include "hyper/drivers.h"

#include "util/sys.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>

#define STATE "running"
#define RAM "ram"
#define MOVED "moved"
#define RAM_SIZE 4096
#define SAVED "saved null guest\n"

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

static uint64_t ram_size(const struct domain *d)
{
    (void)d;
    return RAM_SIZE;
}

static int check_ram(const struct instance *i, struct vmundo_error *err)
{
    struct stat st;
    if (!i->ram)
        return 0;
    if (stat(i->ram, &st) < 0)
        return error_errno(err, errno, "cannot open the RAM file %s", i->ram);
    return st.st_size == RAM_SIZE ? 0 : error_set(err, VMUNDO_CONFLICT, "the RAM file %s has another size than %d bytes",
                                                  i->ram, RAM_SIZE);
}

static int load(const struct instance *i, struct vmundo_error *err)
{
    AUTO_FREE char *saved = NULL;
    AUTO_CLOSE int dir = -1;
    size_t head = strlen(SAVED), len;
    if (!i->saved)
        return 0;
    if (sys_read_file(AT_FDCWD, i->saved, RAM_SIZE + head, &saved, &len, err) < 0 || open_dir(i, &dir, err) < 0)
        return -1;
    if (!str_has_prefix(saved, SAVED))
        return error_set(err, VMUNDO_FAILED, "the saved state %s is damaged", i->saved);
    if (len > head)
        return sys_put_file(dir, RAM, saved + head, len - head, err);
    return i->ram ? 0 : error_set(err, VMUNDO_CONFLICT, "the guest was saved without its RAM, which was in a file");
}

static int start(const struct instance *i, struct vmundo_error *err)
{
    AUTO_FREE char *state = NULL;
    if (read_state(i, &state, err) < 0)
        return -1;
    if (lives(state))
        return 0;
    return check_ram(i, err) < 0 || load(i, err) < 0 ? -1 : write_state(i, "paused", err);
}

/* *ret stays NULL when it is in a shared file, or empty. */
static int read_ram(const struct instance *i, char **ret, size_t *ret_len, struct vmundo_error *err)
{
    AUTO_CLOSE int dir = -1;
    struct vmundo_error e = {0};
    if (i->ram && !i->ram_private)
        return 0;
    if (open_dir(i, &dir, err) < 0)
        return -1;
    if (sys_read_file(dir, i->ram ? i->ram : RAM, RAM_SIZE, ret, ret_len, &e) == 0 || e.errnum == ENOENT)
        return 0;
    return error_set(err, e.code, "%s", e.msg);
}

static int write_saved(int fd, const char *ram, size_t len, struct vmundo_error *err)
{
    size_t head = strlen(SAVED);
    if (write(fd, SAVED, head) != (ssize_t)head || write(fd, ram, len) != (ssize_t)len)
        return error_errno(err, errno, "cannot write the saved state");
    return 0;
}

static bool is_held(const struct instance *i)
{
    AUTO_CLOSE int dir = -1;
    return open_dir(i, &dir, NULL) == 0 && flock(dir, LOCK_SH | LOCK_NB) < 0;
}

static int hold(const struct instance *i, unsigned ms, bool saving, int *ret_fd, struct vmundo_error *err)
{
    AUTO_FREE char *state = NULL;
    AUTO_CLOSE int dir = -1;
    (void)ms;
    (void)saving;
    if (read_state(i, &state, err) < 0)
        return -1;
    if (!lives(state))
        return error_set(err, VMUNDO_CONFLICT, "the domain is off");
    if (open_dir(i, &dir, err) < 0)
        return -1;
    if (flock(dir, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, VMUNDO_CONFLICT, "somebody else holds it");
    *ret_fd = TAKE_FD(dir);
    return 0;
}

static int release(int fd, bool *ret_held, struct vmundo_error *err)
{
    (void)err;
    close(fd);
    *ret_held = true;
    return 0;
}

static int save(const struct instance *i, const char *path, struct vmundo_error *err)
{
    AUTO_FREE char *state = NULL, *ram = NULL;
    size_t len = 0;
    if (read_state(i, &state, err) < 0 || read_ram(i, &ram, &len, err) < 0)
        return -1;
    if (!str_eq(state, "paused") && !(lives(state) && is_held(i)))
        return error_set(err, VMUNDO_CONFLICT, "the domain %s", lives(state) ? "runs: it must be paused" : "is off");
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot create %s", path);
    int r = write_saved(fd, ram ? ram : "", len, err);
    if (r < 0)
        unlink(path);
    return r;
}

static int moved(const struct instance *i, const struct hyper_move *moves, size_t n, bool *ret,
                 struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    AUTO_CLOSE int dir = -1;
    struct vmundo_error e = {0};
    if (open_dir(i, &dir, err) < 0)
        return -1;
    if (sys_read_file(dir, MOVED, 1 << 20, &text, NULL, &e) < 0 && e.errnum != ENOENT)
        return error_set(err, e.code, "%s", e.msg);
    *ret = n > 0;
    for (size_t k = 0; k < n; k++)
        *ret = *ret && text && strstr(text, moves[k].path);
    return 0;
}

static int move(const struct instance *i, const struct hyper_move *moves, size_t n, struct vmundo_error *err)
{
    AUTO_FREE char *state = NULL;
    AUTO_FREE char *text = str_printf(err, "%s", "");
    AUTO_CLOSE int dir = -1;
    for (size_t k = 0; text && k < n; k++) {
        char *longer = str_printf(err, "%s%s\n", text, moves[k].path);
        free(text);
        text = longer;
    }
    if (!text || read_state(i, &state, err) < 0 || open_dir(i, &dir, err) < 0)
        return -1;
    if (!str_eq(state, "paused") && !(lives(state) && is_held(i)))
        return error_set(err, VMUNDO_CONFLICT, "the domain %s", lives(state) ? "runs: it must be paused" : "is off");
    return sys_put_file(dir, MOVED, text, strlen(text), err);
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

static int step_aside(const struct instance *i, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    return pause_it(i, &e) == 0 || e.code == VMUNDO_CONFLICT ? 0 : error_set(err, e.code, "%s", e.msg);
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
    .step_aside = step_aside,
    .shutdown = shutdown_it,
    .destroy = destroy,
    .state = state,
    .hold = hold,
    .release = release,
    .save = save,
    .move = move,
    .moved = moved,
    .ram_size = ram_size,
    .console = console,
};
