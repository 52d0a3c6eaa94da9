/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_rollback.c: vmundo rollback. */
#include "cli/cli.h"

#include <time.h>

static struct vmundo_rollback_options values;
static const char *to;
static bool attach;

static const struct cli_option options[] = {
    {"undo", 0, NULL, OPT_FLAG, &values.undo, "go back to what the last rollback left behind", COMPLETE_NONE},
    {"to", 0, "TIME", OPT_TEXT, &to, "go to the checkpoint nearest to TIME: -30s, -5m, 14:03:22", COMPLETE_NONE},
    {"boot", 0, NULL, OPT_FLAG, &values.boot, "boot from a checkpoint's disks, without its RAM", COMPLETE_NONE},
    {"forget", 0, NULL, OPT_FLAG, &values.forget, "throw away what is left behind: no --undo", COMPLETE_NONE},
    {"console", 'c', NULL, OPT_FLAG, &attach, "attach the serial console (^] leaves it)", COMPLETE_NONE},
    {"off", 0, NULL, OPT_FLAG, &values.off, "do not start it again", COMPLETE_NONE},
    {0},
};

/* Whoever asked for a time wants to know which one there was. */
static const char *describe(int64_t at_ms, bool running)
{
    static char text[96];
    char clock[32] = "";
    struct tm t;
    time_t at = (time_t)(at_ms / 1000);
    if (to && localtime_r(&at, &t))
        strftime(clock, sizeof(clock), " to %Y-%m-%d %H:%M:%S", &t);
    snprintf(text, sizeof(text), "rolled back%s, %s", clock, running ? "runs on fresh branches" : "off");
    return text;
}

static int run(struct cli *c, struct vmundo_error *err)
{
    int console = -1;
    bool running = false;
    int64_t at = 0;
    values.checkpoint = c->n_args > 1 ? c->args[1] : NULL;
    values.ret_console = attach ? &console : NULL;
    values.ret_running = &running;
    values.ret_at = &at;
    if (to && cli_parse_time(to, &values.to, err) < 0)
        return -1;
    if (vmundo_rollback(c->v, c->args[0], &values, err) < 0)
        return -1;
    report_result(c, c->args[0], describe(at, running));
    return console >= 0 ? console_attach(console, c->args[0], err) : 0;
}

const struct command cmd_rollback = {
    .name = "rollback",
    .args = "NAME [LABEL]",
    .min_args = 1,
    .max_args = 2,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "power off, go back, start again",
    .help = "Power the domain off and start it again on fresh branches: of its origins, so that its disks are as\n"
            "they were before it ran, or of the checkpoint LABEL. Of a checkpoint with RAM, the guest runs on as of\n"
            "that instant. The new branches stand before the old ones are given up; where storage allows, the old\n"
            "ones are kept until the next rollback, for --undo.",
    .options = options,
    .run = run,
};
