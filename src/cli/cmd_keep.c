/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_keep.c: vmundo keep. */
#include "cli/cli.h"

static struct vmundo_keep_options values;

static const struct cli_option options[] = {
    {"stop", 0, NULL, OPT_FLAG, &values.stop, "shut it down first, if it runs", COMPLETE_NONE},
    {"timeout", 't', "SECONDS", OPT_SECONDS, &values.timeout_ms, "how long that may take (60)", COMPLETE_NONE},
    {"force", 'f', NULL, OPT_FLAG, &values.force, "although a disk was changed elsewhere meanwhile", COMPLETE_NONE},
    {"to", 0, "DIR", OPT_TEXT, &values.to, "in images of its own, in a new directory, instead", COMPLETE_DIR},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    if (vmundo_keep(c->v, c->args[0], &values, err) < 0)
        return -1;
    report_result(c, c->args[0], values.to ? "kept, in images of its own" : "kept, its changes are in its disks");
    return 0;
}

const struct command cmd_keep = {
    .name = "keep",
    .args = "NAME",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "make the changes permanent in the domain's disks",
    .help =
        "Make what the domain has written permanent in its disks, and forget the domain; 'run' then starts it from\n"
        "there. It must be off. If a disk was changed elsewhere since the branch was made, keep refuses, and of a\n"
        "fork while another domain has the same disks. With --to, the disks stay as they are, and DIR gets images\n"
        "and a configuration, NAME.cfg.",
    .options = options,
    .run = run,
};
