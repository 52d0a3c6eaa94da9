/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_prune.c: vmundo prune. */
#include "cli/cli.h"

static struct vmundo_prune_options values;

static const struct cli_option options[] = {
    {"recorded", 0, NULL, OPT_FLAG, &values.recorded, "remove all recorded checkpoints", COMPLETE_NONE},
    {"keep-last", 0, "N", OPT_COUNT, &values.last, "keep the N newest", COMPLETE_NONE},
    {"keep-hourly", 0, "N", OPT_COUNT, &values.hourly, "and the newest of each of the latest N hours", COMPLETE_NONE},
    {"keep-daily", 0, "N", OPT_COUNT, &values.daily, "and the newest of each of the latest N days", COMPLETE_NONE},
    {"keep-weekly", 0, "N", OPT_COUNT, &values.weekly, "and the newest of each of the latest N weeks", COMPLETE_NONE},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    unsigned n = 0;
    char text[64];
    bool by_number = values.last || values.hourly || values.daily || values.weekly;
    if (c->n_args > 1 && by_number)
        return cli_error(err, VMUNDO_USAGE, "say either which checkpoints to remove, or how many to keep");
    values.labels = c->n_args > 1 ? (const char *const *)&c->args[1] : NULL;
    if (vmundo_prune(c->v, c->args[0], &values, &n, err) < 0)
        return -1;
    snprintf(text, sizeof(text), "%u checkpoint%s removed", n, n == 1 ? "" : "s");
    report_result(c, c->args[0], text);
    return 0;
}

const struct command cmd_prune = {
    .name = "prune",
    .args = "NAME [LABEL...]",
    .min_args = 1,
    .max_args = 1000,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "remove checkpoints",
    .help =
        "Remove the checkpoints LABEL..., or all but those that the options keep. What was made from them\n"
        "stays. Pinned checkpoints stay. What is left of them in qcow2 overlays that rest on one another is merged,\n"
        "if the domain runs under QEMU.",
    .options = options,
    .run = run,
};
