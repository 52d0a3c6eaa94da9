/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz_qmp.c: all that a QEMU could say over QMP, from its greeting on, while it is asked what a driver asks. Every call
 * ends, and what fails says why, in characters that can be shown. */
#include "fuzz.h"

#include "hyper/qmp.h"

#include <fcntl.h>
#include <sys/socket.h>

static void on_event(void *data, const char *event, const json_t *arguments)
{
    size_t *n = data;
    *n += strlen(event) + json_object_size(arguments);
}

/* The escaped and the raw text are the same. */
static void require_shown(int r, const struct vmundo_error *err)
{
    if (r >= 0)
        return;
    REQUIRE_REFUSED(*err);
    AUTO_FREE char *safe = str_escape(err->msg, sizeof(err->msg));
    REQUIRE(str_eq(safe, err->msg));
}

static void ask(struct qmp *q)
{
    AUTO_FREE char *status = NULL, *version = NULL;
    AUTO_JSON json_t *blocks = NULL;
    struct vmundo_error err = {0};
    require_shown(qmp_status(q, &status, &err), &err);
    err = (struct vmundo_error){0};
    require_shown(qmp_call(q, "query-block", NULL, &blocks, &err), &err);
    err = (struct vmundo_error){0};
    require_shown(qmp_cont(q, &err), &err);
    err = (struct vmundo_error){0};
    require_shown(qmp_version(q, &version, &err), &err);
    err = (struct vmundo_error){0};
    require_shown(qmp_load(q, q->fd, "7.2.22", &err), &err);
    for (err = (struct vmundo_error){0}; qmp_has_more(q);)
        if (qmp_receive(q, &err) < 0)
            return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int pair[2];
    size_t events = 0;
    if (size > 65536) /* what a socket holds */
        return 0;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    AUTO_CLOSE int other = pair[1];
    AUTO_QMP struct qmp q = QMP_INIT;
    struct vmundo_error err = {0};
    q.fd = pair[0];
    q.timeout_ms = 0;
    q.on_event = on_event;
    q.data = &events;
    REQUIRE(send(other, data, size, MSG_NOSIGNAL) == (ssize_t)size);
    int r = qmp_start(&q, &err);
    require_shown(r, &err);
    if (r == 0)
        ask(&q);
    return 0;
}
