/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reader.h: libxlutil with its messages caught.
 *
 * libxlutil reports to a FILE, as "source:line: config parsing error near …" or "source:line: warning: …". Here that is
 * a stream in memory; reader_fail() turns its first line into an error. What libxlutil only warns of and then ignores
 * (a value of the wrong type) is an error for us: every call is made with dont_warn = 0 and stops at the first message.
 */
#ifndef CONFIG_READER_H
#define CONFIG_READER_H

#include "util/cleanup.h"
#include "util/error.h"

#include <libxlutil.h>

struct reader {
    XLU_Config *cfg;
    FILE *report;
    char *text; /* what was reported, valid after fflush(report) */
    size_t len;
    size_t source_len;
};
#define AUTO_READER CLEANUP(reader_close)

/* source opens every message; it is printable (str_escape). */
int reader_open(struct reader *r, const char *source, struct vmundo_error *err);
void reader_close(struct reader *r);

/* Set *err from the first message. Returns -1. */
int reader_fail(struct reader *r, struct vmundo_error *err);

#endif
