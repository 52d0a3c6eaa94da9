/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-start.c: starting. The monitor does it (src/monitor): here it gets its orders (spec.json in the instance's
 * directory) and what it cannot make itself: the lock that says that it lives, the console's log, the network devices,
 * and a pipe on which it tells how it went; where they are wanted, the file that is the guest's RAM, and the saved
 * state that QEMU loads instead of booting. When it says ready, QEMU holds all it needs and the guest is paused: before
 * its first instruction, or at the instant when it was saved.
 */
#include "hyper/qemu-saved.h"
#include "hyper/qemu.h"
#include "hyper/rundir.h"

#include "util/path.h"
#include "util/process.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

#define START_TIMEOUT_MS 20000u
#define GRACE_MS 5000u /* for the monitor to report, beyond the time that it gives QEMU */
#define MAX_REPORT 4096
#define LOAD_BYTES_PER_MS 32768u /* at least so fast is a saved state loaded */

struct launch {
    const struct instance *i;
    int dirfd, lock;
    int log;    /* the console's */
    int errlog; /* qemu.log: standard error of QEMU and the monitor */
    int ram;    /* -1: anonymous */
    int saved;  /* -1: the guest boots */
    struct saved from;
    int taps[RUNDIR_MAX_TAPS];
    size_t n_taps;
    int disks[RUNDIR_MAX_DISKS]; /* as in the domain; -1: an empty drive */
    size_t n_disks;
};

#define LAUNCH_INIT                                                                                                    \
    {                                                                                                                  \
        .dirfd = -1, .lock = -1, .log = -1, .errlog = -1, .ram = -1, .saved = -1                                       \
    }

static void launch_close(struct launch *l)
{
    cleanup_close(&l->dirfd);
    cleanup_close(&l->lock);
    cleanup_close(&l->log);
    cleanup_close(&l->errlog);
    cleanup_close(&l->ram);
    cleanup_close(&l->saved);
    saved_clear(&l->from);
    for (size_t n = 0; n < l->n_taps; n++)
        cleanup_close(&l->taps[n]);
    for (size_t n = 0; n < l->n_disks; n++)
        cleanup_close(&l->disks[n]);
    *l = (struct launch)LAUNCH_INIT;
}
#define AUTO_LAUNCH CLEANUP(launch_close)

static unsigned start_timeout(void)
{
    const char *text = secure_getenv("VMUNDO_START_TIMEOUT_MS");
    unsigned long ms = text ? strtoul(text, NULL, 10) : 0;
    return ms > 0 && ms <= INT_MAX / 2 ? (unsigned)ms : START_TIMEOUT_MS;
}

static unsigned launch_timeout(const struct launch *l)
{
    uint64_t ms = start_timeout() + l->from.size / LOAD_BYTES_PER_MS;
    return ms <= INT_MAX / 2 ? (unsigned)ms : INT_MAX / 2;
}

/* ---- RAM and saved state ---------------------------------------------------------------------------------------- */

/* The lock goes with the descriptor to QEMU, and ends with it. */
static int lock_ram(const struct launch *l, struct vmundo_error *err)
{
    struct flock whole = {.l_type = l->i->ram_private ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(l->ram, F_OFD_SETLK, &whole) == 0)
        return 0;
    if (errno == EAGAIN)
        return error_set(err, VMUNDO_CONFLICT, "the RAM file %s is in use by another guest", l->i->ram);
    return error_errno(err, errno, "cannot lock the RAM file %s", l->i->ram);
}

static int open_ram(struct launch *l, struct vmundo_error *err)
{
    const char *path = l->i->ram;
    uint64_t want = qemu_ram_size(l->i->domain);
    struct stat st;
    if (!path)
        return 0;
    if (path_open_file(path, O_RDWR | O_NONBLOCK | O_NOCTTY, &l->ram, err) < 0)
        return error_wrap(err, "the guest's RAM");
    if (fstat(l->ram, &st) < 0)
        return error_errno(err, errno, "cannot look at the RAM file %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, VMUNDO_FAILED, "the RAM file %s is no file", path);
    if ((uint64_t)st.st_size != want)
        return error_set(err, VMUNDO_CONFLICT, "the RAM file %s has %llu bytes, and the domain's memory %llu", path,
                         (unsigned long long)st.st_size, (unsigned long long)want);
    return lock_ram(l, err);
}

static int open_saved(struct launch *l, struct vmundo_error *err)
{
    return l->i->saved ? saved_open(l->i->saved, &l->saved, &l->from, err) : 0;
}

static int check_saved(const struct launch *l, const struct strv *argv, struct vmundo_error *err)
{
    AUTO_STRV struct strv machine = {0};
    const char *const *items = (const char *const *)argv->items;
    if (!l->i->saved)
        return 0;
    if (qemu_machine(items, argv->n, &machine, err) < 0 || qemu_processor(items, argv->n, &machine, err) < 0)
        return -1;
    return saved_check(&l->from, l->i->saved_of, &machine, l->i->ram, err);
}

/* ---- orders ----------------------------------------------------------------------------------------------------- */

static const char *action_name(enum domain_action a)
{
    return a == ACTION_DESTROY ? "destroy" : a == ACTION_RESTART ? "restart" : "preserve";
}

static const char *ram_name(enum qemu_ram ram)
{
    return ram == RAM_SHARED ? "shared" : ram == RAM_PRIVATE ? "private" : "anonymous";
}

static json_t *argv_json(const struct strv *argv)
{
    json_t *list = json_array();
    for (size_t n = 0; n < argv->n; n++)
        if (json_array_append_new(list, json_string(argv->items[n])) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *images_json(const struct domain *d)
{
    json_t *images = json_object();
    for (size_t i = 0; i < d->n_disks; i++)
        if (d->disks[i].target && json_object_set_new(images, d->disks[i].vdev, json_string(d->disks[i].target)) < 0) {
            json_decref(images);
            return NULL;
        }
    return images;
}

static int write_spec(const struct launch *l, struct vmundo_error *err)
{
    const struct domain *d = l->i->domain;
    AUTO_STRV struct strv argv = {0};
    AUTO_FREE bool *is_block = NULL;
    struct qemu_host h;
    if (qemu_host(d, &l->i->options, &h, &is_block, err) < 0)
        return -1;
    h.ram = !l->i->ram ? RAM_ANONYMOUS : l->i->ram_private ? RAM_PRIVATE : RAM_SHARED;
    h.incoming = l->i->saved || l->i->reserve_for;
    if (qemu_argv(d, &h, &argv, err) < 0 || check_saved(l, &argv, err) < 0)
        return -1;
    json_t *list = argv_json(&argv);
    AUTO_JSON json_t *spec =
        json_pack("{s:o, s:o, s:i, s:i, s:s, s:s, s:s, s:s, s:s*, s:s*, s:b}", "argv", list, "images", images_json(d), "taps", (int)l->n_taps,
                  "timeout_ms", (int)launch_timeout(l), "on_poweroff", action_name(d->on_poweroff), "on_reboot",
                  action_name(d->on_reboot), "on_crash", action_name(d->on_crash), "ram", ram_name(h.ram), "saved",
                  l->from.qemu, "reserve_for", l->i->reserve_for, "saved_ram", l->from.has_ram);
    if (!spec)
        return error_set(err, VMUNDO_FAILED, "a path in the configuration is not UTF-8, which QEMU does not accept");
    return rundir_put(l->dirfd, RUNDIR_SPEC, spec, err);
}

static int open_logs(struct launch *l, bool anew, struct vmundo_error *err)
{
    const int append = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC;
    l->log = open(l->i->console_log, append, 0600);
    if (l->log < 0)
        return error_errno(err, errno, "cannot open the console log %s", l->i->console_log);
    l->errlog = openat(l->dirfd, RUNDIR_QEMU_LOG, append | (anew ? O_TRUNC : 0), 0600);
    return l->errlog < 0 ? error_errno(err, errno, "cannot open %s/%s", l->i->dir, RUNDIR_QEMU_LOG) : 0;
}

static int open_taps(struct launch *l, struct vmundo_error *err)
{
    const struct domain *d = l->i->domain;
    if (l->i->options.net && !str_eq(l->i->options.net, "bridge"))
        return 0;
    for (; l->n_taps < d->n_vifs && l->n_taps < RUNDIR_MAX_TAPS; l->n_taps++)
        if ((l->i->options.isolated ? qemu_open_dead_tap(&l->taps[l->n_taps], err)
                                    : qemu_open_tap(&d->vifs[l->n_taps], &l->taps[l->n_taps], err)) < 0)
            return error_wrap(err, "vif %zu", l->n_taps);
    return 0;
}

/* Opened here and not by QEMU: what was checked is what is used, and QEMU, which is another user soon, can open nothing anew. */
static int open_disks(struct launch *l, struct vmundo_error *err)
{
    const struct domain *d = l->i->domain;
    for (; l->n_disks < d->n_disks; l->n_disks++) {
        const struct domain_disk *disk = &d->disks[l->n_disks];
        int *fd = &l->disks[l->n_disks];
        *fd = -1;
        if (disk->target && path_open_file(disk->target, (disk->readonly ? O_RDONLY : O_RDWR) | O_NONBLOCK | O_NOCTTY, fd, err) < 0)
            return error_wrap(err, "%s", disk->vdev);
    }
    return 0;
}

/* ---- the monitor ------------------------------------------------------------------------------------------------ */

/* Its report: one line of JSON, {"ok": true} or {"code":, "errnum":, "message":}. */
static int take_report(const char *line, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    AUTO_FREE char *message = NULL;
    uint64_t code, errnum;
    if (json_parse(line, "the monitor's report", &o, err) < 0)
        return -1;
    if (json_opt_bool(o, "ok", false))
        return 0;
    if (json_get_string(o, "message", &message, err) < 0 || json_get_u64(o, "code", &code, err) < 0 ||
        json_get_u64(o, "errnum", &errnum, err) < 0)
        return -1;
    error_set(err, (enum vmundo_code)code, "%s", message);
    if (err)
        err->errnum = (int)errnum;
    return -1;
}

static int await_report(const struct launch *l, int pipe, struct vmundo_error *err)
{
    char line[MAX_REPORT];
    size_t len = 0;
    uint64_t deadline = sys_monotonic_ms() + launch_timeout(l) + GRACE_MS;
    while (!memchr(line, '\n', len) && len < sizeof(line) - 1) {
        uint64_t now = sys_monotonic_ms();
        if (now >= deadline || sys_wait_readable(pipe, (int)(deadline - now)) <= 0)
            return error_set(err, VMUNDO_FAILED, "the monitor does not answer");
        ssize_t n = TEMP_FAILURE_RETRY(read(pipe, line + len, sizeof(line) - 1 - len));
        if (n <= 0)
            return error_set(err, VMUNDO_FAILED, "the monitor died before the domain was started; see %s/%s", l->i->dir,
                             RUNDIR_QEMU_LOG);
        len += (size_t)n;
    }
    line[len] = '\0';
    return take_report(line, err);
}

/* Run it, mode "start" or "attach", and wait until it is ready. It puts itself into the background: the process that we
 * spawned ends at once. */
static int run_monitor(const struct launch *l, const char *mode, struct vmundo_error *err)
{
    AUTO_FREE char *path = process_libexec("vmundo-monitor", err);
    AUTO_CLOSE int ours = -1, theirs = -1;
    int ends[2];
    if (!path)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "cannot make a pipe");
    ours = ends[0];
    theirs = ends[1];
    struct process_fd fds[5 + RUNDIR_MAX_TAPS + RUNDIR_MAX_DISKS] = {
        {l->lock, MONITOR_FD_LOCK}, {theirs, MONITOR_FD_READY}, {l->log, MONITOR_FD_CONSOLE_LOG}};
    size_t n_fds = 3;
    if (l->ram >= 0)
        fds[n_fds++] = (struct process_fd){l->ram, MONITOR_FD_RAM};
    if (l->saved >= 0)
        fds[n_fds++] = (struct process_fd){l->saved, MONITOR_FD_SAVED};
    for (size_t n = 0; n < l->n_taps; n++)
        fds[n_fds++] = (struct process_fd){l->taps[n], MONITOR_FD_TAP + (int)n};
    for (size_t n = 0; n < l->n_disks; n++)
        if (l->disks[n] >= 0)
            fds[n_fds++] = (struct process_fd){l->disks[n], MONITOR_FD_DISK + (int)n};
    struct process_options o = PROCESS_OPTIONS_INIT;
    o.cwd_fd = l->dirfd;
    o.errout = l->errlog;
    o.fds = fds;
    o.n_fds = n_fds;
    o.new_session = true;
    pid_t pid;
    if (process_spawn((const char *const[]){path, mode, l->i->domain->name, NULL}, &o, &pid, err) < 0)
        return -1;
    close(TAKE_FD(theirs));
    int r = await_report(l, ours, err);
    if (r < 0)
        kill(pid, SIGKILL); /* it may hang; if it has gone to the background, this is but what is left of it to wait for */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return r;
}

/* Somebody has started it already, or is just doing so: the first is fine. */
static int confirm_started(int dirfd, struct vmundo_error *err)
{
    AUTO_QMP struct qmp q = QMP_INIT;
    AUTO_FREE char *status = NULL;
    if (qemu_qmp(dirfd, start_timeout(), &q, NULL) == 0 && qmp_status(&q, &status, NULL) == 0)
        return 0;
    return error_set(err, VMUNDO_CONFLICT, "it is being started or is ending at this moment");
}

/* l->lock stays -1 when a monitor has it. */
static int lock_monitor(struct launch *l, struct vmundo_error *err)
{
    l->lock = rundir_lock(l->dirfd, RUNDIR_MONITOR_LOCK);
    return l->lock < 0 && errno != EAGAIN ? error_errno(err, errno, "cannot lock %s/%s", l->i->dir, RUNDIR_MONITOR_LOCK)
                                          : 0;
}

static int start_fresh(struct launch *l, struct vmundo_error *err)
{
    if (ftruncate(l->lock, 0) < 0)
        return error_errno(err, errno, "cannot clear %s", RUNDIR_MONITOR_LOCK);
    unlinkat(l->dirfd, RUNDIR_END, 0);
    unlinkat(l->dirfd, RUNDIR_QEMU_PID, 0);
    unlinkat(l->dirfd, RUNDIR_SAVED, 0);
    if (open_ram(l, err) < 0 || open_saved(l, err) < 0)
        return -1;
    if (open_logs(l, true, err) < 0 || open_taps(l, err) < 0 ||
        open_disks(l, err) < 0 || write_spec(l, err) < 0)
        return -1;
    if (run_monitor(l, "start", err) < 0)
        return -1;
    return qemu_check_files(l->dirfd, l->disks, l->n_disks, (const int[]){l->ram, l->log, l->errlog}, 3, err);
}

static int attach(struct launch *l, struct vmundo_error *err)
{
    return open_logs(l, false, err) < 0 ? -1 : run_monitor(l, "attach", err);
}

int qemu_start(const struct instance *i, struct vmundo_error *err)
{
    AUTO_LAUNCH struct launch l = LAUNCH_INIT;
    l.i = i;
    bool runs;
    if (qemu_open_dir(i, &l.dirfd, err) < 0 || lock_monitor(&l, err) < 0)
        return -1;
    /* Once more: it may have been a monitor that was just dying. */
    if (l.lock < 0 && (confirm_started(l.dirfd, err) < 0 || lock_monitor(&l, err) < 0))
        return -1;
    if (l.lock < 0)
        return 0;
    if (rundir_is_locked(l.dirfd, RUNDIR_QEMU_LOCK, &runs, err) < 0)
        return -1;
    if (runs)
        return attach(&l, err);
    if (start_fresh(&l, err) == 0)
        return 0;
    launch_close(&l); /* the lock above all */
    qemu_destroy(i, NULL);
    return -1;
}

int qemu_rewatch(const struct instance *i, struct vmundo_error *err)
{
    AUTO_LAUNCH struct launch l = LAUNCH_INIT;
    l.i = i;
    bool runs;
    if (qemu_open_live_dir(i, &l.dirfd, err) < 0 || rundir_is_locked(l.dirfd, RUNDIR_QEMU_LOCK, &runs, err) < 0)
        return -1;
    if (!runs)
        return error_set(err, VMUNDO_CONFLICT, "the domain is off");
    if (lock_monitor(&l, err) < 0)
        return -1;
    return l.lock < 0 ? 0 : attach(&l, err);
}
