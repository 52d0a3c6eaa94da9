/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_rollback.c: vmundo rollback. */
#include "cli/cli.h"

static struct vmundo_rollback_options values;
static bool attach;

static const struct cli_option options[] = {
    {"console", 'c', NULL, OPT_FLAG, &attach, "attach the serial console (^] leaves it)", COMPLETE_NONE},
    {"off", 0, NULL, OPT_FLAG, &values.off, "do not start it again", COMPLETE_NONE},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    int console = -1;
    values.ret_console = attach ? &console : NULL;
    if (vmundo_rollback(c->v, c->args[0], &values, err) < 0)
        return -1;
    report_result(c, c->args[0], values.off ? "rolled back, off" : "rolled back, runs on fresh branches");
    return console >= 0 ? console_attach(console, c->args[0], err) : 0;
}

const struct command cmd_rollback = {
    .name = "rollback",
    .args = "NAME",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "power off, throw the changes away, start again",
    .help = "Power the domain off, throw its branches away and start it again on fresh ones: its disks are then as\n"
            "their origins are. The new branches stand before the old ones are given up.",
    .options = options,
    .run = run,
};
