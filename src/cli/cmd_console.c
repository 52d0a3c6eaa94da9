/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_console.c: vmundo console. */
#include "cli/cli.h"

static int run(struct cli *c, struct vmundo_error *err)
{
    int fd;
    if (vmundo_console(c->v, c->args[0], &fd, err) < 0)
        return -1;
    return console_attach(fd, c->args[0], err);
}

const struct command cmd_console = {
    .name = "console",
    .args = "NAME",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .summary = "attach the serial console",
    .help = "Attach the terminal to the serial console of a running domain. ^] (control and right bracket) leaves it. When\n"
            "the input is not a terminal, the console is left when the input has ended and the guest has been silent\n"
            "for a second.",
    .run = run,
};
