/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scan.h: where things stand in the text of an xl.cfg file.
 *
 * libxlutil tells what a value is, but not where it stands, nor which keys there are. This scanner follows the lexer
 * and the grammar of libxlutil (libxlu_cfg_l.l, libxlu_cfg_y.y) and is meant for text that xlu_cfg_readdata() has
 * accepted: it tells right from wrong only as far as it needs to.
 */
#ifndef CONFIG_SCAN_H
#define CONFIG_SCAN_H

#include "util/cleanup.h"
#include "util/error.h"

/* A string or number, or a list: bytes start to end (exclusive) of the text, with quotes or brackets. */
struct scan_value {
    size_t start, end;
    unsigned line;
    bool list;
};

/* One statement: key = value, or key += value. */
struct scan_setting {
    char *key;
    bool add;
    struct scan_value value;
    size_t first_item, n_items; /* of a list: its direct members in scan.items */
};

struct scan {
    struct scan_setting *settings;
    size_t n_settings;
    struct scan_value *items;
    size_t n_items;
};
#define AUTO_SCAN CLEANUP(scan_clear)

/* Errors: VMUNDO_FAILED, with the number of the line that was not understood. */
int scan_text(const char *text, struct scan *ret, struct vmundo_error *err);
void scan_clear(struct scan *s);

/* The last statement about key, which is the one that counts, or NULL. */
const struct scan_setting *scan_find(const struct scan *s, const char *key);

/* The members of a list: those of the last assignment and of every += after it. *ret is the caller's array (its members
 * point into nothing), NULL when there are none. */
int scan_list(const struct scan *s, const char *key, struct scan_value **ret, size_t *ret_n, struct vmundo_error *err);

/* What the string or number says, without quotes and escapes. Errors: VMUNDO_FAILED for a list and for numeric escapes
 * (libxlutil reads "\123" as nothing at all). */
int scan_string(const char *text, const struct scan_value *value, char **ret, struct vmundo_error *err);

/* spec as a literal that reads back as spec: in quotes (' or "), with both quotes of that kind and backslashes escaped.
 * spec has no control characters. The caller frees it. */
char *scan_quote(const char *spec, char quote, struct vmundo_error *err);

/* Has s a control character (below 0x20, or DEL) that is not one of those excepted? */
bool scan_has_control(const char *s, const char *except);

#endif
