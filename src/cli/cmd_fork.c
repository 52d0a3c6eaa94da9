/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_fork.c: vmundo fork. */
#include "cli/cli.h"

#include <string.h>

static struct vmundo_fork_options values;

static const struct cli_option options[] = {
    {"count", 0, "N", OPT_COUNT, &values.count, "how many (1)", COMPLETE_NONE},
    {"name", 'N', "NAME", OPT_TEXT, &values.name, "call it NAME, or several NAME-1, NAME-2 …", COMPLETE_NONE},
    {"boot", 0, NULL, OPT_FLAG, &values.boot, "boot from the disks, without the RAM", COMPLETE_NONE},
    {"network", 0, NULL, OPT_FLAG, &values.network, "connect them to the domain's network", COMPLETE_NONE},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    struct vmundo_names made = {0};
    char text[4 * VMUNDO_NAME_SIZE];
    char *name = c->args[0], *at = strchr(name, '@');
    if (at) {
        *at = '\0';
        values.checkpoint = at + 1;
    }
    if (vmundo_fork(c->v, name, &values, &made, err) < 0)
        return -1;
    if (made.n == 1)
        snprintf(text, sizeof(text), "forked, %s runs", made.names[0]);
    else
        snprintf(text, sizeof(text), "forked %zu times, %s to %s run", made.n, made.names[0], made.names[made.n - 1]);
    c->made = (const char *const *)made.names;
    report_result(c, name, text);
    c->made = NULL;
    vmundo_names_free(&made);
    return 0;
}

const struct command cmd_fork = {
    .name = "fork",
    .args = "NAME[@LABEL]",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "start copies of a domain",
    .help =
        "Start copies of the domain as it is, or of its checkpoint LABEL: other domains, NAME-1, NAME-2 and so on,\n"
        "with the same disks, and of a checkpoint with RAM as of the same instant. They share blocks and RAM until\n"
        "they write, and do not depend on the domain. 'rollback' takes them back to where they were forked. Their\n"
        "network leads nowhere without --network.",
    .options = options,
    .run = run,
};
