/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp.h: talking to QEMU over a connected socket (docs/interop/qmp-spec in QEMU's source).
 *
 * Every call has a deadline, because a guest can make QEMU slow and a bug can make it hang. An answer that comes too
 * late is recognised by its id and dropped. Events may arrive at any moment; they are handed to on_event, from within
 * qmp_start, qmp_call and qmp_receive, and on_event must not use the connection.
 */
#ifndef HYPER_QMP_H
#define HYPER_QMP_H

#include "util/json.h"

#include <string.h>

typedef void (*qmp_event_fn)(void *data, const char *event, const json_t *arguments);

struct qmp {
    int fd;                /* owned */
    unsigned timeout_ms;   /* of each call */
    qmp_event_fn on_event; /* may be NULL */
    void *data;
    char *buf; /* received, not yet parsed */
    size_t len, cap;
    json_int_t id;    /* of the last command */
    char version[24]; /* of QEMU, as its greeting says; "" if it does not */
};
#define QMP_INIT                                                                                                       \
    {                                                                                                                  \
        .fd = -1, .timeout_ms = 5000                                                                                   \
    }
#define AUTO_QMP CLEANUP(qmp_close)

/* Take the greeting and agree on capabilities. Errors: VMUNDO_FAILED no answer in time (errnum ETIMEDOUT), the other
 * side closed (ECONNRESET), or does not speak QMP (EPROTO). These are the errors of every call here. */
int qmp_start(struct qmp *q, struct vmundo_error *err);

/* Execute a command. arguments may be NULL and is taken in any case; *ret (may be NULL) is the "return" member, the
 * caller's. When QEMU refuses, its reason is quoted; errnum is 0 then. */
int qmp_call(struct qmp *q, const char *command, json_t *arguments, json_t **ret, struct vmundo_error *err);

/* Execute a command without arguments, for its effect. */
static inline int qmp_do(struct qmp *q, const char *command, struct vmundo_error *err)
{
    return qmp_call(q, command, NULL, NULL, err);
}

/* Let the guest run. A migration under way, which would stop it again at its end, is given up. */
int qmp_cont(struct qmp *q, struct vmundo_error *err);

/* "7.2.22". *ret is the caller's. */
int qmp_version(struct qmp *q, char **ret, struct vmundo_error *err);

/* Hand QEMU a descriptor, by the name for "fd:NAME". It shares our file offset. */
int qmp_give_fd(struct qmp *q, int fd, const char *name, struct vmundo_error *err);

/* Hand QEMU a descriptor of a file in a set of its own, which it opens as "/dev/fdset/N"; *ret is N. `of` (query-fdsets
 * tells it) says what it is of. The set stays until it is removed ("remove-fd"), for as long as anybody is connected.
 */
int qmp_add_fd(struct qmp *q, int fd, const char *of, unsigned *ret, struct vmundo_error *err);

/* Before anything is migrated, the same on both sides: is RAM that is shared with a file left out? */
int qmp_ignore_shared(struct qmp *q, bool ignore, struct vmundo_error *err);

/* Load a guest that QEMU `saved_by` ("7.2.22") has saved to fd, which stands where the stream begins, into one that
 * waits for it (-incoming defer); it is paused then. qmp_ignore_shared has been said. Errors: VMUNDO_CONFLICT
 * this QEMU is of another version. */
int qmp_load(struct qmp *q, int fd, const char *saved_by, struct vmundo_error *err);

/* query-status: "running", "paused", "prelaunch", "shutdown", "guest-panicked" … *ret is the caller's. */
int qmp_status(struct qmp *q, char **ret, struct vmundo_error *err);

/* Take in what has arrived, without waiting. */
int qmp_receive(struct qmp *q, struct vmundo_error *err);

/* Has something arrived with an earlier answer that qmp_receive has yet to take in? Polling the socket would not tell.
 */
static inline bool qmp_has_more(const struct qmp *q)
{
    return q->len > 0 && memchr(q->buf, '\n', q->len);
}

void qmp_close(struct qmp *q);

#endif
