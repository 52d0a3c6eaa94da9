/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * error.h: filling in a struct vmundo_error.
 *
 * A fallible call returns 0 or -1 with *err set; err is its last parameter and may be NULL. The failing call sets it,
 * callers above add context with error_wrap(). Every setter returns -1, so that `return error_set(...)` reads well.
 */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include "vmundo.h"

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Set code and message. Returns -1. */
int error_set(struct vmundo_error *err, enum vmundo_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As error_set(VMUNDO_FAILED), with errnum and ": strerror(errnum)" appended. Returns -1. */
int error_errno(struct vmundo_error *err, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Put "context: " before the message that is there; code and errnum stay. Returns -1. */
int error_wrap(struct vmundo_error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Out of memory. Returns -1. */
int error_nomem(struct vmundo_error *err);

void error_clear(struct vmundo_error *err);

#endif
