/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_pin.c: vmundo pin, and unpin. */
#include "cli/cli.h"

static int set(struct cli *c, bool pinned, struct vmundo_error *err)
{
    char text[VMUNDO_NAME_SIZE + 32];
    if (vmundo_pin(c->v, c->args[0], c->args[1], pinned, err) < 0)
        return -1;
    snprintf(text, sizeof(text), "%s is %s", c->args[1], pinned ? "pinned" : "no longer pinned");
    report_result(c, c->args[0], text);
    return 0;
}

static int pin(struct cli *c, struct vmundo_error *err)
{
    return set(c, true, err);
}

static int unpin(struct cli *c, struct vmundo_error *err)
{
    return set(c, false, err);
}

const struct command cmd_pin = {
    .name = "pin",
    .args = "NAME LABEL",
    .min_args = 2,
    .max_args = 2,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "protect a checkpoint from being removed",
    .help = "Protect the checkpoint LABEL: 'vmundo prune' leaves it, and the domain cannot be dropped or kept\n"
            "while it has one.",
    .run = pin,
};

const struct command cmd_unpin = {
    .name = "unpin",
    .args = "NAME LABEL",
    .min_args = 2,
    .max_args = 2,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "protect a checkpoint no longer",
    .run = unpin,
};
