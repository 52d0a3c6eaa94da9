/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scan.c: where things stand in the text of an xl.cfg file. See scan.h. The tokens come first, then statements made of
 * them, then what is asked about those.
 */
#include "config/scan.h"

#include "util/str.h"

enum token {
    TOKEN_END,
    TOKEN_SEPARATOR,
    TOKEN_KEY,
    TOKEN_ATOM,
    TOKEN_SET,
    TOKEN_ADD,
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_COMMA,
    TOKEN_BAD
};

struct lexer {
    const char *text;
    size_t start, end;        /* of the token last read */
    unsigned line, next_line; /* on which that token stands; on which the next one will be looked for */
};

/* The length of the quoted string at p, 0 if it does not end on its line. */
static size_t string_length(const char *p)
{
    size_t n = 1;
    while (p[n] && p[n] != '\n' && p[n] != p[0])
        n += p[n] == '\\' && p[n + 1] && p[n + 1] != '\n' ? 2 : 1;
    return p[n] == p[0] ? n + 1 : 0;
}

static enum token punctuation(const char *p, size_t *ret_len)
{
    *ret_len = p[0] == '+' ? 2 : 1;
    switch (p[0]) {
    case '\n':
    case ';':
        return TOKEN_SEPARATOR;
    case '=':
        return TOKEN_SET;
    case '+':
        return p[1] == '=' ? TOKEN_ADD : TOKEN_BAD;
    case '[':
        return TOKEN_OPEN;
    case ']':
        return TOKEN_CLOSE;
    case ',':
        return TOKEN_COMMA;
    default:
        return TOKEN_BAD;
    }
}

static enum token next_token(struct lexer *l)
{
    const char *p = l->text + l->end;
    p += strspn(p, " \t");
    if (*p == '#')
        p += strcspn(p, "\n");
    l->start = (size_t)(p - l->text);
    l->line = l->next_line;

    enum token token = TOKEN_END;
    size_t len = 0;
    if (*p >= 'a' && *p <= 'z') {
        token = TOKEN_KEY;
        len = strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789._");
    } else if (*p >= '0' && *p <= '9') {
        token = TOKEN_ATOM;
        len = strspn(p, "0123456789abcdefx");
    } else if (*p == '"' || *p == '\'') {
        len = string_length(p);
        token = len ? TOKEN_ATOM : TOKEN_BAD;
    } else if (*p) {
        token = punctuation(p, &len);
    }
    if (*p == '\n')
        l->next_line++;
    l->end = l->start + len;
    return token;
}

/* Make room for one more after n. */
static int grow(void *array, size_t n, size_t size, struct vmundo_error *err)
{
    void **p = array;
    if (n & (n - 1)) /* room is made at 0, 1, 2, 4, 8 … */
        return 0;
    void *bigger = reallocarray(*p, n ? n * 2 : 1, size);
    if (!bigger)
        return error_nomem(err);
    *p = bigger;
    return 0;
}

static int bad_syntax(const struct lexer *l, struct vmundo_error *err)
{
    return error_set(err, VMUNDO_FAILED, "line %u: syntax that cannot be followed", l->line);
}

static struct scan_value value_here(const struct lexer *l)
{
    return (struct scan_value){.start = l->start, .end = l->end, .line = l->line};
}

/* The rest of a list, after its '['. Direct members go to s->items. */
static int scan_members(struct lexer *l, struct scan *s, struct vmundo_error *err)
{
    for (size_t depth = 1; depth > 0;) {
        enum token token = next_token(l);
        bool opens = token == TOKEN_OPEN;
        if ((opens || token == TOKEN_ATOM) && depth == 1) {
            if (grow(&s->items, s->n_items, sizeof(*s->items), err) < 0)
                return -1;
            s->items[s->n_items] = value_here(l);
            s->items[s->n_items++].list = opens;
        }
        if (opens)
            depth++;
        else if (token == TOKEN_CLOSE && --depth == 1)
            s->items[s->n_items - 1].end = l->end;
        else if (token == TOKEN_END || token == TOKEN_BAD || token == TOKEN_KEY)
            return bad_syntax(l, err);
    }
    return 0;
}

/* "= value" or "+= value", after the key. */
static int scan_setting(struct lexer *l, struct scan *s, struct scan_setting *set, struct vmundo_error *err)
{
    enum token op = next_token(l);
    enum token token = next_token(l);
    if ((op != TOKEN_SET && op != TOKEN_ADD) || (token != TOKEN_ATOM && token != TOKEN_OPEN))
        return bad_syntax(l, err);
    set->add = op == TOKEN_ADD;
    set->value = value_here(l);
    set->first_item = s->n_items;
    if (token == TOKEN_OPEN) {
        set->value.list = true;
        if (scan_members(l, s, err) < 0)
            return -1;
    }
    set->value.end = l->end;
    set->n_items = s->n_items - set->first_item;
    return 0;
}

int scan_text(const char *text, struct scan *ret, struct vmundo_error *err)
{
    AUTO_SCAN struct scan s = {0};
    struct lexer l = {.text = text, .next_line = 1};
    for (;;) {
        enum token token = next_token(&l);
        if (token == TOKEN_END)
            break;
        if (token == TOKEN_SEPARATOR)
            continue;
        if (token != TOKEN_KEY)
            return bad_syntax(&l, err);
        if (grow(&s.settings, s.n_settings, sizeof(*s.settings), err) < 0)
            return -1;
        struct scan_setting *set = &s.settings[s.n_settings++];
        *set = (struct scan_setting){.key = strndup(text + l.start, l.end - l.start)};
        if (!set->key)
            return error_nomem(err);
        if (scan_setting(&l, &s, set, err) < 0)
            return -1;
    }
    *ret = s;
    s = (struct scan){0};
    return 0;
}

void scan_clear(struct scan *s)
{
    for (size_t i = 0; i < s->n_settings; i++)
        free(s->settings[i].key);
    free(s->settings);
    free(s->items);
    *s = (struct scan){0};
}

const struct scan_setting *scan_find(const struct scan *s, const char *key)
{
    for (size_t i = s->n_settings; i-- > 0;)
        if (str_eq(s->settings[i].key, key))
            return &s->settings[i];
    return NULL;
}

int scan_list(const struct scan *s, const char *key, struct scan_value **ret, size_t *ret_n, struct vmundo_error *err)
{
    AUTO_FREE struct scan_value *list = s->n_items ? calloc(s->n_items, sizeof(*list)) : NULL;
    if (s->n_items && !list)
        return error_nomem(err);
    size_t n = 0;
    for (size_t i = 0; i < s->n_settings; i++) {
        const struct scan_setting *set = &s->settings[i];
        if (!str_eq(set->key, key))
            continue;
        if (!set->add)
            n = 0;
        for (size_t k = 0; k < set->n_items; k++)
            list[n++] = s->items[set->first_item + k];
    }
    *ret = TAKE(list);
    *ret_n = n;
    return 0;
}

int scan_string(const char *text, const struct scan_value *value, char **ret, struct vmundo_error *err)
{
    static const char escapes[] = "\"'\\abfnrtv", meanings[] = "\"'\\\a\b\f\n\r\t\v";
    const char *p = text + value->start, *end = text + value->end;
    if (value->list)
        return error_set(err, VMUNDO_FAILED, "line %u: a list where a string should be", value->line);
    if (*p == '"' || *p == '\'') {
        p++;
        end--;
    }
    AUTO_FREE char *s = malloc((size_t)(end - p) + 1);
    if (!s)
        return error_nomem(err);
    char *o = s;
    while (p < end) {
        char c = *p++;
        if (c == '\\') {
            const char *e = strchr(escapes, *p++);
            if (!e)
                return error_set(err, VMUNDO_FAILED, "line %u: a numeric escape in a string", value->line);
            c = meanings[e - escapes];
        }
        *o++ = c;
    }
    *o = '\0';
    *ret = TAKE(s);
    return 0;
}

char *scan_quote(const char *spec, char quote, struct vmundo_error *err)
{
    AUTO_FREE char *s = malloc(strlen(spec) * 2 + 3);
    if (!s) {
        error_nomem(err);
        return NULL;
    }
    char *o = s;
    *o++ = quote;
    for (const char *p = spec; *p; p++) {
        if (*p == quote || *p == '\\')
            *o++ = '\\';
        *o++ = *p;
    }
    *o++ = quote;
    *o = '\0';
    return TAKE(s);
}

bool scan_has_control(const char *s, const char *except)
{
    for (; *s; s++)
        if (((unsigned char)*s < 0x20 || *s == 0x7f) && !strchr(except, *s))
            return true;
    return false;
}
