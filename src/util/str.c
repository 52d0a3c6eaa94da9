/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * str.c: formatted allocation, string vectors, and escaping. The UTF-8 decoder is our own because libc's depends on the
 * locale, and what is safe to show must not.
 */
#include "util/str.h"

#include <stdarg.h>
#include <stdint.h>

bool str_has_prefix(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

bool str_has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && !strcmp(s + n - k, suffix);
}

char *str_printf(struct vmundo_error *err, const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) {
        error_nomem(err);
        return NULL;
    }
    return s;
}

int str_copy(const char *s, char **ret, struct vmundo_error *err)
{
    char *copy = s ? strdup(s) : NULL;
    if (s && !copy)
        return error_nomem(err);
    *ret = copy;
    return 0;
}

int strv_take(struct strv *v, char *s, struct vmundo_error *err)
{
    AUTO_FREE char *owned = s;
    if (!s)
        return error_nomem(err);
    char **items = reallocarray(v->items, v->n + 2, sizeof(*items));
    if (!items)
        return error_nomem(err);
    v->items = items;
    v->items[v->n++] = TAKE(owned);
    v->items[v->n] = NULL;
    return 0;
}

int strv_add(struct strv *v, const char *s, struct vmundo_error *err)
{
    return strv_take(v, strdup(s), err);
}

int strv_addf(struct strv *v, struct vmundo_error *err, const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return strv_take(v, n < 0 ? NULL : s, err);
}

/* The next word at *at, which is moved behind it; *ret NULL: there is none. */
static int next_word(const char **at, char **ret, struct vmundo_error *err)
{
    const char *p = *at + strspn(*at, " \t\n");
    char *word = calloc(1, strlen(p) + 1), quote = '\0';
    size_t n = 0;
    *ret = NULL;
    if (!word)
        return error_nomem(err);
    bool found = *p;
    for (; *p && (quote || !strchr(" \t\n", *p)); p++) {
        if (*p == quote)
            quote = '\0';
        else if (!quote && (*p == '\'' || *p == '"'))
            quote = *p;
        else if (*p == '\\' && quote != '\'' && p[1])
            word[n++] = *++p;
        else
            word[n++] = *p;
    }
    *at = p;
    if (!found || quote) {
        free(word);
        return quote ? error_set(err, VMUNDO_USAGE, "a closing %c is missing", quote) : 0;
    }
    *ret = word;
    return 0;
}

int str_split_words(const char *text, struct strv *ret, struct vmundo_error *err)
{
    for (const char *at = text;;) {
        char *word;
        if (next_word(&at, &word, err) < 0)
            return error_wrap(err, "%s", text);
        if (!word)
            return 0;
        if (strv_take(ret, word, err) < 0)
            return -1;
    }
}

bool strv_has(const struct strv *v, const char *s)
{
    for (size_t i = 0; i < v->n; i++)
        if (str_eq(v->items[i], s))
            return true;
    return false;
}

void strv_clear(struct strv *v)
{
    strv_free_items(v->items);
    *v = (struct strv){0};
}

char **strv_steal(struct strv *v)
{
    v->n = 0;
    return TAKE(v->items);
}

void strv_free_items(char **items)
{
    for (char **i = items; i && *i; i++)
        free(*i);
    free(items);
}

/* Decode the character at s, of which n > 0 bytes are there. Returns its length and *ret_c, or 0 if it is not UTF-8
 * (RFC 3629: shortest form, no surrogates, at most U+10FFFF). */
static size_t decode_utf8(const unsigned char *s, size_t n, uint32_t *ret_c)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80             ? 1
                 : (s[0] & 0xe0) == 0xc0 ? 2
                 : (s[0] & 0xf0) == 0xe0 ? 3
                 : (s[0] & 0xf8) == 0xf0 ? 4
                                         : 0;
    if (len == 0 || len > n)
        return 0;
    uint32_t c = len == 1 ? s[0] : s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c < smallest[len] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
        return 0;
    *ret_c = c;
    return len;
}

/* C0, DEL, C1, line and paragraph separators, and what makes a terminal change the direction of writing. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

char *str_escape(const char *s, size_t max)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)s;
    size_t n = strnlen(s, max);
    char *out = n < SIZE_MAX / 4 ? malloc(n * 4 + 1) : NULL;
    if (!out)
        return NULL;
    char *o = out;
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        size_t len = decode_utf8(p + i, n - i, &c);
        if (len > 0 && !is_control(c)) {
            o = mempcpy(o, p + i, len);
            i += len;
            continue;
        }
        for (size_t end = i + (len > 0 ? len : 1); i < end; i++) {
            *o++ = '\\';
            *o++ = 'x';
            *o++ = hex[p[i] >> 4];
            *o++ = hex[p[i] & 15];
        }
    }
    *o = '\0';
    return out;
}
