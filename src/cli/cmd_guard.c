/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_guard.c: vmundo guard. */
#include "cli/cli.h"

#include <signal.h>

static struct vmundo_guard_options values;
static volatile int stop;

static const struct cli_option options[] = {
    {"once", '1', NULL, OPT_FLAG, &values.once, "look once, do what is needed, and return", COMPLETE_NONE},
    {"extend-at", 0, "PERCENT", OPT_COUNT, &values.extend_at, "make a branch larger when it is this full (70)",
     COMPLETE_NONE},
    {"pause-at", 0, "PERCENT", OPT_COUNT, &values.pause_at, "pause the domain when it is this full (90)",
     COMPLETE_NONE},
    {"interval", 'i', "SECONDS", OPT_SECONDS, &values.interval_ms, "the longest time between two looks (1)",
     COMPLETE_NONE},
    {0},
};

static void on_signal(int sig)
{
    (void)sig;
    stop = 1;
}

static int run(struct cli *c, struct vmundo_error *err)
{
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    c->verbose = true;
    values.once = values.once || c->options.dry_run;
    values.name = c->n_args ? c->args[0] : NULL;
    values.stop = &stop;
    if (vmundo_guard(c->v, &values, err) < 0)
        return -1;
    if (c->json || c->options.dry_run)
        report_result(c, values.name, "guarded");
    return 0;
}

const struct command cmd_guard = {
    .name = "guard",
    .args = "[NAME]",
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "watch branches that can fill up under running domains",
    .help = "Watch the branches of running domains that can fill up (LVM snapshots, thin pools): make them larger in\n"
            "time, pause the domain before the end where that is not possible, and let it run on when there is room.\n"
            "Every domain on such branches has a process that does this; this command does it in the foreground, for\n"
            "one domain or for all, until it is interrupted.",
    .options = options,
    .run = run,
};
