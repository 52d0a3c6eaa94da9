/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_stop.c: vmundo stop. */
#include "cli/cli.h"

static struct vmundo_stop_options values;

static const struct cli_option options[] = {
    {"timeout", 't', "SECONDS", OPT_SECONDS, &values.timeout_ms, "how long it may take (60; with --force 0)",
     COMPLETE_NONE},
    {"force", 'f', NULL, OPT_FLAG, &values.force, "power it off when the time is up", COMPLETE_NONE},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    if (vmundo_stop(c->v, c->args[0], &values, err) < 0)
        return -1;
    report_result(c, c->args[0], "off, its branches stay");
    return 0;
}

const struct command cmd_stop = {
    .name = "stop",
    .args = "NAME",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "shut the domain down, keeping its branches",
    .help = "Ask the guest to power off, and wait for it. The branches stay: 'start' goes on with them.",
    .options = options,
    .run = run,
};
