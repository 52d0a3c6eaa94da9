/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * control.c: what other commands ask of the monitor, over control.sock, a JSON object per line, each answered by one:
 *
 *     {"hold": MS}        pause the guest, for MS milliseconds at most           {"ok": true}
 *     {"release": true}   let it run again                     {"ok": true, "held": was it paused all the time}
 *     {"freeze": MS, "wait": MS}    have the guest's agent freeze its file systems, within `wait`, for MS at most
 *                                                          {"ok": true, "frozen": how many}
 *     {"thaw": true}      and thaw them                    {"ok": true, "frozen": were they frozen all the time}
 *     {"wake": true}      thaw them, and set the guest's clock, in the background    {"ok": true}
 *     {"stopping": true}  the guest is to end: when it powers off, on_poweroff does not count    {"ok": true}
 *     anything that cannot be done                          {"error": "why", "code": enum vmundo_code}
 *
 * What is held or frozen has a deadline, and is let go when its client's connection ends in whatever way: a guest is never left
 * paused because a command was killed. Before the guest is paused the record says that it is held, so that even a
 * monitor that takes over from a dead one knows that it owes the guest a "cont".
 */
#include "monitor/monitor.h"

#include "util/str.h"

#include <fcntl.h>
#include <sys/socket.h>

#define MAX_HOLD_MS 600000u
#define RETRY_MS 1000u

int control_open(struct monitor *m, struct vmundo_error *err)
{
    unlinkat(m->dir, RUNDIR_CONTROL_SOCKET, 0);
    m->listener = sys_unix_listen(m->dir, RUNDIR_CONTROL_SOCKET);
    return m->listener < 0 ? error_errno(err, errno, "cannot listen on %s", RUNDIR_CONTROL_SOCKET) : 0;
}

/* ---- holding ---------------------------------------------------------------------------------------------------- */

void control_continue(struct monitor *m)
{
    struct vmundo_error e = {0};
    m->holder = NULL;
    m->cont_due = 0;
    if (!m->record.held)
        return;
    if (room_is_scarce(m)) { /* room_tick() lets it run */
        m->record.held = false;
        m->record.crowded = true;
        record_write(m);
        return;
    }
    m->continuing = true;
    int r = qmp_cont(&m->qmp, &e);
    m->continuing = false;
    if (r < 0) {
        log_say("the guest cannot run on after having been held: %s", e.msg);
        if (m->qmp.fd >= 0)
            m->cont_due = sys_monotonic_ms() + RETRY_MS;
        return;
    }
    m->record.held = false;
    record_write(m);
}

void control_lose_holder(struct monitor *m)
{
    if (m->holder)
        m->holder->lost = true;
    m->holder = NULL;
}

void control_tick(struct monitor *m, uint64_t now)
{
    if (m->holder && now >= m->hold_deadline) {
        log_say("the guest was held for too long and runs on");
        control_lose_holder(m);
        control_continue(m);
    } else if (m->cont_due && now >= m->cont_due) {
        control_continue(m);
    }
}

static int hold(struct monitor *m, struct client *c, uint64_t ms, struct vmundo_error *err)
{
    AUTO_FREE char *status = NULL;
    if (m->holder && m->holder != c)
        return error_set(err, VMUNDO_CONFLICT, "another command holds the guest");
    if (ms == 0 || ms > MAX_HOLD_MS)
        return error_set(err, VMUNDO_USAGE, "a guest can be held for 1 to %u ms", MAX_HOLD_MS);
    if (!m->holder && m->record.held)
        return error_set(err, VMUNDO_CONFLICT, "the guest could not yet be let go by whoever held it before");
    if (!m->holder) {
        if (qmp_status(&m->qmp, &status, err) < 0)
            return -1;
        m->record.held = str_eq(status, "running"); /* else it is paused already, and stays so afterwards */
        if (m->record.held) {
            record_write(m);
            if (qmp_do(&m->qmp, "stop", err) < 0) {
                control_continue(m); /* it may still come to be paused */
                return -1;
            }
        }
    }
    c->lost = false;
    m->holder = c;
    m->hold_deadline = sys_monotonic_ms() + ms;
    return 0;
}

static json_t *release(struct monitor *m, const struct client *c)
{
    bool held = m->holder == c;
    qmp_receive(&m->qmp, NULL); /* it may be running already */
    held = held && m->holder == c && !c->lost;
    if (m->holder == c)
        control_continue(m);
    return json_pack("{s:b, s:b}", "ok", 1, "held", held);
}

bool control_is_stopping(const struct monitor *m)
{
    for (size_t i = 0; i < MAX_CLIENTS; i++)
        if (m->clients[i].fd >= 0 && m->clients[i].stopping)
            return true;
    return false;
}

/* ---- clients ---------------------------------------------------------------------------------------------------- */

static void hang_up(struct monitor *m, struct client *c)
{
    agent_forget(m, c);
    if (m->holder == c)
        control_continue(m);
    cleanup_close(&c->fd);
    *c = (struct client){.fd = -1};
}

/* *ret stays NULL: the answer comes later. */
static int obey(struct monitor *m, struct client *c, const char *line, json_t **ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    uint64_t ms;
    if (json_parse(line, "the request", &o, err) < 0)
        return -1;
    if (json_object_get(o, "hold")) {
        if (json_get_u64(o, "hold", &ms, err) < 0 || hold(m, c, ms, err) < 0)
            return -1;
    } else if (json_object_get(o, "release")) {
        *ret = release(m, c);
        return 0;
    } else if (json_object_get(o, "freeze")) {
        uint64_t wait;
        return json_get_u64(o, "freeze", &ms, err) < 0 || json_get_u64(o, "wait", &wait, err) < 0
                   ? -1
                   : agent_freeze(m, c, wait, ms, err);
    } else if (json_object_get(o, "thaw")) {
        return agent_thaw(m, c, ret);
    } else if (json_object_get(o, "wake")) {
        agent_wake(m);
    } else if (json_object_get(o, "stopping")) {
        c->stopping = json_opt_bool(o, "stopping", false);
    } else {
        return error_set(err, VMUNDO_USAGE, "no such request");
    }
    *ret = json_pack("{s:b}", "ok", 1);
    return 0;
}

void control_reply(struct monitor *m, struct client *c, json_t *taken)
{
    AUTO_JSON json_t *o = taken;
    AUTO_FREE char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    AUTO_FREE char *whole = text ? str_printf(NULL, "%s\n", text) : NULL;
    if (!whole || send(c->fd, whole, strlen(whole), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        hang_up(m, c);
}

static void answer(struct monitor *m, struct client *c, const char *line)
{
    json_t *o = NULL;
    struct vmundo_error e = {0};
    if (obey(m, c, line, &o, &e) < 0)
        o = json_pack("{s:s, s:i}", "error", e.msg, "code", (int)e.code);
    if (o)
        control_reply(m, c, o);
}

static void serve(struct monitor *m, struct client *c)
{
    ssize_t n = recv(c->fd, c->line + c->len, sizeof(c->line) - c->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->len += n > 0 ? (size_t)n : 0;
    char *end = memchr(c->line, '\n', c->len);
    if (n <= 0 || (!end && c->len == sizeof(c->line))) {
        hang_up(m, c);
        return;
    }
    while (end) {
        *end = '\0';
        answer(m, c, c->line);
        if (c->fd < 0)
            return;
        c->len -= (size_t)(end + 1 - c->line);
        memmove(c->line, end + 1, c->len);
        end = memchr(c->line, '\n', c->len);
    }
}

static void accept_client(struct monitor *m)
{
    int fd = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC);
    for (size_t i = 0; fd >= 0 && i < MAX_CLIENTS; i++)
        if (m->clients[i].fd < 0)
            m->clients[i].fd = TAKE_FD(fd);
    cleanup_close(&fd);
}

size_t control_poll(const struct monitor *m, struct pollfd *p)
{
    size_t n = 1;
    for (size_t i = 0; i < MAX_CLIENTS; i++)
        if (m->clients[i].fd >= 0)
            p[n++] = (struct pollfd){.fd = m->clients[i].fd, .events = POLLIN};
    /* When all places are taken, others wait in the socket's queue. */
    p[0] = (struct pollfd){.fd = n <= MAX_CLIENTS ? m->listener : -1, .events = POLLIN};
    return n;
}

void control_serve(struct monitor *m, const struct pollfd *p, size_t n)
{
    for (size_t k = 1; k < n; k++)
        for (size_t i = 0; p[k].revents && i < MAX_CLIENTS; i++)
            if (m->clients[i].fd == p[k].fd)
                serve(m, &m->clients[i]);
    if (p[0].revents)
        accept_client(m);
}
