/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_run.c: vmundo run. */
#include "cli/cmd_run.h"

struct run_values run_values;

static bool attach, reserve;

static const struct cli_option options[] = {
    {"console", 'c', NULL, OPT_FLAG, &attach, "attach the serial console (^] leaves it)", COMPLETE_NONE},
    {"reserve", 0, NULL, OPT_FLAG, &reserve, "keep an instance in reserve, for quick rollbacks to RAM", COMPLETE_NONE},
    RUN_OPTIONS,
    {0},
};

void run_fill(struct vmundo_run_options *o, const struct cli *c)
{
    *o = (struct vmundo_run_options){
        .config = c->args[0],
        .name = run_values.name,
        .method = run_values.method,
        .hypervisor = run_values.hypervisor,
        .accel = run_values.accel,
        .net = run_values.net,
        .size = run_values.size,
        .extend_at = run_values.extend_at,
        .pause_at = run_values.pause_at,
        .no_guard = run_values.no_guard,
        .unprotected = run_values.unprotected.items,
        .anonymous_ram = run_values.anonymous_ram,
        .allow_in_use = run_values.allow_in_use,
    };
}

static int run(struct cli *c, struct vmundo_error *err)
{
    struct vmundo_run_options o;
    char name[VMUNDO_NAME_SIZE] = "";
    int console = -1;
    run_fill(&o, c);
    o.ret_name = name;
    o.reserve = reserve;
    o.ret_console = attach ? &console : NULL;
    if (vmundo_run(c->v, &o, err) < 0)
        return -1;
    report_result(c, name, "runs on fresh branches");
    return console >= 0 ? console_attach(console, name, err) : 0;
}

const struct command cmd_run = {
    .name = "run",
    .args = "CFG",
    .min_args = 1,
    .max_args = 1,
    .flags = COMMAND_CHANGES,
    .summary = "start a domain on fresh branches of its disks",
    .help = "Start the domain that the xl.cfg file CFG describes, on a fresh copy-on-write branch of each of its\n"
            "writable disks. The disks themselves and CFG stay as they are. 'vmundo plan CFG' tells beforehand\n"
            "what this will do.",
    .options = options,
    .complete = COMPLETE_FILE,
    .run = run,
};
