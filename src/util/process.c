/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * process.c: running programs. First the search in PATH, then the environment, then process_spawn() on top of
 * posix_spawn(3), whose child shares our memory until it execs (no page tables to copy, and exec failures come back
 * as its return value), then process_run(), which drains both of the child's output pipes until it ends.
 */
#include "util/process.h"

#include "build-config.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define MAX_OUTPUT ((size_t)16 << 20)
#define MAX_LINE 65536
#define MAX_TAIL 8192
#define MAX_PIPE ((size_t)1 << 20) /* /proc/sys/fs/pipe-max-size as it comes */

static struct {
    process_recorder_fn fn;
    void *data;
} recorder;

void process_set_recorder(process_recorder_fn fn, void *data)
{
    recorder.fn = fn;
    recorder.data = data;
}

/* May it run for real? */
static bool ask_recorder(const char *const *argv, char **ret_reply)
{
    return !recorder.fn || recorder.fn(recorder.data, argv, ret_reply);
}

/* ---- the program ------------------------------------------------------------------------------------------------ */

static const char *search_path(void)
{
    const char *path = getenv("PATH");
    return path && *path ? path : DEFAULT_PATH;
}

static bool is_executable(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
}

/* *ret is the file to execute, NULL if there is none. Only absolute entries of PATH count: the child's working
 * directory is not ours. A name with a slash is taken as it stands. */
static int find_program(const char *name, char **ret, struct vmundo_error *err)
{
    if (strchr(name, '/'))
        return str_copy(name, ret, err);
    for (const char *dir = search_path(), *end; *dir; dir = *end ? end + 1 : end) {
        end = strchrnul(dir, ':');
        if (*dir != '/')
            continue;
        AUTO_FREE char *path = str_printf(err, "%.*s/%s", (int)(end - dir), dir, name);
        if (!path)
            return -1;
        if (is_executable(path)) {
            *ret = TAKE(path);
            return 0;
        }
    }
    *ret = NULL;
    return 0;
}

char *process_libexec(const char *program, struct vmundo_error *err)
{
    const char *dir = secure_getenv("VMUNDO_LIBEXEC_DIR");
    return str_printf(err, "%s/%s", dir && *dir ? dir : VMUNDO_LIBEXECDIR, program);
}

bool process_have(const char *program)
{
    AUTO_FREE char *path = NULL;
    return find_program(program, &path, NULL) == 0 && path && is_executable(path);
}

/* ---- its environment -------------------------------------------------------------------------------------------- */

static bool is_passed_through(const char *var)
{
    static const char *const names[] = {"HOME=", "TMPDIR=", "VMUNDO_", "LVM_SYSTEM_DIR=", "DM_DISABLE_UDEV="};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_has_prefix(var, names[i]))
            return true;
    return false;
}

/* Add "K=V" unless K is there. */
static int add_variable(struct strv *env, const char *var, struct vmundo_error *err)
{
    size_t key = (size_t)(strchrnul(var, '=') - var) + 1;
    for (size_t i = 0; i < env->n; i++)
        if (!strncmp(env->items[i], var, key))
            return 0;
    return strv_add(env, var, err);
}

static int make_environment(const char *const *additions, struct strv *env, struct vmundo_error *err)
{
    for (const char *const *a = additions; a && *a; a++)
        if (add_variable(env, *a, err) < 0)
            return -1;
    AUTO_FREE char *path = str_printf(err, "PATH=%s", search_path());
    if (!path || add_variable(env, path, err) < 0 || add_variable(env, "LC_ALL=C", err) < 0)
        return -1;
    for (char **e = environ; e && *e; e++)
        if (is_passed_through(*e) && add_variable(env, *e, err) < 0)
            return -1;
    return 0;
}

/* ---- its descriptors -------------------------------------------------------------------------------------------- */

/* Every descriptor the child is to have, copied above all targets first: then no copy to a target can destroy what is
 * still to be copied, whatever the numbers. */
struct descriptors {
    struct process_fd *map;
    size_t n;
    int highest; /* target */
};

static void descriptors_close(struct descriptors *d)
{
    for (size_t i = 0; i < d->n; i++)
        close(d->map[i].fd);
    free(d->map);
}

static int descriptors_add(struct descriptors *d, int fd, int as)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, d->highest + 1);
    if (copy < 0)
        return -1;
    d->map[d->n++] = (struct process_fd){.fd = copy, .as = as};
    return 0;
}

static int descriptors_collect(struct descriptors *d, const struct process_options *o)
{
    const int standard[] = {o->in, o->out, o->errout};
    d->map = calloc(ARRAY_SIZE(standard) + o->n_fds, sizeof(*d->map));
    if (!d->map)
        return -1;
    d->highest = STDERR_FILENO;
    for (size_t i = 0; i < o->n_fds; i++)
        if (o->fds[i].as > d->highest)
            d->highest = o->fds[i].as;
    for (size_t i = 0; i < ARRAY_SIZE(standard); i++)
        if (standard[i] >= 0 && descriptors_add(d, standard[i], (int)i) < 0)
            return -1;
    for (size_t i = 0; i < o->n_fds; i++)
        if (descriptors_add(d, o->fds[i].fd, o->fds[i].as) < 0)
            return -1;
    return 0;
}

static bool descriptors_has_target(const struct descriptors *d, int as)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->map[i].as == as)
            return true;
    return false;
}

/* Returns an errno, as the posix_spawn functions do. */
static int plan_actions(posix_spawn_file_actions_t *actions, const struct descriptors *d,
                        const struct process_options *o)
{
    int r = !o->cwd && o->cwd_fd > 0 ? posix_spawn_file_actions_addfchdir_np(actions, o->cwd_fd)
                                     : posix_spawn_file_actions_addchdir_np(actions, o->cwd ? o->cwd : "/");
    for (size_t i = 0; !r && i < d->n; i++)
        r = posix_spawn_file_actions_adddup2(actions, d->map[i].fd, d->map[i].as);
    for (int fd = 0; !r && fd <= d->highest; fd++) {
        if (descriptors_has_target(d, fd))
            continue;
        r = fd > STDERR_FILENO ? posix_spawn_file_actions_addclose(actions, fd)
                               : posix_spawn_file_actions_addopen(actions, fd, "/dev/null",
                                                                  fd == STDIN_FILENO ? O_RDONLY : O_WRONLY, 0);
    }
    return r ? r : posix_spawn_file_actions_addclosefrom_np(actions, d->highest + 1);
}

/* ---- spawning --------------------------------------------------------------------------------------------------- */

/* No signal blocked; SIGPIPE and SIGCHLD as programs expect them. SIGHUP stays as it is, for nohup's sake. */
static int plan_attributes(posix_spawnattr_t *attr, const struct process_options *o)
{
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGCHLD);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (o->new_session ? POSIX_SPAWN_SETSID : 0);
    int r = posix_spawnattr_setsigmask(attr, &none);
    r = r ? r : posix_spawnattr_setsigdefault(attr, &defaults);
    return r ? r : posix_spawnattr_setflags(attr, (short)flags);
}

static void cleanup_actions(posix_spawn_file_actions_t *actions)
{
    posix_spawn_file_actions_destroy(actions);
}

static void cleanup_attr(posix_spawnattr_t *attr)
{
    posix_spawnattr_destroy(attr);
}

static int start(const char *const *argv, const struct process_options *o, pid_t *ret_pid, struct vmundo_error *err)
{
    AUTO_FREE char *path = NULL;
    CLEANUP(strv_clear) struct strv env = {0}, args = {0};
    CLEANUP(descriptors_close) struct descriptors d = {0};
    if (find_program(argv[0], &path, err) < 0 || make_environment(o->env, &env, err) < 0)
        return -1;
    if (!path)
        return error_errno(err, ENOENT, "cannot run %s: not found in PATH", argv[0]);
    /* posix_spawn(3) takes char *const *, though it changes nothing: a copy rather than a cast. */
    for (const char *const *a = argv; *a; a++)
        if (strv_add(&args, *a, err) < 0)
            return -1;
    if (descriptors_collect(&d, o) < 0)
        return error_errno(err, errno, "cannot run %s: its descriptors", argv[0]);

    CLEANUP(cleanup_actions) posix_spawn_file_actions_t actions;
    CLEANUP(cleanup_attr) posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions); /* these two cannot fail on Linux, posix_spawn_file_actions_init(3) */
    posix_spawnattr_init(&attr);
    pid_t pid = -1;
    int r = plan_actions(&actions, &d, o);
    r = r ? r : plan_attributes(&attr, o);
    r = r ? r : posix_spawn(&pid, path, &actions, &attr, args.items, env.items);
    if (r)
        return error_errno(err, r, "cannot run %s", argv[0]);
    *ret_pid = pid;
    return 0;
}

int process_spawn(const char *const *argv, const struct process_options *o, pid_t *ret_pid, struct vmundo_error *err)
{
    AUTO_FREE char *reply = NULL;
    if (!ask_recorder(argv, &reply))
        return error_errno(err, ECANCELED, "cannot run %s", argv[0]);
    return start(argv, o, ret_pid, err);
}

/* ---- running to the end ----------------------------------------------------------------------------------------- */

/* What is done with output: kept (whole, or the tail of it), or handed on line by line. */
struct sink {
    int fd; /* our end of the pipe, -1 when it is at its end */
    char *buf;
    size_t len, cap;
    size_t max; /* bytes to keep */
    bool tail;  /* keep the last ones instead of the first */
    bool overflow, nomem;
    process_line_fn on_line;
    void *data;
};

struct run {
    const char *program; /* its name without the directory */
    pid_t pid;
    int pidfd;
    struct sink out, errout;
    unsigned timeout_ms;
    bool timed_out;
};

#define RUN_INIT                                                                                                       \
    {                                                                                                                  \
        .pid = -1, .pidfd = -1, .out = {.fd = -1}, .errout = {.fd = -1, .max = MAX_TAIL, .tail = true }                \
    }

static void run_close(struct run *r)
{
    int *fds[] = {&r->out.fd, &r->errout.fd, &r->pidfd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        cleanup_close(fds[i]);
        *fds[i] = -1;
    }
}

static void run_clear(struct run *r)
{
    run_close(r);
    free(r->out.buf);
    free(r->errout.buf);
}

static bool sink_append(struct sink *s, const char *p, size_t n)
{
    if (s->len + n + 1 > s->cap) {
        size_t cap = s->cap * 2 > s->len + n + 1 ? s->cap * 2 : s->len + n + 1;
        char *bigger = realloc(s->buf, cap);
        if (!bigger) {
            s->nomem = true;
            return false;
        }
        s->buf = bigger;
        s->cap = cap;
    }
    memcpy(s->buf + s->len, p, n);
    s->len += n;
    s->buf[s->len] = '\0';
    return true;
}

/* Hand on what is in the buffer as one line, unless it is empty. */
static void sink_flush_line(struct sink *s)
{
    if (s->len > 0)
        s->on_line(s->data, s->buf);
    s->len = 0;
}

static void sink_lines(struct sink *s, const char *p, size_t n)
{
    for (const char *end = p + n; p < end; p++) {
        if (*p == '\n' || *p == '\r' || s->len >= s->max)
            sink_flush_line(s);
        if (*p != '\n' && *p != '\r' && !sink_append(s, p, 1))
            return;
    }
}

static void sink_put(struct sink *s, const char *p, size_t n)
{
    if (s->on_line) {
        sink_lines(s, p, n);
    } else if (s->tail) {
        if (s->len + n > s->max && s->len > 0) { /* n is never more than max */
            size_t drop = s->len + n - s->max;
            memmove(s->buf, s->buf + drop, s->len - drop);
            s->len -= drop;
        }
        sink_append(s, p, n);
    } else {
        size_t room = s->max - s->len;
        s->overflow = s->overflow || n > room;
        sink_append(s, p, n < room ? n : room);
    }
}

/* Read what is there now, but no more than about limit bytes; at the end of the pipe close it. */
static void sink_drain(struct sink *s, size_t limit)
{
    char chunk[4096];
    for (size_t done = 0; s->fd >= 0 && done < limit;) {
        ssize_t n = TEMP_FAILURE_RETRY(read(s->fd, chunk, sizeof(chunk)));
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close(TAKE_FD(s->fd));
            return;
        }
        sink_put(s, chunk, (size_t)n);
        done += (size_t)n;
    }
}

/* A pipe whose other end, *ret_theirs, blocks and whose end here does not. */
static int sink_open(struct sink *s, int *ret_theirs)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return -1;
    s->fd = p[0];
    *ret_theirs = p[1];
    return fcntl(s->fd, F_SETFL, O_NONBLOCK);
}

static int run_open_pidfd(struct run *r)
{
    struct sys_process p;
    r->pidfd = sys_process_of(r->pid, &p) < 0 ? -1 : sys_process_open(&p);
    return r->pidfd < 0 ? -1 : 0;
}

/* When its time is up the child is told so, once. Returns how long to poll for, -1 for ever. */
static int run_check_time(struct run *r, uint64_t deadline)
{
    if (!r->timeout_ms || r->timed_out)
        return -1;
    uint64_t now = sys_monotonic_ms();
    if (now < deadline)
        return deadline - now < INT_MAX ? (int)(deadline - now) : INT_MAX;
    r->timed_out = true;
    sys_pidfd_signal(r->pidfd, SIGTERM);
    return -1;
}

/* Until the child itself is gone, not until the pipes are at their end: what it leaves running may hold them open for
 * ever. What is in them then is no more than a pipe can hold. */
static int run_drain(struct run *r)
{
    uint64_t deadline = sys_monotonic_ms() + r->timeout_ms;
    for (bool gone = false; !gone;) {
        struct pollfd fds[] = {
            {.fd = r->out.fd, .events = POLLIN},
            {.fd = r->errout.fd, .events = POLLIN},
            {.fd = r->pidfd, .events = POLLIN},
        };
        if (poll(fds, ARRAY_SIZE(fds), run_check_time(r, deadline)) < 0) {
            if (errno != EINTR)
                return -1;
            continue;
        }
        gone = fds[2].revents;
        sink_drain(&r->out, gone ? MAX_PIPE : 65536);
        sink_drain(&r->errout, gone ? MAX_PIPE : 65536);
    }
    return 0;
}

/* The last line of standard error that is not empty, escaped, without the program's name, which comes before it anyway.
 * NULL if there is none. */
static char *last_words(const struct run *r)
{
    char *s = r->errout.buf;
    size_t n = r->errout.len;
    while (n > 0 && strchr("\r\n \t", s[n - 1]))
        n--;
    if (n == 0)
        return NULL;
    s[n] = '\0';
    char *line = s + n;
    while (line > s && line[-1] != '\n' && line[-1] != '\r')
        line--;
    size_t name = strlen(r->program);
    if (!strncmp(line, r->program, name) && !strncmp(line + name, ": ", 2))
        line += name + 2;
    return str_escape(line, 512);
}

static int report_end(const struct run *r, int status, struct vmundo_error *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (r->timed_out) {
        error_set(err, VMUNDO_FAILED, "%s: did not end within %u ms and was told to stop", r->program, r->timeout_ms);
        if (err)
            err->errnum = ETIMEDOUT;
        return -1;
    }
    AUTO_FREE char *words = last_words(r);
    const char *what = words ? words : "failed without a message";
    if (!WIFSIGNALED(status))
        return error_set(err, VMUNDO_FAILED, "%s: %s (exit status %d)", r->program, what, WEXITSTATUS(status));
    const char *sig = sigdescr_np(WTERMSIG(status));
    return error_set(err, VMUNDO_FAILED, "%s: %s (killed by signal %d, %s)", r->program, what, WTERMSIG(status),
                     sig ? sig : "unknown");
}

static int run_start(struct run *r, const char *const *argv, struct vmundo_error *err)
{
    AUTO_CLOSE int out = -1;
    AUTO_CLOSE int errout = -1;
    if (sink_open(&r->out, &out) < 0 || sink_open(&r->errout, &errout) < 0)
        return error_errno(err, errno, "cannot run %s: no pipe", argv[0]);
    struct process_options o = PROCESS_OPTIONS_INIT;
    o.out = out;
    o.errout = errout;
    return start(argv, &o, &r->pid, err);
}

static int run(struct run *r, const char *const *argv, struct vmundo_error *err)
{
    r->program = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    if (run_start(r, argv, err) < 0)
        return -1;
    int watch_errno = run_open_pidfd(r) < 0 || run_drain(r) < 0 ? errno : 0;
    run_close(r); /* had it not been watched to its end, it must not wait for us, who wait for it */
    int status;
    if (TEMP_FAILURE_RETRY(waitpid(r->pid, &status, 0)) < 0)
        return error_errno(err, errno, "%s: cannot learn how it ended", r->program);
    if (watch_errno)
        return error_errno(err, watch_errno, "%s: cannot watch it", r->program);
    if (r->out.nomem || r->errout.nomem)
        return error_nomem(err);
    return report_end(r, status, err);
}

int process_run(const char *const *argv, unsigned timeout_ms, char **ret_out, struct vmundo_error *err)
{
    AUTO_FREE char *reply = NULL;
    CLEANUP(run_clear) struct run r = RUN_INIT;
    r.timeout_ms = timeout_ms;
    r.out.max = ret_out ? MAX_OUTPUT : 0;
    if (ask_recorder(argv, &reply)) {
        if (run(&r, argv, err) < 0)
            return -1;
        if (ret_out && r.out.overflow)
            return error_errno(err, EFBIG, "%s: more than %zu MiB of output", r.program, MAX_OUTPUT >> 20);
        reply = TAKE(r.out.buf);
    }
    if (!ret_out)
        return 0;
    return reply ? (*ret_out = TAKE(reply), 0) : str_copy("", ret_out, err);
}

int process_run_lines(const char *const *argv, process_line_fn on_line, void *data, struct vmundo_error *err)
{
    AUTO_FREE char *reply = NULL;
    CLEANUP(run_clear) struct run r = RUN_INIT;
    r.out.on_line = on_line;
    r.out.data = data;
    r.out.max = MAX_LINE;
    int result = 0;
    if (ask_recorder(argv, &reply))
        result = run(&r, argv, err);
    else if (reply)
        sink_put(&r.out, reply, strlen(reply));
    sink_flush_line(&r.out);
    return result;
}
