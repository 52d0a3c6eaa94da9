/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_record.c: vmundo record. */
#include "cli/cli.h"

static struct vmundo_record_options values;
static const char *every, *keep;

static const struct cli_option options[] = {
    {"every", 'e', "TIME", OPT_TEXT, &every, "make a checkpoint every TIME (1s)", COMPLETE_NONE},
    {"keep", 'k', "TIME", OPT_TEXT, &keep, "keep what is recorded for TIME (10m)", COMPLETE_NONE},
    {"space", 's', "SIZE", OPT_SIZE, &values.space, "let what is recorded take up SIZE at most", COMPLETE_NONE},
    {"ram", 0, NULL, OPT_FLAG, &values.with_ram, "with the guest's RAM again", COMPLETE_NONE},
    {"no-ram", 0, NULL, OPT_FLAG, &values.no_ram, "without the guest's RAM", COMPLETE_NONE},
    {"once", '1', NULL, OPT_FLAG, &values.once, "make one recorded checkpoint now, and let old ones go", COMPLETE_NONE},
    {"stop", 0, NULL, OPT_FLAG, &values.stop, "record no longer; what is recorded stays", COMPLETE_NONE},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    bool says_how = every || keep || values.space || values.with_ram || values.no_ram;
    if ((every && cli_parse_duration("every", every, &values.every_ms, err) < 0) ||
        (keep && cli_parse_duration("keep", keep, &values.keep_ms, err) < 0))
        return -1;
    if (values.stop && (says_how || values.once))
        return cli_error(err, VMUNDO_USAGE, "--stop goes alone");
    if (values.with_ram && values.no_ram)
        return cli_error(err, VMUNDO_USAGE, "--ram and --no-ram exclude each other");
    if (vmundo_record(c->v, c->args[0], &values, err) < 0)
        return -1;
    report_result(c, c->args[0],
                  values.stop   ? "is recorded no longer, what is recorded stays"
                  : values.once ? "recorded once"
                                : "is being recorded");
    return 0;
}

const struct command cmd_record = {
    .name = "record",
    .args = "NAME",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_CHANGES,
    .summary = "make a checkpoint every second while it runs",
    .help =
        "Record the domain: make a checkpoint of it every second, or as often as --every says, as long as it runs,\n"
        "with its RAM where that is in a file, for 'vmundo rollback NAME --to -30s'. All of the last minute are\n"
        "kept, then one of every ten seconds, after ten minutes one of every minute; none is older than --keep.\n"
        "On qcow2 overlays it is the disks only, and no more than 16 to 24 are kept, the older the farther apart.\n"
        "Where room gets scarce, the oldest go. Given again, it changes what is asked for.",
    .options = options,
    .run = run,
};
