/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * str.h: the few string helpers that C lacks: formatted allocation, NULL-terminated string vectors, and making
 * foreign text safe to show.
 */
#ifndef UTIL_STR_H
#define UTIL_STR_H

#include "util/cleanup.h"
#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline bool str_eq(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}
bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);

/* A formatted string the caller frees. NULL with *err set when out of memory. */
char *str_printf(struct vmundo_error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A copy the caller frees; NULL gives NULL in *ret and success. */
int str_copy(const char *s, char **ret, struct vmundo_error *err);

/* A growing vector of owned strings. Zero-initialise it; .items is NULL-terminated as soon as it is not NULL. */
struct strv {
    char **items;
    size_t n;
};
#define AUTO_STRV CLEANUP(strv_clear)

int strv_add(struct strv *v, const char *s, struct vmundo_error *err);
int strv_addf(struct strv *v, struct vmundo_error *err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Add s itself, which v then owns (it is freed on failure too). NULL is taken for out of memory. */
int strv_take(struct strv *v, char *s, struct vmundo_error *err);
bool strv_has(const struct strv *v, const char *s);
void strv_clear(struct strv *v);
/* Hand the NULL-terminated array over to the caller (strv_free_items); v is empty afterwards. NULL if empty. */
char **strv_steal(struct strv *v);
void strv_free_items(char **items);

/* Split a command line into words as a shell would, but nothing more than that: at blanks that are not quoted by '…',
 * "…" or a backslash. Added to *ret. Errors: VMUNDO_USAGE a quote that is not closed. */
int str_split_words(const char *text, struct strv *ret, struct vmundo_error *err);

/* Foreign text (guest consoles, names in images, other programs' messages) for a terminal or a log: control
 * characters, DEL, C1 controls, line separators, changes of the writing direction and invalid UTF-8 become \xNN, at
 * most max bytes of input are read. The caller frees it; NULL when out of memory. */
char *str_escape(const char *s, size_t max);

#endif
