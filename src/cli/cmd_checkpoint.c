/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_checkpoint.c: vmundo checkpoint. */
#include "cli/cli.h"

static struct vmundo_checkpoint_options values;

static const struct cli_option options[] = {
    {"ram", 0, NULL, OPT_FLAG, &values.ram, "with the guest's RAM: going back is going on from this instant",
     COMPLETE_NONE},
    {"quiesce", 0, NULL, OPT_FLAG, &values.quiesce, "have the guest's agent freeze its file systems for the instant",
     COMPLETE_NONE},
    {"before", 0, "COMMAND", OPT_TEXT, &values.before, "run this program before, such as one that locks a database",
     COMPLETE_NONE},
    {"after", 0, "COMMAND", OPT_TEXT, &values.after, "run this program after, whatever has happened", COMPLETE_NONE},
    {"hook-timeout", 0, "SECONDS", OPT_SECONDS, &values.hook_timeout_ms,
     "how long the agent and each of these may take (10)", COMPLETE_NONE},
    {"pause", 0, "SECONDS", OPT_SECONDS, &values.pause_ms, "pause the guest for so long at most (10; 600 to write all RAM)", COMPLETE_NONE},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    char label[VMUNDO_NAME_SIZE] = "", text[160];
    unsigned paused = 0;
    values.label = c->n_args > 1 ? c->args[1] : NULL;
    values.ret_label = label;
    values.ret_paused_us = &paused;
    if (vmundo_checkpoint(c->v, c->args[0], &values, err) < 0)
        return -1;
    if (paused)
        snprintf(text, sizeof(text), "checkpoint %s made, paused for %.1f ms", label, paused / 1e3);
    else
        snprintf(text, sizeof(text), "checkpoint %s made", label);
    report_result(c, c->args[0], text);
    return 0;
}

const struct command cmd_checkpoint = {
    .name = "checkpoint",
    .args = "NAME [LABEL]",
    .min_args = 1,
    .max_args = 2,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "give the present state a name to go back to",
    .help = "Make a checkpoint of the domain, called LABEL (default: cp-N), for 'vmundo rollback NAME LABEL'. A\n"
            "running guest is paused for some milliseconds and runs on; all its disks are of one instant. With\n"
            "--ram, its memory is saved too.",
    .options = options,
    .run = run,
};
