/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest.c: what the guest does, and what comes of it. Where the configuration wants an end, QEMU was told (-action) to
 * end by itself. Where it does not, QEMU only pauses, and tells in an event why; then it is our turn. Events are noted
 * as they come, in the middle of other commands perhaps, and acted upon afterwards.
 */
#include "monitor/monitor.h"

#include "util/str.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static void note_end(struct monitor *m, const char *how)
{
    free(m->ended);
    m->ended = strdup(how);
}

/* Reasons: ShutdownCause in QEMU's qapi/run-state.json. The first one counts: "quit" and signals come after what made
 * somebody send them. */
static void on_shutdown(struct monitor *m, const char *reason)
{
    static const struct {
        const char *reason;
        enum cause cause;
        const char *ended;
    } reasons[] = {
        {"guest-shutdown", CAUSE_POWEROFF, "guest powered off"},
        {"guest-reset", CAUSE_REBOOT, "guest rebooted"},
        {"guest-panic", CAUSE_CRASH, "guest crashed"},
        {"host-signal", CAUSE_NONE, "QEMU was ended by a signal"},
        {"host-qmp-quit", CAUSE_NONE, "QEMU was told to quit"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        if (!str_eq(reason, reasons[i].reason))
            continue;
        if (reasons[i].cause != CAUSE_NONE)
            m->cause = reasons[i].cause;
        if (!m->ended)
            note_end(m, reasons[i].ended);
    }
}

#define TRY_AGAIN_MS 1000u

/* By default QEMU stops a guest whose write fails for want of room (werror=enospc), and does it again on "cont". */
static void on_io_error(struct monitor *m, const json_t *arguments)
{
    if (!json_is_true(json_object_get(arguments, "nospace")) ||
        !str_eq(json_string_value(json_object_get(arguments, "action")), "stop"))
        return;
    if (!m->room_due)
        log_say("no room for what the guest writes: it stands still until there is");
    m->room_due = sys_monotonic_ms() + TRY_AGAIN_MS;
    m->record.no_room = m->record_changed = true;
}

void guest_try_again(struct monitor *m, uint64_t now)
{
    AUTO_FREE char *status = NULL;
    struct vmundo_error e = {0};
    if (!m->room_due || now < m->room_due)
        return;
    m->room_due = now + TRY_AGAIN_MS;
    if (m->qmp.fd < 0 || m->record.held || room_is_scarce(m)) /* who holds it lets it run */
        return;
    if (qmp_status(&m->qmp, &status, &e) < 0 || (str_eq(status, "io-error") && qmp_do(&m->qmp, "cont", &e) < 0)) {
        log_say("%s", e.msg);
    } else if (!str_eq(status, "io-error")) { /* it has written for a while, or somebody else has paused it */
        m->room_due = 0;
        m->record.no_room = false;
        m->record_changed = true;
    }
}

void guest_event(void *data, const char *event, const json_t *arguments)
{
    struct monitor *m = data;
    bool stop = str_eq(event, "STOP"), resume = str_eq(event, "RESUME");
    if (stop || resume) {
        m->record.paused = stop;
        m->record_changed = true;
        if (resume && m->reserve_for) {
            m->reserve_for = NULL;
            m->announce = true;
        }
        if (resume) {
            m->record.crowded = false;
            m->room.due = 0;
        }
        if (resume && m->record.held && !m->continuing) { /* somebody else has let it run */
            m->record.held = false;
            control_lose_holder(m);
        }
    } else if (str_eq(event, "BLOCK_IO_ERROR")) {
        on_io_error(m, arguments);
    } else if (str_eq(event, "RESET")) {
        m->was_reset = true;
    } else if (str_eq(event, "SHUTDOWN")) {
        on_shutdown(m, json_string_value(json_object_get(arguments, "reason")));
    } else if (str_eq(event, "GUEST_PANICKED")) {
        on_shutdown(m, "guest-panic");
    }
}

void guest_take_events(struct monitor *m)
{
    struct vmundo_error e = {0};
    if (m->qmp.fd < 0 || qmp_receive(&m->qmp, &e) == 0)
        return;
    if (e.errnum != ECONNRESET)
        log_say("%s", e.msg);
    qmp_close(&m->qmp);
}

/* End QEMU. If it does not listen, it is killed. Often it is ending already. */
static void quit(struct monitor *m)
{
    struct vmundo_error e = {0};
    if (qmp_do(&m->qmp, "quit", &e) < 0 && e.errnum != ECONNRESET) {
        log_say("%s", e.msg);
        sys_pidfd_signal(m->pidfd, SIGKILL);
    }
}

#define RESERVE_EVERY_MS 500u

void guest_check_reserve(struct monitor *m, uint64_t now)
{
    char name[64];
    bool runs = true;
    if (!m->reserve_for || now < m->reserve_due)
        return;
    m->reserve_due = now + RESERVE_EVERY_MS;
    snprintf(name, sizeof(name), "../%.40s", m->reserve_for);
    AUTO_CLOSE int dir = openat(m->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0 ? rundir_is_locked(dir, RUNDIR_QEMU_LOCK, &runs, NULL) == 0 && runs : errno != ENOENT)
        return;
    guest_take_events(m); /* perhaps it has been let run, and is why the other one has ended */
    if (!m->reserve_for)
        return;
    log_say("%s has ended, and so its reserve ends", m->reserve_for);
    quit(m);
}

void guest_announce(struct monitor *m)
{
    json_t *how = json_pack("{s:i, s:i, s:i, s:i}", "initial", 50, "max", 550, "rounds", 5, "step", 100);
    struct vmundo_error e = {0};
    m->announce = false;
    if (m->qmp.fd >= 0 && qmp_call(&m->qmp, "announce-self", how, NULL, &e) < 0)
        log_say("%s", e.msg);
}

static void restart(struct monitor *m)
{
    struct vmundo_error e = {0};
    if (qmp_do(&m->qmp, "system_reset", &e) < 0 || qmp_do(&m->qmp, "cont", &e) < 0) {
        log_say("cannot restart the guest: %s", e.msg);
        return;
    }
    free(TAKE(m->ended));
}

void guest_decide(struct monitor *m)
{
    if (m->cause == CAUSE_NONE)
        return;
    enum action action = control_is_stopping(m) ? ACTION_DESTROY : m->actions[m->cause];
    m->cause = CAUSE_NONE;
    if (m->qmp.fd < 0)
        return;
    if (action == ACTION_DESTROY)
        quit(m);
    else if (action == ACTION_RESTART)
        restart(m);
}

/* *ret NULL: it ended as it should. When QEMU is not our child (we took over from another monitor), nobody can tell. */
static int describe_status(struct monitor *m, char **ret, struct vmundo_error *err)
{
    siginfo_t si = {0};
    *ret = NULL;
    if (!m->is_child || TEMP_FAILURE_RETRY(waitid(P_PID, (id_t)m->qemu.pid, &si, WEXITED)) < 0)
        return 0;
    m->is_child = false;
    if (si.si_code != CLD_EXITED)
        return (*ret = str_printf(err, "%s was killed by signal %d", m->program, si.si_status)) ? 0 : -1;
    if (si.si_status == 0)
        return 0;
    AUTO_FREE char *why = log_last_line(m);
    *ret = str_printf(err, "%s failed with status %d%s%s", m->program, si.si_status, why ? ": " : "", why ? why : "");
    return *ret ? 0 : -1;
}

int guest_ended(struct monitor *m, char **ret, struct vmundo_error *err)
{
    AUTO_FREE char *status = NULL;
    if (m->qmp.fd >= 0)
        qmp_receive(&m->qmp, NULL); /* its last words, up to the end of the connection */
    if (describe_status(m, &status, err) < 0)
        return -1;
    if (m->ended && !status) {
        *ret = TAKE(m->ended);
        return 0;
    }
    *ret = status ? TAKE(status) : str_printf(err, "%s ended without a word", m->program);
    return *ret ? 0 : -1;
}
