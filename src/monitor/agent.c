/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent.c: the agent in the guest (qemu-ga, docs/interop/qemu-ga-ref in QEMU's source), over a serial port. The monitor
 * talks to it, and no command does, so that whoever is killed or hangs, somebody is left who lets the guest's file
 * systems go: frozen, they stop all that writes in the guest.
 *
 * There need not be an agent, or it may hang; nothing here waits. One thing is asked at a time: connect, synchronise
 * (what an earlier client left unread is skipped, up to a byte 0xFF), ask, take the answer. That the file systems may
 * be frozen stands in the record before the agent is told to, so that a monitor that takes over from a killed one knows
 * what it owes; it is tried again until the agent has said that they are not, or the guest was reset.
 */
#include "monitor/monitor.h"

#include "util/str.h"

#include <sys/socket.h>

#define THAW_MS 5000u /* for an answer */
#define RETRY_MS 1000u
#define TIME_MS 10000u
#define WAKE_MS 60000u /* how long an agent is looked for in a guest that was brought back */
#define MAX_FROZEN_MS 600000u
#define DELIMITER '\xff'

static void begin(struct monitor *m, enum agent_want want, struct client *asker, uint64_t ms);

static void hang_up(struct agent *a)
{
    cleanup_close(&a->fd);
    a->fd = -1;
    a->len = 0;
    a->synced = a->sent = false;
    a->want = AGENT_NOTHING;
}

static void owe_thaw(struct monitor *m, bool owed)
{
    if (m->record.frozen == owed)
        return;
    m->record.frozen = owed;
    record_write(m);
}

static void reply(struct monitor *m, json_t *o)
{
    struct client *c = m->agent.asker;
    m->agent.asker = NULL;
    if (c)
        control_reply(m, c, o);
    else
        json_decref(o);
}

static void refuse(struct monitor *m, const char *why)
{
    reply(m, json_pack("{s:s, s:i}", "error", why, "code", VMUNDO_FAILED));
}

/* ---- how it came out -------------------------------------------------------------------------------------------- */

static void froze(struct monitor *m, json_int_t n)
{
    struct client *c = m->agent.asker;
    m->agent.want = AGENT_NOTHING;
    if (!c) { /* gone meanwhile */
        begin(m, AGENT_THAW, NULL, THAW_MS);
        return;
    }
    m->freezer = c;
    m->frozen_n = n;
    m->thaw_deadline = sys_monotonic_ms() + m->agent.keep_ms;
    reply(m, json_pack("{s:b, s:I}", "ok", 1, "frozen", n));
}

static void thawed(struct monitor *m, json_int_t n)
{
    bool still = n > 0 || m->frozen_n == 0;
    m->agent.want = AGENT_NOTHING;
    m->thaw_due = m->wake_until = 0;
    owe_thaw(m, false);
    reply(m, json_pack("{s:b, s:b}", "ok", 1, "frozen", still));
    if (m->waking)
        begin(m, AGENT_TIME, NULL, TIME_MS);
    else
        hang_up(&m->agent);
    m->waking = false;
}

/* No answer, or a no. */
static void failed(struct monitor *m, const char *why)
{
    struct agent *a = &m->agent;
    enum agent_want want = a->want;
    bool sent = a->sent;
    uint64_t now = sys_monotonic_ms();
    hang_up(a);
    refuse(m, why);
    if (want == AGENT_FREEZE && sent) {
        begin(m, AGENT_THAW, NULL, THAW_MS); /* it may yet freeze */
    } else if (want == AGENT_THAW && (m->record.frozen || now < m->wake_until)) {
        if (m->record.frozen)
            log_say("the guest's file systems may still be frozen: %s", why);
        m->thaw_due = now + RETRY_MS;
    } else {
        m->waking = false;
    }
}

static void answered(struct monitor *m, const json_t *o)
{
    const json_t *error = json_object_get(o, "error"), *value = json_object_get(o, "return");
    enum agent_want want = m->agent.want;
    if (error) {
        const char *desc = json_string_value(json_object_get(error, "desc"));
        AUTO_FREE char *safe = str_escape(desc ? desc : "no reason given", 300);
        AUTO_FREE char *why = str_printf(NULL, "the guest's agent refuses: %s", safe ? safe : "");
        failed(m, why ? why : "the guest's agent refuses");
    } else if (want == AGENT_FREEZE) {
        froze(m, json_integer_value(value));
    } else if (want == AGENT_THAW) {
        thawed(m, json_integer_value(value));
    } else {
        hang_up(&m->agent);
    }
}

/* ---- talking ---------------------------------------------------------------------------------------------------- */

static int send_text(struct agent *a, const char *text)
{
    ssize_t n = text ? send(a->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) : -1;
    return n == (ssize_t)strlen(text ? text : "") ? 0 : -1;
}

static int send_sync(struct agent *a)
{
    a->id = (json_int_t)sys_monotonic_ms();
    AUTO_FREE char *text = str_printf(NULL, "%c{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%lld}}\n",
                                      DELIMITER, (long long)a->id);
    return send_text(a, text);
}

static int send_want(struct monitor *m)
{
    static const char *const commands[] = {[AGENT_FREEZE] = "guest-fsfreeze-freeze",
                                           [AGENT_THAW] = "guest-fsfreeze-thaw",
                                           [AGENT_TIME] = "guest-set-time"};
    struct agent *a = &m->agent;
    char time[64] = "";
    if (a->want == AGENT_FREEZE)
        owe_thaw(m, true);
    if (a->want == AGENT_TIME)
        snprintf(time, sizeof(time), ",\"arguments\":{\"time\":%lld}", (long long)sys_realtime_ms() * 1000000);
    AUTO_FREE char *text = str_printf(NULL, "{\"execute\":\"%s\"%s}\n", commands[a->want], time);
    a->sent = true;
    return send_text(a, text);
}

static void begin(struct monitor *m, enum agent_want want, struct client *asker, uint64_t ms)
{
    struct agent *a = &m->agent;
    if (a->want != AGENT_NOTHING)
        hang_up(a); /* what is under way will not be answered */
    a->want = want;
    a->asker = asker;
    a->deadline = sys_monotonic_ms() + ms;
    a->sent = false;
    m->thaw_due = 0;
    if (a->fd >= 0 && a->synced) {
        if (send_want(m) < 0)
            failed(m, "the guest's agent does not listen any more");
        return;
    }
    hang_up(a);
    a->want = want;
    a->fd = sys_unix_connect(m->dir, RUNDIR_AGENT_SOCKET);
    if (a->fd < 0 || send_sync(a) < 0)
        failed(m, "the guest has no port for an agent");
}

/* The next line in the buffer, without its end; NULL: there is none yet. */
static char *next_line(struct agent *a, size_t *ret_len)
{
    if (!a->synced) {
        const char *mark = memrchr(a->buf, DELIMITER, a->len);
        size_t skip = mark ? (size_t)(mark + 1 - a->buf) : 0;
        a->delimited = a->delimited || mark;
        a->len = a->delimited ? a->len - skip : 0;
        memmove(a->buf, a->buf + skip, a->len);
    }
    char *end = memchr(a->buf, '\n', a->len);
    *ret_len = end ? (size_t)(end + 1 - a->buf) : 0;
    return end ? strndup(a->buf, (size_t)(end - a->buf)) : NULL;
}

static void take_line(struct monitor *m, const char *line)
{
    struct agent *a = &m->agent;
    AUTO_JSON json_t *o = json_loads(line, 0, NULL);
    const json_t *value = json_object_get(o, "return");
    if (a->synced && (value || json_object_get(o, "error"))) {
        answered(m, o);
    } else if (!a->synced && json_is_integer(value) && json_integer_value(value) == a->id) {
        a->synced = true;
        if (send_want(m) < 0)
            failed(m, "the guest's agent does not listen any more");
    }
}

void agent_serve(struct monitor *m)
{
    struct agent *a = &m->agent;
    ssize_t n = recv(a->fd, a->buf + a->len, sizeof(a->buf) - a->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        failed(m, "the connection to the guest's agent has ended");
        return;
    }
    a->len += (size_t)n;
    for (;;) {
        size_t len;
        AUTO_FREE char *line = next_line(a, &len);
        if (!line)
            break;
        a->len -= len;
        memmove(a->buf, a->buf + len, a->len);
        if (a->want != AGENT_NOTHING)
            take_line(m, line);
        if (a->fd < 0)
            return;
    }
    if (a->len == sizeof(a->buf))
        failed(m, "the guest's agent answers with more than makes sense");
}

/* ---- what is asked ---------------------------------------------------------------------------------------------- */

int agent_freeze(struct monitor *m, struct client *c, uint64_t wait_ms, uint64_t keep_ms, struct vmundo_error *err)
{
    if (m->freezer || m->record.frozen || m->agent.asker)
        return error_set(err, VMUNDO_CONFLICT, "the guest's file systems are frozen already, or still to be thawed");
    if (wait_ms == 0 || wait_ms > MAX_FROZEN_MS || keep_ms == 0 || keep_ms > MAX_FROZEN_MS)
        return error_set(err, VMUNDO_USAGE, "file systems can be frozen for 1 to %u ms", MAX_FROZEN_MS);
    m->waking = false;
    m->agent.keep_ms = keep_ms;
    begin(m, AGENT_FREEZE, c, wait_ms);
    return 0;
}

int agent_thaw(struct monitor *m, struct client *c, json_t **ret)
{
    if (m->freezer != c) {
        *ret = json_pack("{s:b, s:b}", "ok", 1, "frozen", 0); /* the time was up */
        return 0;
    }
    m->freezer = NULL;
    begin(m, AGENT_THAW, c, THAW_MS);
    return 0;
}

void agent_wake(struct monitor *m)
{
    if (m->freezer || m->agent.want != AGENT_NOTHING)
        return;
    m->waking = true;
    m->wake_until = sys_monotonic_ms() + WAKE_MS;
    begin(m, AGENT_THAW, NULL, THAW_MS);
}

void agent_forget(struct monitor *m, const struct client *c)
{
    if (m->agent.asker == c)
        m->agent.asker = NULL;
    if (m->freezer != c)
        return;
    m->freezer = NULL;
    begin(m, AGENT_THAW, NULL, THAW_MS);
}

void agent_guest_was_reset(struct monitor *m)
{
    if (m->agent.want != AGENT_NOTHING || m->agent.fd >= 0) {
        hang_up(&m->agent);
        refuse(m, "the guest was reset");
    }
    m->freezer = NULL;
    m->waking = false;
    m->thaw_due = 0;
    owe_thaw(m, false);
}

void agent_tick(struct monitor *m, uint64_t now)
{
    if (m->agent.want != AGENT_NOTHING && now >= m->agent.deadline)
        failed(m, m->agent.synced ? "the guest's agent does not answer any more" : "no agent in the guest answers");
    if (m->freezer && now >= m->thaw_deadline) {
        log_say("the guest's file systems were frozen for too long");
        m->freezer = NULL;
        begin(m, AGENT_THAW, NULL, THAW_MS);
    }
    if (m->thaw_due && now >= m->thaw_due)
        begin(m, AGENT_THAW, NULL, THAW_MS);
}

uint64_t agent_due(const struct monitor *m)
{
    uint64_t due = UINT64_MAX;
    if (m->agent.want != AGENT_NOTHING)
        due = m->agent.deadline;
    if (m->freezer && m->thaw_deadline < due)
        due = m->thaw_deadline;
    return m->thaw_due && m->thaw_due < due ? m->thaw_due : due;
}
