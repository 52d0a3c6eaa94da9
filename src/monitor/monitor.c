/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * monitor.c: main. Into the background, orders, launch, report; then wait, and at the end write down how it ended.
 * The monitor is not to be ended: hang-ups and terminations are blocked. It ends with its QEMU, and if it is killed
 * nevertheless, QEMU runs on and the driver can start another monitor.
 */
#include "monitor/monitor.h"

#include "util/confine.h"
#include "util/scope.h"
#include "util/str.h"

#include <fcntl.h>
#include <signal.h>

#define LOGS_EVERY_MS 10000u

/* ---- setting up ------------------------------------------------------------------------------------------------- */

/* Our descriptors are not for QEMU; and a child of init needs no one to wait for it. */
static int go_to_background(void)
{
    sys_outlive_terminal();
    for (int fd = MONITOR_FD_LOCK; fd < MONITOR_FD_END; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    pid_t pid = fork();
    if (pid > 0)
        _exit(0);
    return pid < 0 ? -1 : 0;
}

static enum action parse_action(const json_t *spec, const char *key)
{
    const char *s = json_string_value(json_object_get(spec, key));
    return str_eq(s, "restart") ? ACTION_RESTART : str_eq(s, "preserve") ? ACTION_PRESERVE : ACTION_DESTROY;
}

static int read_spec(struct monitor *m, struct vmundo_error *err)
{
    if (rundir_get(m->dir, RUNDIR_SPEC, &m->spec, err) < 0)
        return -1;
    const char *argv0 = json_string_value(json_array_get(json_object_get(m->spec, "argv"), 0));
    if (!argv0)
        return error_set(err, VMUNDO_FAILED, "%s names no program", RUNDIR_SPEC);
    const char *slash = strrchr(argv0, '/');
    m->program = slash ? slash + 1 : argv0;
    m->reserve_for = json_string_value(json_object_get(m->spec, "reserve_for"));
    m->actions[CAUSE_POWEROFF] = parse_action(m->spec, "on_poweroff");
    m->actions[CAUSE_REBOOT] = parse_action(m->spec, "on_reboot");
    m->actions[CAUSE_CRASH] = parse_action(m->spec, "on_crash");
    return 0;
}

void record_write(struct monitor *m)
{
    struct vmundo_error e = {0};
    m->record_changed = false;
    if (monitor_record_write(MONITOR_FD_LOCK, &m->record, &e) < 0)
        log_say("%s", e.msg);
}

/* The lock's file tells who we are from here on. What the monitor before us owed the guest, we owe. */
static int take_over_record(struct monitor *m, struct vmundo_error *err)
{
    struct monitor_record before = {0};
    if (monitor_record_read(m->dir, &before, NULL) == 0)
        m->record.held = before.held, m->record.frozen = before.frozen, m->record.no_room = before.no_room,
        m->record.crowded = before.crowded;
    m->room_due = m->record.no_room;
    if (sys_process_self(&m->record.process) < 0)
        return error_errno(err, errno, "cannot find our own process");
    return monitor_record_write(MONITOR_FD_LOCK, &m->record, err);
}

static int set_up(struct monitor *m, bool attach, struct vmundo_error *err)
{
    m->dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->dir < 0 || take_over_record(m, err) < 0)
        return m->dir < 0 ? error_errno(err, errno, "cannot open the instance's directory") : -1;
    if (read_spec(m, err) < 0)
        return -1;
    return attach ? launch_attach(m, err) : launch_start(m, err);
}

/* Is there still somebody who wants to know? */
static bool report(const struct vmundo_error *e)
{
    AUTO_JSON json_t *o = e->code == VMUNDO_OK ? json_pack("{s:b}", "ok", 1)
                                               : json_pack("{s:i, s:i, s:s}", "code", (int)e->code, "errnum", e->errnum,
                                                           "message", e->msg);
    AUTO_FREE char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    bool told = text && dprintf(MONITOR_FD_READY, "%s\n", text) > 0;
    close(MONITOR_FD_READY);
    return told;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------- */

static int next_timeout(const struct monitor *m, uint64_t now)
{
    uint64_t due = m->logs_due;
    if (qmp_has_more(&m->qmp) || m->cause != CAUSE_NONE)
        return 0;
    if (m->holder && m->hold_deadline < due)
        due = m->hold_deadline;
    if (m->cont_due && m->cont_due < due)
        due = m->cont_due;
    if (m->room_due && m->room_due < due)
        due = m->room_due;
    if (m->reserve_for && m->reserve_due < due)
        due = m->reserve_due;
    if (room_due(m) < due)
        due = room_due(m);
    if (agent_due(m) < due)
        due = agent_due(m);
    return due > now ? (int)(due - now) : 0;
}

static void do_what_is_due(struct monitor *m)
{
    uint64_t now = sys_monotonic_ms();
    guest_take_events(m);
    if (m->was_reset)
        agent_guest_was_reset(m);
    m->was_reset = false;
    if (m->announce)
        guest_announce(m);
    control_tick(m, now);
    guest_check_reserve(m, now);
    room_tick(m, now);
    guest_try_again(m, now);
    agent_tick(m, now);
    guest_decide(m);
    if (now >= m->logs_due) {
        log_trim();
        m->logs_due = now + LOGS_EVERY_MS;
    }
    if (m->record_changed)
        record_write(m);
}

static void watch(struct monitor *m)
{
    for (;;) {
        do_what_is_due(m);
        struct pollfd p[4 + MAX_CLIENTS] = {{.fd = m->pidfd, .events = POLLIN},
                                            {.fd = m->qmp.fd, .events = POLLIN},
                                            {.fd = m->agent.fd, .events = POLLIN}};
        size_t n = control_poll(m, p + 3);
        if (poll(p, 3 + n, next_timeout(m, sys_monotonic_ms())) < 0)
            continue;
        if (p[0].revents)
            return;
        if (p[2].revents)
            agent_serve(m);
        control_serve(m, p + 3, n);
    }
}

static void write_end(struct monitor *m)
{
    if (m->reserve_for) { /* it never was the domain: who is about to use it starts another one */
        unlinkat(m->dir, RUNDIR_QEMU_PID, 0);
        return;
    }
    AUTO_FREE char *how = NULL;
    struct vmundo_error e = {0};
    AUTO_JSON json_t *o = guest_ended(m, &how, &e) == 0 ? json_pack("{s:s}", "ended", how) : NULL;
    AUTO_FREE char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    if (!text || sys_write_file(m->dir, RUNDIR_END, text, strlen(text), &e) < 0)
        log_say("cannot write down how it ended: %s", e.msg);
}

/* With QEMU out of the session in which the command was given; a QEMU that runs has left that already. Whoever waited
 * for our report does not wait for this. */
static void leave_session(const struct monitor *m, bool attach, const char *domain)
{
    struct vmundo_error e = {0};
    if (scope_is_possible() && scope_enter(attach ? "monitor" : "domain", domain, attach ? 0 : m->qemu.pid, &e) < 0)
        log_say("it has no scope of its own: %s", e.msg);
}

/* What QEMU or an agent says is read with as few rights as can be: files are written in the instance's directory only. */
static void give_up_rights(const struct monitor *m)
{
    if (confine_drop_capabilities() < 0 || confine_writes(m->dir) < 0)
        log_say("the monitor keeps its rights: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    static struct monitor m = {.pidfd = -1, .qmp = QMP_INIT, .listener = -1, .agent = {.fd = -1}, .room = {.fd = -1}};
    struct vmundo_error e = {0};
    bool attach = argc == 3 && str_eq(argv[1], "attach");
    if (argc != 3 || (!attach && !str_eq(argv[1], "start")) || fcntl(MONITOR_FD_LOCK, F_GETFD) < 0) {
        fprintf(stderr, "vmundo-monitor is started by vmundo, not by hand\n");
        return VMUNDO_USAGE;
    }
    for (size_t i = 0; i < MAX_CLIENTS; i++)
        m.clients[i].fd = -1;
    if (go_to_background() < 0)
        return VMUNDO_FAILED;
    confine_no_new_privileges();
    int r = set_up(&m, attach, &e);
    /* Whoever started it was killed meanwhile: nobody knows that it runs. An attached one was running before. */
    if (!report(&e) && r == 0 && !attach)
        sys_pidfd_signal(m.pidfd, SIGKILL);
    if (r < 0)
        return VMUNDO_FAILED;
    leave_session(&m, attach, argv[2]);
    give_up_rights(&m);
    watch(&m);
    write_end(&m);
    return 0;
}
