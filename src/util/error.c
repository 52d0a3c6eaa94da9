/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * error.c: filling in a struct vmundo_error. Messages are built in a buffer of their own first, because an argument may
 * well be the message that is about to be replaced.
 */
#include "util/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct message {
    char text[sizeof((struct vmundo_error){0}.msg)];
    size_t len;
};

__attribute__((format(printf, 2, 0))) static void append_v(struct message *m, const char *fmt, va_list ap)
{
    size_t room = sizeof(m->text) - m->len;
    int n = vsnprintf(m->text + m->len, room, fmt, ap);
    if (n > 0)
        m->len += (size_t)n < room ? (size_t)n : room - 1;
}

PRINTF_LIKE(2, 3) static void append(struct message *m, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    append_v(m, fmt, ap);
    va_end(ap);
}

static int store(struct vmundo_error *err, enum vmundo_code code, int errnum, const struct message *m)
{
    err->code = code;
    err->errnum = errnum;
    memcpy(err->msg, m->text, m->len + 1);
    return -1;
}

int error_set(struct vmundo_error *err, enum vmundo_code code, const char *fmt, ...)
{
    if (!err)
        return -1;
    struct message m = {.len = 0};
    va_list ap;
    va_start(ap, fmt);
    append_v(&m, fmt, ap);
    va_end(ap);
    return store(err, code, 0, &m);
}

int error_errno(struct vmundo_error *err, int errnum, const char *fmt, ...)
{
    if (!err)
        return -1;
    struct message m = {.len = 0};
    va_list ap;
    va_start(ap, fmt);
    append_v(&m, fmt, ap);
    va_end(ap);
    char buf[128];
    append(&m, ": %s", strerror_r(errnum, buf, sizeof(buf)));
    return store(err, VMUNDO_FAILED, errnum, &m);
}

int error_wrap(struct vmundo_error *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    struct message m = {.len = 0};
    va_list ap;
    va_start(ap, fmt);
    append_v(&m, fmt, ap);
    va_end(ap);
    append(&m, ": %s", err->msg);
    return store(err, err->code, err->errnum, &m);
}

int error_nomem(struct vmundo_error *err)
{
    error_set(err, VMUNDO_FAILED, "out of memory");
    if (err)
        err->errnum = ENOMEM;
    return -1;
}

void error_clear(struct vmundo_error *err)
{
    if (err)
        *err = (struct vmundo_error){.code = VMUNDO_OK};
}
