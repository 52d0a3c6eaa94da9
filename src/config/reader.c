/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reader.c: libxlutil with its messages caught. See reader.h.
 */
#include "config/reader.h"

#include "util/str.h"

int reader_open(struct reader *r, const char *source, struct vmundo_error *err)
{
    *r = (struct reader){.report = open_memstream(&r->text, &r->len), .source_len = strlen(source)};
    if (r->report)
        r->cfg = xlu_cfg_init(r->report, source);
    return r->cfg ? 0 : error_nomem(err);
}

void reader_close(struct reader *r)
{
    xlu_cfg_destroy(r->cfg);
    cleanup_fclose(&r->report);
    free(r->text);
    *r = (struct reader){0};
}

/* libxlutil counts one line too few when the line end itself is what it did not expect (xlu__cfg_yyerror() takes off
 * the one that the lexer has taken off already). */
static unsigned long lines_short(const char *message)
{
    return strstr(message, "syntax error, unexpected NEWLINE") ? 1 : 0;
}

int reader_fail(struct reader *r, struct vmundo_error *err)
{
    if (fflush(r->report) != 0 || r->len == 0)
        return error_nomem(err); /* the only failure without a message */
    AUTO_FREE char *message = str_escape(r->text, strcspn(r->text, "\n"));
    if (!message)
        return error_nomem(err);
    static const char noise[] = " warning:";
    char *p = message + r->source_len;
    if (p[0] != ':' || p[1] < '0' || p[1] > '9')
        return error_set(err, VMUNDO_FAILED, "%s", message);
    *p++ = '\0';
    unsigned long line = strtoul(p, &p, 10);
    p += strspn(p, ":");
    if (str_has_prefix(p, noise))
        p += strlen(noise);
    return error_set(err, VMUNDO_FAILED, "%s:%lu:%s", message, line + lines_short(p), p);
}
