/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sum.h: is a saved guest still what was written? Against accidents, not against anybody. */
#ifndef HYPER_SUM_H
#define HYPER_SUM_H

#include "util/error.h"

#include <stddef.h>
#include <stdint.h>

#define SUM_SIZE 17 /* 16 hex digits */

/* Of the bytes from (a multiple of 8) to before to, of a file. Its offset stays. */
int sum_file(int fd, uint64_t from, uint64_t to, char ret[SUM_SIZE], struct vmundo_error *err);

/* Exactly len bytes. Errors: VMUNDO_FAILED there are fewer. */
int sum_read(int fd, char *buf, size_t len, uint64_t at, struct vmundo_error *err);

#endif
