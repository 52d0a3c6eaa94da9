/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * launch.c: from nothing, or from a QEMU without a monitor, to a QEMU with one. The sockets are made here and handed to
 * QEMU listening, so that connecting needs no waiting and no retries: the connection stands before QEMU knows of it,
 * and ends when QEMU does.
 */
#include "monitor/monitor.h"

#include "util/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static int cannot_listen(const char *name, struct vmundo_error *err)
{
    return error_errno(err, errno, "cannot listen on %s", name);
}

/* ---- a new one -------------------------------------------------------------------------------------------------- */

#define N_FIXED 7
struct handover {
    struct process_fd fds[N_FIXED + RUNDIR_MAX_TAPS + RUNDIR_MAX_DISKS];
    size_t n;
};

/* The console's log stays ours as well; everything else is QEMU's alone from now on. */
static void handover_close(struct handover *h)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->fds[i].fd != MONITOR_FD_CONSOLE_LOG)
            close(h->fds[i].fd);
    h->n = 0;
}

static void handover_add(struct handover *h, int fd, int as)
{
    h->fds[h->n++] = (struct process_fd){fd, as};
}

static int open_sockets(const struct monitor *m, struct handover *h, struct vmundo_error *err)
{
    static const struct {
        const char *name;
        int as;
    } sockets[] = {{RUNDIR_QMP_SOCKET, QEMU_FD_QMP},
                   {RUNDIR_EVENTS_SOCKET, QEMU_FD_EVENTS},
                   {RUNDIR_CONSOLE_SOCKET, QEMU_FD_CONSOLE},
                   {RUNDIR_AGENT_SOCKET, QEMU_FD_AGENT}};
    for (size_t i = 0; i < ARRAY_SIZE(sockets); i++) {
        unlinkat(m->dir, sockets[i].name, 0);
        int fd = sys_unix_listen(m->dir, sockets[i].name);
        if (fd < 0)
            return cannot_listen(sockets[i].name, err);
        handover_add(h, fd, sockets[i].as);
    }
    return 0;
}

static const char *spec_string(const struct monitor *m, const char *key, const char *missing)
{
    const char *s = json_string_value(json_object_get(m->spec, key));
    return s ? s : missing;
}

static int collect_handover(const struct monitor *m, struct handover *h, struct vmundo_error *err)
{
    uint64_t taps;
    if (json_get_u64(m->spec, "taps", &taps, err) < 0)
        return -1;
    for (unsigned i = 0; i < taps && i < RUNDIR_MAX_TAPS; i++)
        handover_add(h, MONITOR_FD_TAP + (int)i, QEMU_FD_TAP + (int)i);
    for (int i = 0; i < (int)RUNDIR_MAX_DISKS; i++)
        if (fcntl(MONITOR_FD_DISK + i, F_GETFD) >= 0)
            handover_add(h, MONITOR_FD_DISK + i, QEMU_FD_DISK + i);
    if (!str_eq(spec_string(m, "ram", "anonymous"), "anonymous"))
        handover_add(h, MONITOR_FD_RAM, QEMU_FD_RAM);
    handover_add(h, MONITOR_FD_CONSOLE_LOG, QEMU_FD_CONSOLE_LOG);
    int lock = rundir_lock(m->dir, RUNDIR_QEMU_LOCK);
    if (lock < 0)
        return error_errno(err, errno, "cannot lock %s", RUNDIR_QEMU_LOCK);
    handover_add(h, lock, QEMU_FD_LOCK);
    return open_sockets(m, h, err);
}

static int note_pid(const struct monitor *m, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = rundir_process_json(&m->qemu);
    if (!o || json_object_set_new(o, "since", json_integer(sys_realtime_ms() / 1000)) < 0)
        return error_nomem(err);
    return rundir_put(m->dir, RUNDIR_QEMU_PID, o, err);
}

/* QEMU asks for huge pages for its RAM. In a file that is cloned again and again each byte that the guest changes would then
 * cost 2 MiB of writing. Without this it works, too. */
static void want_small_pages(const struct monitor *m)
{
    struct stat st;
    if (str_eq(spec_string(m, "ram", "anonymous"), "shared") && fstat(MONITOR_FD_RAM, &st) == 0 &&
        sys_deny_huge_pages((uint64_t)st.st_size) < 0)
        log_say("the RAM file will be in huge pages: %s", strerror(errno));
}

static int spawn(struct monitor *m, struct vmundo_error *err)
{
    CLEANUP(handover_close) struct handover h = {.n = 0};
    const json_t *list = json_object_get(m->spec, "argv");
    AUTO_FREE const char **argv = calloc(json_array_size(list) + 1, sizeof(*argv));
    if (!argv)
        return error_nomem(err);
    for (size_t i = 0; i < json_array_size(list); i++)
        argv[i] = json_string_value(json_array_get(list, i));
    if (collect_handover(m, &h, err) < 0)
        return -1;
    struct process_options o = PROCESS_OPTIONS_INIT;
    o.cwd_fd = m->dir;
    o.out = o.errout = STDERR_FILENO;
    o.fds = h.fds;
    o.n_fds = h.n;
    pid_t pid;
    want_small_pages(m);
    room_open(m, getpid(), MONITOR_FD_RAM);
    if (process_spawn(argv, &o, &pid, err) < 0)
        return -1;
    m->is_child = true;
    m->qemu.pid = pid;
    /* As long as we have not waited for it, the pid is its own, dead or alive. */
    if (sys_process_of(pid, &m->qemu) < 0 || (m->pidfd = sys_process_open(&m->qemu)) < 0)
        return error_errno(err, errno, "cannot follow %s", m->program);
    return note_pid(m, err);
}

/* QMP over events.sock. Fails as soon as QEMU ends, because it had the only listening descriptor. */
static int connect_events(struct monitor *m, unsigned timeout_ms, struct vmundo_error *err)
{
    m->qmp.fd = sys_unix_connect(m->dir, RUNDIR_EVENTS_SOCKET);
    if (m->qmp.fd < 0)
        return error_errno(err, errno, "cannot connect to %s", RUNDIR_EVENTS_SOCKET);
    m->qmp.on_event = guest_event;
    m->qmp.data = m;
    m->qmp.timeout_ms = timeout_ms;
    return qmp_start(&m->qmp, err);
}

/* Instead of booting. */
static int load_saved(struct monitor *m, struct vmundo_error *err)
{
    int r = qmp_ignore_shared(&m->qmp, !json_opt_bool(m->spec, "saved_ram", false), err);
    r = r < 0 ? r : qmp_load(&m->qmp, MONITOR_FD_SAVED, spec_string(m, "saved", ""), err);
    close(MONITOR_FD_SAVED);
    return r;
}

/* QEMU's own words are better than "it has closed the connection" or "it does not answer". */
static int explain(struct monitor *m, struct vmundo_error *err)
{
    AUTO_FREE char *how = NULL, *said = NULL;
    if (m->pidfd >= 0 && sys_wait_readable(m->pidfd, 200) > 0) {
        if (guest_ended(m, &how, err) == 0)
            error_set(err, VMUNDO_FAILED, "%s", how);
    } else if ((said = log_last_line(m))) {
        AUTO_FREE char *first = strdup(err->msg);
        error_set(err, VMUNDO_FAILED, "%s (%s said: %s)", first ? first : "", m->program, said);
    }
    return -1;
}

static int explain_load(struct monitor *m, struct vmundo_error *err)
{
    explain(m, err);
    return error_wrap(err, "QEMU cannot load the saved state");
}

static void kill_child(struct monitor *m)
{
    if (m->is_child) {
        kill(m->qemu.pid, SIGKILL);
        while (waitpid(m->qemu.pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    unlinkat(m->dir, RUNDIR_QEMU_PID, 0);
}

/* A reserve is told now what need not be said when time counts. When it has loaded a state it is not to tell the
 * network, since another one runs; that is done when it does. */
static int prepare_reserve(struct monitor *m, struct vmundo_error *err)
{
    return qmp_ignore_shared(&m->qmp, true, err) < 0
               ? -1
               : qmp_call(&m->qmp, "migrate-set-parameters", json_pack("{s:i}", "announce-rounds", 0), NULL, err);
}

static int bring_up(struct monitor *m, struct vmundo_error *err)
{
    uint64_t timeout;
    AUTO_FREE char *status = NULL;
    if (json_get_u64(m->spec, "timeout_ms", &timeout, err) < 0 || control_open(m, err) < 0 || spawn(m, err) < 0)
        return -1;
    if (connect_events(m, (unsigned)timeout, err) < 0)
        return explain(m, err);
    if (m->reserve_for && prepare_reserve(m, err) < 0)
        return explain(m, err);
    if (json_object_get(m->spec, "saved") && load_saved(m, err) < 0)
        return err->code == VMUNDO_CONFLICT ? -1 : explain_load(m, err);
    if (qmp_status(&m->qmp, &status, err) < 0)
        return explain(m, err);
    m->qmp.timeout_ms = QMP_TIMEOUT_MS;
    m->record.paused = !str_eq(status, "running");
    record_write(m);
    return 0;
}

int launch_start(struct monitor *m, struct vmundo_error *err)
{
    if (bring_up(m, err) == 0)
        return 0;
    kill_child(m);
    return -1;
}

/* ---- one that runs ---------------------------------------------------------------------------------------------- */

static int find_process(struct monitor *m, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    if (rundir_get(m->dir, RUNDIR_QEMU_PID, &o, err) < 0 || rundir_process_parse(o, &m->qemu, err) < 0)
        return -1;
    m->pidfd = sys_process_open(&m->qemu);
    return m->pidfd < 0 ? error_errno(err, errno, "process %d is not QEMU any more", m->qemu.pid) : 0;
}

/* What has happened while nobody watched. */
static void catch_up(struct monitor *m, const char *status)
{
    m->record.paused = !str_eq(status, "running");
    m->record_changed = true;
    if (str_eq(status, "guest-panicked"))
        m->cause = CAUSE_CRASH;
    else if (str_eq(status, "shutdown"))
        m->cause = CAUSE_POWEROFF;
}

int launch_attach(struct monitor *m, struct vmundo_error *err)
{
    AUTO_FREE char *status = NULL;
    if (find_process(m, err) < 0 || control_open(m, err) < 0 || connect_events(m, QMP_TIMEOUT_MS, err) < 0 ||
        qmp_status(&m->qmp, &status, err) < 0)
        return -1;
    if (str_eq(status, "inmigrate"))
        return error_set(err, VMUNDO_CONFLICT, "its start from a saved state was cut off: destroy it and start it again");
    m->reserve_for = NULL; /* whether it has run by now nobody knows */
    catch_up(m, status);
    room_open(m, m->qemu.pid, QEMU_FD_RAM);
    control_continue(m); /* if the last monitor was killed while it held the guest */
    if (m->record.frozen)
        m->thaw_due = sys_monotonic_ms();
    return 0;
}
