/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_help.c: vmundo help. */
#include "cli/cli.h"

static int run(struct cli *c, struct vmundo_error *err)
{
    const struct command *about = c->n_args ? command_find(c->args[0]) : NULL;
    if (c->n_args && !about)
        return cli_error(err, VMUNDO_USAGE, "no command is called '%.40s': 'vmundo help' lists them", c->args[0]);
    if (about)
        help_command(stdout, about);
    else
        help_overview(stdout);
    return 0;
}

const struct command cmd_help = {
    .name = "help",
    .args = "[COMMAND]",
    .max_args = 1,
    .flags = COMMAND_NO_STORE,
    .summary = "explain vmundo, or one command",
    .run = run,
};
