/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_start.c: vmundo start. */
#include "cli/cli.h"

static bool attach;

static const struct cli_option options[] = {
    {"console", 'c', NULL, OPT_FLAG, &attach, "attach the serial console (^] leaves it)", COMPLETE_NONE},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    int console = -1;
    if (vmundo_start(c->v, c->args[0], attach ? &console : NULL, err) < 0)
        return -1;
    report_result(c, c->args[0], "runs on its branches");
    return console >= 0 ? console_attach(console, c->args[0], err) : 0;
}

const struct command cmd_start = {
    .name = "start",
    .args = "NAME",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "start the domain again on the same branches",
    .help = "Start a domain that is off, on the branches that it has: nothing is thrown away.",
    .options = options,
    .run = run,
};
