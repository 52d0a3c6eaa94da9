/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test_qmp.c: the QMP client against a server that misbehaves. The server is a thread that plays a script, one step per
 * line: "> TEXT" sends a line, "< TEXT" reads one and wants TEXT in it, "wait MS", "close", "flood" (events without
 * end), "huge" (one line without end).
 */
#include "hyper/qmp.h"
#include "util/str.h"
#include "util/sys.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <cmocka.h>

#define GREETING "> {\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define WELCOME GREETING "< qmp_capabilities\n> {\"return\": {}, \"id\": 1}\n"

struct server {
    int fd;
    const char *script;
    pthread_t thread;
    bool satisfied; /* all that it wanted to read came */
};

struct seen {
    unsigned n;
    char last[64];
};

static void read_line(struct server *s, const char *wanted)
{
    char line[4096];
    size_t n = 0;
    while (n < sizeof(line) - 1 && read(s->fd, line + n, 1) == 1 && line[n] != '\n')
        n++;
    line[n] = '\0';
    if (!strstr(line, wanted))
        s->satisfied = false;
}

static void put(const struct server *s, const char *text)
{
    if (send(s->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        return;
}

static void send_forever(const struct server *s, const char *text)
{
    while (send(s->fd, text, strlen(text), MSG_NOSIGNAL) > 0)
        ;
}

static void *serve(void *data)
{
    struct server *s = data;
    AUTO_FREE char *script = strdup(s->script);
    char *save = NULL;
    for (char *step = strtok_r(script, "\n", &save); step; step = strtok_r(NULL, "\n", &save)) {
        if (str_has_prefix(step, "> ")) {
            put(s, step + 2);
            put(s, "\n");
        } else if (str_has_prefix(step, "+ ")) { /* without the end of the line */
            put(s, step + 2);
        } else if (str_has_prefix(step, "< ")) {
            read_line(s, step + 2);
        } else if (str_has_prefix(step, "wait ")) {
            poll(NULL, 0, atoi(step + 5));
        } else if (str_eq(step, "flood")) {
            send_forever(s, "{\"event\": \"RTC_CHANGE\", \"data\": {}}\n");
        } else if (str_eq(step, "huge")) {
            send_forever(
                s, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        } else if (str_eq(step, "close")) {
            shutdown(s->fd, SHUT_RDWR);
        }
    }
    return NULL;
}

static void on_event(void *data, const char *event, const json_t *arguments)
{
    struct seen *seen = data;
    const char *reason = json_string_value(json_object_get(arguments, "reason"));
    seen->n++;
    snprintf(seen->last, sizeof(seen->last), "%s%s%s", event, reason ? " " : "", reason ? reason : "");
}

static void begin(struct server *s, struct qmp *q, const char *script)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *s = (struct server){.fd = pair[0], .script = script, .satisfied = true};
    *q = (struct qmp)QMP_INIT;
    q->fd = pair[1];
    q->timeout_ms = 2000;
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void end(struct server *s, struct qmp *q)
{
    qmp_close(q);
    pthread_join(s->thread, NULL);
    close(s->fd);
    assert_true(s->satisfied);
}

/* qmp_start fails, with this errnum and something of this in the message. */
static void expect_no_start(const char *script, unsigned timeout_ms, int errnum, const char *message)
{
    struct server s;
    struct qmp q;
    struct vmundo_error err = {0};
    begin(&s, &q, script);
    q.timeout_ms = timeout_ms;
    assert_int_equal(qmp_start(&q, &err), -1);
    if (err.errnum != errnum || !strstr(err.msg, message))
        fail_msg("%d %s", err.errnum, err.msg);
    end(&s, &q);
}

/* After a good start 'cont' fails in that way. */
static void expect_no_call(const char *script, unsigned timeout_ms, int errnum, const char *message)
{
    struct server s;
    struct qmp q;
    struct vmundo_error err = {0};
    begin(&s, &q, script);
    assert_int_equal(qmp_start(&q, &err), 0);
    q.timeout_ms = timeout_ms;
    uint64_t begun = sys_monotonic_ms();
    assert_int_equal(qmp_do(&q, "cont", &err), -1);
    assert_true(sys_monotonic_ms() - begun < timeout_ms + 2000);
    if (err.errnum != errnum || !strstr(err.msg, message))
        fail_msg("%d %s", err.errnum, err.msg);
    end(&s, &q);
}

static void test_calls(void **state)
{
    (void)state;
    struct server s;
    struct qmp q;
    struct seen seen = {0};
    struct vmundo_error err = {0};
    AUTO_FREE char *status = NULL;
    AUTO_JSON json_t *ret = NULL;
    begin(&s, &q,
          WELCOME "< query-status\n> {\"event\": \"STOP\"}\n"
                  "> {\"return\": {\"status\": \"paused\", \"running\": false}, \"id\": 2}\n"
                  "< \"arguments\":{\"device\":\"a\"}\n> {\"return\": [7], \"id\": 3}\n"
                  "< cont\n+ {\"return\":\nwait 50\n+  {}, \"id\"\nwait 50\n> : 4}\n"
                  "> {\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-reset\"}}\n");
    q.on_event = on_event;
    q.data = &seen;
    assert_int_equal(qmp_start(&q, &err), 0);
    assert_int_equal(qmp_status(&q, &status, &err), 0);
    assert_string_equal(status, "paused");
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.last, "STOP");
    assert_int_equal(qmp_call(&q, "eject", json_pack("{s:s}", "device", "a"), &ret, &err), 0);
    assert_int_equal(json_integer_value(json_array_get(ret, 0)), 7);
    assert_int_equal(qmp_do(&q, "cont", &err), 0);
    for (int i = 0; i < 200 && seen.n < 2; i++) {
        assert_int_equal(qmp_receive(&q, &err), 0);
        poll(NULL, 0, 10);
    }
    assert_string_equal(seen.last, "SHUTDOWN guest-reset");
    end(&s, &q);
}

static void test_refusal_is_quoted(void **state)
{
    (void)state;
    expect_no_call(WELCOME "< cont\n> {\"error\": {\"class\": \"GenericError\", \"desc\": \"Resetting \\u001b[31m is "
                           "required\"}, \"id\": 2}\n",
                   2000, 0, "QEMU refused 'cont': Resetting \\x1b[31m is required");
    expect_no_call(WELCOME "< cont\n> {\"error\": {\"class\": \"GenericError\"}, \"id\": 2}\n", 2000, 0,
                   "QEMU refused 'cont': no reason given");
    expect_no_call(WELCOME "< cont\n> {\"error\": {\"desc\": \"JSON parse error\"}}\n", 2000, 0, "JSON parse error");
}

static void test_no_answer(void **state)
{
    (void)state;
    expect_no_start("wait 300", 100, ETIMEDOUT, "does not answer on its QMP socket");
    expect_no_start(GREETING "wait 300", 100, ETIMEDOUT, "did not answer 'qmp_capabilities' within 100 ms");
    expect_no_call(WELCOME "< cont\nwait 300", 100, ETIMEDOUT, "did not answer 'cont' within 100 ms");
    expect_no_call(WELCOME "< cont\n+ {\"return\": {}, \nwait 300", 100, ETIMEDOUT, "did not answer 'cont'");
    expect_no_call(WELCOME "flood", 200, ETIMEDOUT, "did not answer 'cont' within 200 ms");
}

static void test_closes(void **state)
{
    (void)state;
    expect_no_start("close", 2000, ECONNRESET, "closed");
    expect_no_start(GREETING "close", 2000, ECONNRESET, "closed");
    expect_no_call(WELCOME "< cont\nclose", 2000, ECONNRESET, "closed");
    expect_no_call(WELCOME "close\n", 2000, ECONNRESET, "closed");
}

static void test_nonsense(void **state)
{
    (void)state;
    expect_no_start("> SSH-2.0-OpenSSH_9.2\n", 2000, EPROTO, "not QMP: SSH-2.0-OpenSSH_9.2");
    expect_no_start("> {\"hello\": 1}\n", 2000, EPROTO, "not a QMP greeting");
    expect_no_start("> [1]\n", 2000, EPROTO, "not QMP: [1]");
    expect_no_start("> \xff\x1b\n", 2000, EPROTO, "not QMP: \\xff\\x1b");
    expect_no_start("huge", 5000, EPROTO, "more than 4 MiB");
    expect_no_call(WELCOME "< cont\n> {\"return\": {}, \"id\": 2\n", 2000, EPROTO, "not QMP");
    expect_no_call(WELCOME "huge", 5000, EPROTO, "more than 4 MiB");
}

/* What came too late must not be taken for the answer to the next command. */
static void test_late_answer(void **state)
{
    (void)state;
    struct server s;
    struct qmp q;
    struct vmundo_error err = {0};
    AUTO_FREE char *status = NULL;
    begin(&s, &q,
          WELCOME "< stop\nwait 200\n> {\"error\": {\"desc\": \"late\"}, \"id\": 2}\n< query-status\n"
                  "> {\"return\": {\"status\": \"running\"}, \"id\": 3}\n");
    assert_int_equal(qmp_start(&q, &err), 0);
    q.timeout_ms = 50;
    assert_int_equal(qmp_do(&q, "stop", &err), -1);
    assert_int_equal(err.errnum, ETIMEDOUT);
    q.timeout_ms = 2000;
    if (qmp_status(&q, &status, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(status, "running");
    end(&s, &q);
}

/* A QEMU that reads nothing: the command does not fit into the socket. */
static void test_does_not_read(void **state)
{
    (void)state;
    struct server s;
    struct qmp q;
    struct vmundo_error err = {0};
    AUTO_FREE char *big = malloc(4 << 20);
    memset(big, 'x', (4 << 20) - 1);
    big[(4 << 20) - 1] = '\0';
    begin(&s, &q, WELCOME "wait 300");
    assert_int_equal(qmp_start(&q, &err), 0);
    q.timeout_ms = 100;
    assert_int_equal(qmp_call(&q, "x", json_pack("{s:s}", "x", big), NULL, &err), -1);
    assert_int_equal(err.errnum, ETIMEDOUT);
    assert_string_equal(err.msg, "QEMU does not read its QMP connection");
    end(&s, &q);
}

/* An answer and an event in one packet: the second is there although the socket has nothing more. */
static void test_has_more(void **state)
{
    (void)state;
    static const char both[] = "{\"return\": {}, \"id\": 1}\r\n{\"event\": \"RESUME\"}\r\n";
    AUTO_QMP struct qmp q = QMP_INIT;
    struct seen seen = {0};
    struct vmundo_error err = {0};
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(write(pair[0], both, strlen(both)), strlen(both));
    q.fd = pair[1];
    q.on_event = on_event;
    q.data = &seen;
    assert_int_equal(qmp_do(&q, "cont", &err), 0);
    assert_int_equal(seen.n, 0);
    assert_true(qmp_has_more(&q));
    assert_int_equal(qmp_receive(&q, &err), 0);
    assert_string_equal(seen.last, "RESUME");
    assert_false(qmp_has_more(&q));
    close(pair[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),         cmocka_unit_test(test_refusal_is_quoted),
        cmocka_unit_test(test_no_answer),     cmocka_unit_test(test_closes),
        cmocka_unit_test(test_nonsense),      cmocka_unit_test(test_late_answer),
        cmocka_unit_test(test_does_not_read), cmocka_unit_test(test_has_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
