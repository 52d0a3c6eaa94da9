/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_drop.c: vmundo drop. */
#include "cli/cli.h"

static int run(struct cli *c, struct vmundo_error *err)
{
    if (vmundo_drop(c->v, c->args[0], err) < 0)
        return -1;
    report_result(c, c->args[0], "dropped, its disks are as before it ran");
    return 0;
}

const struct command cmd_drop = {
    .name = "drop",
    .args = "NAME",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "power off, throw the changes away, forget the domain",
    .help = "Power the domain off, throw its branches away, and forget it. Its disks are as they were before 'run'.",
    .run = run,
};
