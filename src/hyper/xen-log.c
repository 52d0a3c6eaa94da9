/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-log.c: see xen-log.h. The lines are those of create_domain() and handle_domain_death() in Xen's
 * tools/xl/xl_vmcontrol.c, and what libxl's logger puts on standard error.
 */
#include "hyper/xen-log.h"

#include "util/str.h"

#include <ctype.h>

#define MAX_ERRORS 4u
#define MAX_ERROR_LINE 200u

/* xl's names of shutdown actions: destroy, restart, rename-restart, preserve, coredump-destroy, coredump-restart,
 * soft-reset. */
static enum xl_phase phase_after(const char *action)
{
    if (str_has_suffix(action, "restart") || str_eq(action, "soft-reset"))
        return XL_RESTARTING;
    return str_eq(action, "preserve") ? XL_PRESERVED : XL_ENDING;
}

static void parse_line(const char *line, struct xl_log *log)
{
    unsigned domid;
    int number;
    char action[32];
    if (sscanf(line, "Waiting for domain %*s (domid %u) to die [pid %d]", &domid, &number) == 2) {
        *log = (struct xl_log){.phase = XL_WATCHING, .domid = domid, .pid = number, .reason = -1};
    } else if (sscanf(line, "Domain %u has shut down, reason code %d", &domid, &number) == 2) {
        log->phase = XL_ENDING;
        log->reason = number;
    } else if (sscanf(line, "Action for shutdown reason code %d is %31s", &number, action) == 2) {
        log->phase = phase_after(action);
    } else if (sscanf(line, "Continue waiting for domain %u", &domid) == 1) { /* it was only suspended */
        log->phase = XL_WATCHING;
        log->reason = -1;
    } else if (log->phase == XL_WATCHING && str_has_prefix(line, "Domain ") && strstr(line, " has been destroyed")) {
        log->phase = XL_ENDING;
    }
}

/* The next complete line, without its end, in a buffer of max bytes, cut off if it is longer. false: there is none. */
static bool next_line(const char **text, char *line, size_t max)
{
    const char *end = strchr(*text, '\n');
    if (!end)
        return false;
    size_t len = (size_t)(end - *text);
    snprintf(line, max, "%.*s", (int)(len < max ? len : max - 1), *text);
    *text = end + 1;
    return true;
}

void xl_log_parse(const char *text, struct xl_log *ret)
{
    struct xl_log log = {.phase = XL_CREATING, .reason = -1};
    char line[512];
    while (next_line(&text, line, sizeof(line)))
        parse_line(line, &log);
    *ret = log;
}

const char *xl_reason_text(int reason)
{
    static const char *const texts[] = {"guest powered off",        "guest rebooted",
                                        "guest suspended",          "guest crashed",
                                        "guest's watchdog expired", "guest asked for a soft reset"};
    return reason >= 0 && (size_t)reason < ARRAY_SIZE(texts) ? texts[reason] : "guest shut down";
}

/* Past "libxl_create.c:1672:domcreate_launch_dm: ". */
static const char *skip_place(const char *s)
{
    const char *p = strstr(s, ".c:");
    if (!p || strcspn(s, " ") < (size_t)(p - s) || !isdigit((unsigned char)p[3]))
        return s;
    const char *end = strstr(p, ": ");
    return end ? end + 2 : s;
}

/* The message in a line of standard error; NULL: it is no error. */
static const char *error_in(const char *line)
{
    static const char *const prefixes[] = {"libxl: error: ", "libxl-save-helper: error: ", "xc: error: ", "xl: "};
    static const char *const harmless[] = {"libxl: ", "xc: ", "Waiting for ", "Domain ", "Action for ", "Done. "};
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (str_has_prefix(line, prefixes[i]))
            return skip_place(line + strlen(prefixes[i]));
    for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
        if (str_has_prefix(line, harmless[i]))
            return NULL;
    return *line ? line : NULL;
}

/* The first errors say why; what follows are those of cleaning up. */
char *xl_log_errors(const char *text, struct vmundo_error *err)
{
    AUTO_STRV struct strv lines = {0};
    AUTO_FREE char *all = NULL;
    char line[512];
    while (next_line(&text, line, sizeof(line))) {
        if (str_has_prefix(line, "Waiting for domain "))
            strv_clear(&lines);
        const char *message = error_in(line);
        if (!message || lines.n == MAX_ERRORS)
            continue;
        if (strv_take(&lines, str_escape(message, MAX_ERROR_LINE), err) < 0)
            return NULL;
    }
    if (str_copy("", &all, err) < 0)
        return NULL;
    for (size_t i = 0; i < lines.n; i++) {
        char *longer = str_printf(err, "%s%s%s", all, i ? "; " : "", lines.items[i]);
        if (!longer)
            return NULL;
        free(all);
        all = longer;
    }
    return TAKE(all);
}
