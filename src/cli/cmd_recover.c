/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_recover.c: vmundo recover. */
#include "cli/cli.h"

static int run(struct cli *c, struct vmundo_error *err)
{
    unsigned done;
    char what[80];
    if (vmundo_recover(&c->options, &done, err) < 0)
        return -1;
    snprintf(what, sizeof(what), done == 1 ? "recovered %u thing" : "recovered %u things", done);
    report_result(c, NULL, done ? what : "nothing to recover");
    return 0;
}

const struct command cmd_recover = {
    .name = "recover",
    .args = "",
    .flags = COMMAND_CHANGES | COMMAND_NO_STORE,
    .summary = "finish or undo whatever was cut off",
    .help = "Finish or undo operations that were interrupted (by a kill, a crash, a power cut), start new monitors for\n"
            "domains that lost theirs, and rebuild a damaged state database. Doing so twice is the same as once.",
    .run = run,
};
