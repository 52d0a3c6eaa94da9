/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_version.c: vmundo version. */
#include "cli/cli.h"

static int run(struct cli *c, struct vmundo_error *err)
{
    (void)c, (void)err;
    printf("vmundo %s\n", vmundo_version());
    return 0;
}

const struct command cmd_version = {
    .name = "version",
    .args = "",
    .flags = COMMAND_NO_STORE,
    .summary = "show the version",
    .run = run,
};
