/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_log.c: vmundo log. */
#include "cli/cli.h"

#include <stddef.h>

static unsigned limit = 100;

static const struct cli_option options[] = {
    {"lines", 'l', "N", OPT_COUNT, &limit, "show the last N operations (100; 0: all)", COMPLETE_NONE},
    {0},
};

static const struct column columns[] = {
    {"begun", COL_MS, offsetof(struct vmundo_log_entry, begun_ms), false},
    {"ended", COL_MS, offsetof(struct vmundo_log_entry, ended_ms), true},
    {"domain", COL_TEXT, offsetof(struct vmundo_log_entry, domain), false},
    {"operation", COL_TEXT, offsetof(struct vmundo_log_entry, operation), false},
    {"outcome", COL_TEXT, offsetof(struct vmundo_log_entry, outcome), false},
    {"message", COL_TEXT, offsetof(struct vmundo_log_entry, message), false},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    struct vmundo_log log;
    if (c->n_args && !vmundo_name_is_valid(c->args[0]))
        return cli_error(err, VMUNDO_USAGE, "'%.63s' is no domain name", c->args[0]);
    if (vmundo_log(c->v, c->n_args ? c->args[0] : NULL, limit, &log, err) < 0)
        return -1;
    json_begin(c, NULL, '[');
    if (log.n_entries || c->json)
        output_table(c, columns, log.entries, sizeof(*log.entries), log.n_entries);
    else if (!c->quiet)
        puts("nothing has been done yet");
    json_end(c, ']');
    vmundo_log_free(&log);
    return 0;
}

const struct command cmd_log = {
    .name = "log",
    .args = "[NAME]",
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_PRINTS,
    .summary = "show what was done, to one domain or to all",
    .options = options,
    .run = run,
};
