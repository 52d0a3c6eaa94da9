/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_monitor.c: the monitor between a guest's agent, a command, and QEMU, each of which may say anything at any moment.
 * An input is a row of messages: a byte for who says it (a, c, q), a byte for how long it is, the message; or T, time
 * passes. The monitor lives on, and as long as it owes a thaw, it knows that it does.
 */
#include "fuzz.h"

#include "monitor/monitor.h"

#include <fcntl.h>
#include <sys/socket.h>

void record_write(struct monitor *m)
{
    m->record_changed = false;
}

void log_say(const char *fmt, ...)
{
    AUTO_FREE char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    REQUIRE(vasprintf(&text, fmt, ap) >= 0 && *text);
    va_end(ap);
}

char *log_last_line(const struct monitor *m)
{
    (void)m;
    return NULL;
}

static void cleanup_monitor(struct monitor *m)
{
    for (size_t i = 0; i < MAX_CLIENTS; i++)
        cleanup_close(&m->clients[i].fd);
    cleanup_close(&m->agent.fd);
    cleanup_close(&m->dir);
    qmp_close(&m->qmp);
    free(m->ended);
}

/* As after a checkpoint has begun: somebody holds the guest and waits for its file systems to be frozen. */
static void begin(struct monitor *m, int other[3])
{
    int fds[3];
    for (size_t i = 0; i < 3; i++) {
        int pair[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        fds[i] = pair[0];
        other[i] = pair[1];
    }
    *m = (struct monitor){.pidfd = -1, .listener = -1, .room = {.fd = -1}, .dir = open("/proc/self/fdinfo", O_PATH | O_CLOEXEC)};
    for (size_t i = 0; i < MAX_CLIENTS; i++)
        m->clients[i].fd = -1;
    m->qmp = (struct qmp)QMP_INIT;
    m->qmp.timeout_ms = 0;
    m->qmp.on_event = guest_event;
    m->qmp.data = m;
    m->qmp.fd = fds[2];
    m->actions[CAUSE_REBOOT] = ACTION_RESTART;
    m->clients[0].fd = fds[1];
    m->agent = (struct agent){.fd = fds[0], .want = AGENT_FREEZE, .asker = &m->clients[0], .deadline = UINT64_MAX,
                              .keep_ms = 1000, .id = 1};
}

static void say(struct monitor *m, const int other[3], char who, const uint8_t *text, size_t len)
{
    int to = who == 'a' ? other[0] : who == 'c' ? other[1] : other[2];
    if (len > 0 && send(to, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; /* the monitor has hung up */
    struct pollfd p[2] = {{.fd = -1}, {.fd = m->clients[0].fd, .events = POLLIN, .revents = POLLIN}};
    if (who == 'a' && m->agent.fd >= 0)
        agent_serve(m);
    if (who == 'c' && m->clients[0].fd >= 0)
        control_serve(m, p, 2);
    if (who == 'q' && m->qmp.fd >= 0 && qmp_receive(&m->qmp, NULL) < 0)
        qmp_close(&m->qmp);
    if (m->was_reset) {
        m->was_reset = false;
        agent_guest_was_reset(m);
    }
    guest_decide(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int other[3];
    CLEANUP(cleanup_monitor) struct monitor m;
    begin(&m, other);
    while (size > 1) {
        size_t len = data[1] < size - 2 ? data[1] : size - 2;
        if (data[0] == 'T') {
            len = 0;
            agent_tick(&m, UINT64_MAX - 1);
            control_tick(&m, UINT64_MAX - 1);
        } else {
            say(&m, other, (char)data[0], data + 2, len);
        }
        REQUIRE(m.agent.len <= sizeof(m.agent.buf) && m.clients[0].len <= sizeof(m.clients[0].line));
        REQUIRE(!m.holder || m.holder->fd >= 0);
        REQUIRE(!m.freezer || m.freezer->fd >= 0);
        data += 2 + len;
        size -= 2 + len;
    }
    for (size_t i = 0; i < 3; i++)
        close(other[i]);
    return 0;
}
