/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_completion.c: vmundo completion. */
#include "cli/cli.h"

static int run(struct cli *c, struct vmundo_error *err)
{
    return completion_print(c->args[0], err);
}

const struct command cmd_completion = {
    .name = "completion",
    .args = "SHELL",
    .min_args = 1,
    .max_args = 1,
    .flags = COMMAND_NO_STORE | COMMAND_HIDDEN,
    .complete = COMPLETE_SHELL,
    .summary = "print the completion script for bash or zsh",
    .run = run,
};
