/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp.c: bytes in, lines out, lines to JSON, and on top of that one command at a time. QEMU is not trusted to be sane:
 * a line has a greatest length, and what it says is escaped before it is shown.
 */
#include "hyper/qmp.h"

#include "util/str.h"
#include "util/sys.h"

#include <poll.h>
#include <sys/socket.h>

#define MAX_LINE ((size_t)4 << 20)
#define KEEP_BUFFER ((size_t)16 << 10) /* the monitor is to stay small */
#define READ_SIZE ((size_t)4096)

static int fail(int errnum, const char *what, struct vmundo_error *err)
{
    error_set(err, VMUNDO_FAILED, "%s", what);
    if (err)
        err->errnum = errnum;
    return -1;
}

static int fail_closed(struct vmundo_error *err)
{
    return fail(ECONNRESET, "QEMU closed its QMP connection", err);
}

/* Wait for the socket; deadline 0: do not wait. 1 ready, 0 the time is up. */
static int wait_for(const struct qmp *q, short events, uint64_t deadline)
{
    for (;;) {
        uint64_t now = sys_monotonic_ms();
        struct pollfd p = {.fd = q->fd, .events = events};
        int n = poll(&p, 1, now < deadline ? (int)(deadline - now) : 0);
        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

/* As send(2); give_fd (-1: none) goes with the first byte. unix(7) on SCM_RIGHTS. */
static ssize_t send_some(const struct qmp *q, const char *text, size_t len, int give_fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)text, len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (give_fd >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
        control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &give_fd, sizeof(int));
    }
    return sendmsg(q->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int send_all(struct qmp *q, const char *text, int give_fd, uint64_t deadline, struct vmundo_error *err)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t n = send_some(q, text, left, give_fd);
        if (n < 0 && errno == EAGAIN) {
            if (!wait_for(q, POLLOUT, deadline))
                return fail(ETIMEDOUT, "QEMU does not read its QMP connection", err);
        } else if (n < 0 && errno != EINTR) {
            return fail_closed(err);
        } else if (n > 0) {
            give_fd = -1;
            text += n;
            left -= (size_t)n;
        }
    }
    return 0;
}

/* Read once. 1: something came; 0: nothing within the time. */
static int fill(struct qmp *q, uint64_t deadline, struct vmundo_error *err)
{
    if (q->len >= MAX_LINE)
        return fail(EPROTO, "QEMU sent a line of more than 4 MiB over QMP", err);
    if (q->cap - q->len < READ_SIZE) {
        size_t cap = q->cap ? q->cap * 2 : READ_SIZE;
        char *bigger = realloc(q->buf, cap);
        if (!bigger)
            return error_nomem(err);
        q->buf = bigger;
        q->cap = cap;
    }
    for (;;) {
        ssize_t n = recv(q->fd, q->buf + q->len, q->cap - q->len, MSG_DONTWAIT);
        if (n > 0) {
            q->len += (size_t)n;
            return 1;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return fail_closed(err);
        if (errno == EAGAIN && !wait_for(q, POLLIN, deadline))
            return 0;
    }
}

static int parse_line(const char *line, size_t len, json_t **ret, struct vmundo_error *err)
{
    json_error_t je;
    json_t *j = json_loadb(line, len, 0, &je);
    if (json_is_object(j)) {
        *ret = j;
        return 0;
    }
    json_decref(j);
    AUTO_FREE char *shown = strndup(line, len < 80 ? len : 80);
    AUTO_FREE char *safe = shown ? str_escape(shown, 80) : NULL;
    error_set(err, VMUNDO_FAILED, "QEMU sent something that is not QMP: %s", safe ? safe : "");
    if (err)
        err->errnum = EPROTO;
    return -1;
}

static void drop_line(struct qmp *q, size_t len)
{
    q->len -= len;
    memmove(q->buf, q->buf + len, q->len);
    if (q->len == 0 && q->cap > KEEP_BUFFER) {
        free(TAKE(q->buf));
        q->cap = 0;
    }
}

/* The next line's object: 1, or 0 when there is none within the time. */
static int next_object(struct qmp *q, uint64_t deadline, json_t **ret, struct vmundo_error *err)
{
    for (size_t seen = 0;;) {
        const char *end = q->len > seen ? memchr(q->buf + seen, '\n', q->len - seen) : NULL;
        if (end) {
            size_t len = (size_t)(end - q->buf) + 1;
            int r = parse_line(q->buf, len, ret, err);
            drop_line(q, len);
            return r < 0 ? -1 : 1;
        }
        seen = q->len;
        int r = fill(q, deadline, err);
        if (r <= 0)
            return r;
    }
}

static bool take_event(struct qmp *q, const json_t *o)
{
    const char *name = json_string_value(json_object_get(o, "event"));
    if (name && q->on_event)
        q->on_event(q->data, name, json_object_get(o, "data"));
    return name;
}

static int read_version(struct qmp *q, const json_t *v, struct vmundo_error *err)
{
    uint64_t major, minor, micro;
    if (json_get_u64(v, "major", &major, err) < 0 || json_get_u64(v, "minor", &minor, err) < 0 ||
        json_get_u64(v, "micro", &micro, err) < 0)
        return -1;
    snprintf(q->version, sizeof(q->version), "%hu.%hu.%hu", (unsigned short)major, (unsigned short)minor,
             (unsigned short)micro);
    return 0;
}

int qmp_start(struct qmp *q, struct vmundo_error *err)
{
    AUTO_JSON json_t *greeting = NULL;
    int r = next_object(q, sys_monotonic_ms() + q->timeout_ms, &greeting, err);
    if (r < 0)
        return -1;
    if (r == 0)
        return fail(ETIMEDOUT, "QEMU does not answer on its QMP socket", err);
    if (!json_object_get(greeting, "QMP"))
        return fail(EPROTO, "QEMU sent something that is not a QMP greeting", err);
    read_version(q, json_object_get(json_object_get(json_object_get(greeting, "QMP"), "version"), "qemu"), NULL);
    return qmp_do(q, "qmp_capabilities", err);
}

static int refused(const char *command, const json_t *error, struct vmundo_error *err)
{
    const char *desc = json_string_value(json_object_get(error, "desc"));
    AUTO_FREE char *safe = str_escape(desc ? desc : "no reason given", 400);
    return error_set(err, VMUNDO_FAILED, "QEMU refused '%s': %s", command, safe ? safe : "");
}

static int send_command(struct qmp *q, const char *command, json_t *arguments, int give_fd, uint64_t deadline,
                        struct vmundo_error *err)
{
    AUTO_JSON json_t *o = json_pack("{s:s, s:I, s:o*}", "execute", command, "id", ++q->id, "arguments", arguments);
    AUTO_FREE char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    AUTO_FREE char *line = text ? str_printf(err, "%s\n", text) : NULL;
    return line ? send_all(q, line, give_fd, deadline, err) : error_nomem(err);
}

static int call(struct qmp *q, const char *command, json_t *arguments, int give_fd, json_t **ret,
                struct vmundo_error *err)
{
    uint64_t deadline = sys_monotonic_ms() + q->timeout_ms;
    if (send_command(q, command, arguments, give_fd, deadline, err) < 0)
        return -1;
    for (;;) {
        AUTO_JSON json_t *o = NULL;
        /* A flood of events must not hold us longer than silence would. */
        int r = sys_monotonic_ms() > deadline ? 0 : next_object(q, deadline, &o, err);
        if (r < 0)
            return -1;
        if (r == 0) {
            error_set(err, VMUNDO_FAILED, "QEMU did not answer '%s' within %u ms", command, q->timeout_ms);
            if (err)
                err->errnum = ETIMEDOUT;
            return -1;
        }
        const json_t *error = json_object_get(o, "error");
        const json_t *id = json_object_get(o, "id");
        /* An error without an id is about a line that QEMU could not parse: ours, as we wait for it. */
        if (take_event(q, o) || (json_is_integer(id) ? json_integer_value(id) != q->id : !error))
            continue;
        if (error)
            return refused(command, error, err);
        if (ret)
            *ret = json_incref(json_object_get(o, "return"));
        return 0;
    }
}

int qmp_call(struct qmp *q, const char *command, json_t *arguments, json_t **ret, struct vmundo_error *err)
{
    return call(q, command, arguments, -1, ret, err);
}

int qmp_give_fd(struct qmp *q, int fd, const char *name, struct vmundo_error *err)
{
    return call(q, "getfd", json_pack("{s:s}", "fdname", name), fd, NULL, err);
}

int qmp_add_fd(struct qmp *q, int fd, const char *of, unsigned *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *answer = NULL;
    uint64_t set;
    if (call(q, "add-fd", json_pack("{s:s}", "opaque", of), fd, &answer, err) < 0 ||
        json_get_u64(answer, "fdset-id", &set, err) < 0)
        return -1;
    *ret = (unsigned)set;
    return 0;
}

int qmp_ignore_shared(struct qmp *q, bool ignore, struct vmundo_error *err)
{
    json_t *capabilities = json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "x-ignore-shared", "state",
                                     ignore);
    return qmp_call(q, "migrate-set-capabilities", capabilities, NULL, err);
}

/* One that is just being completed cannot be cancelled; "cont" is refused until it is. */
int qmp_cont(struct qmp *q, struct vmundo_error *err)
{
    uint64_t deadline = sys_monotonic_ms() + q->timeout_ms;
    if (qmp_do(q, "migrate_cancel", err) < 0)
        return -1;
    for (;;) {
        AUTO_FREE char *status = NULL;
        struct vmundo_error e = {0};
        if (qmp_do(q, "cont", &e) == 0)
            return 0;
        if (e.errnum || qmp_status(q, &status, NULL) < 0 || !str_eq(status, "finish-migrate") ||
            sys_monotonic_ms() > deadline) {
            error_set(err, e.code, "%s", e.msg);
            if (err)
                err->errnum = e.errnum;
            return -1;
        }
        poll(NULL, 0, 1);
    }
}

int qmp_version(struct qmp *q, char **ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    if (!*q->version && qmp_call(q, "query-version", NULL, &o, err) < 0)
        return -1;
    if (o && read_version(q, json_object_get(o, "qemu"), err) < 0)
        return error_wrap(err, "QEMU does not tell its version");
    return str_copy(q->version, ret, err);
}

/* The last number is that of a stable release, which keeps the format. */
static bool is_same_version(const char *a, const char *b)
{
    const char *dot = strrchr(a, '.'), *other = strrchr(b, '.');
    return dot && other && dot - a == other - b && !strncmp(a, b, (size_t)(dot - a));
}

/* It answers hardly anything while it loads, so asking often costs nothing; and it ends if it cannot. */
static int await_loaded(struct qmp *q, struct vmundo_error *err)
{
    for (uint64_t deadline = sys_monotonic_ms() + q->timeout_ms;; usleep(200)) {
        AUTO_FREE char *status = NULL;
        if (qmp_status(q, &status, err) < 0)
            return -1;
        if (!str_eq(status, "inmigrate"))
            return 0;
        if (sys_monotonic_ms() > deadline)
            return error_set(err, VMUNDO_FAILED, "QEMU has not loaded the saved state within %u ms", q->timeout_ms);
    }
}

int qmp_load(struct qmp *q, int fd, const char *saved_by, struct vmundo_error *err)
{
    AUTO_FREE char *version = NULL;
    if (qmp_version(q, &version, err) < 0)
        return -1;
    if (!is_same_version(saved_by, version))
        return error_set(err, VMUNDO_CONFLICT,
                         "the guest was saved by QEMU %s, and this is QEMU %s, which may not load it rightly", saved_by,
                         version);
    if (qmp_give_fd(q, fd, "saved", err) < 0 ||
        qmp_call(q, "migrate-incoming", json_pack("{s:s}", "uri", "fd:saved"), NULL, err) < 0)
        return -1;
    return await_loaded(q, err);
}

int qmp_status(struct qmp *q, char **ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    if (qmp_call(q, "query-status", NULL, &o, err) < 0)
        return -1;
    return json_get_string(o, "status", ret, err);
}

int qmp_receive(struct qmp *q, struct vmundo_error *err)
{
    for (;;) {
        AUTO_JSON json_t *o = NULL;
        int r = next_object(q, 0, &o, err);
        if (r <= 0)
            return r;
        take_event(q, o);
    }
}

void qmp_close(struct qmp *q)
{
    cleanup_close(&q->fd);
    free(q->buf);
    *q = (struct qmp)QMP_INIT;
}
