/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_diff.c: vmundo diff. */
#include "cli/cli.h"

#include <stddef.h>

static bool show_ranges;
static const struct cli_option options[] = {
    {"ranges", 0, NULL, OPT_FLAG, &show_ranges, "list the parts that differ, in bytes", COMPLETE_NONE},
    {0},
};

static const struct column disk_columns[] = {
    {"vdev", COL_TEXT, offsetof(struct vmundo_disk_diff, vdev), false},
    {"changed", COL_SIZE, offsetof(struct vmundo_disk_diff, bytes), false},
    {"parts", COL_NUMBER, offsetof(struct vmundo_disk_diff, n_ranges), false},
    {0},
};
static const struct column range_columns[] = {
    {"start", COL_NUMBER, offsetof(struct vmundo_range, start), false},
    {"length", COL_NUMBER, offsetof(struct vmundo_range, length), false},
    {0},
};

static void print_json(const struct cli *c, const struct vmundo_diff *d)
{
    json_begin(c, NULL, '[');
    for (size_t i = 0; i < d->n_disks; i++) {
        json_begin(c, NULL, '{');
        output_fields(c, disk_columns, &d->disks[i]);
        json_begin(c, "ranges", '[');
        output_table(c, range_columns, d->disks[i].ranges, sizeof(*d->disks[i].ranges), d->disks[i].n_ranges);
        json_end(c, ']');
        json_end(c, '}');
    }
    json_end(c, ']');
}

static void print_text(const struct cli *c, const struct vmundo_diff *d)
{
    output_table(c, disk_columns, d->disks, sizeof(*d->disks), d->n_disks);
    for (size_t i = 0; show_ranges && i < d->n_disks; i++) {
        if (!d->disks[i].n_ranges)
            continue;
        putchar('\n');
        print_escaped(stdout, d->disks[i].vdev);
        putchar('\n');
        output_table(c, range_columns, d->disks[i].ranges, sizeof(*d->disks[i].ranges), d->disks[i].n_ranges);
    }
}

static int run(struct cli *c, struct vmundo_error *err)
{
    struct vmundo_diff d;
    const char *from = c->n_args > 1 ? c->args[1] : NULL, *to = c->n_args > 2 ? c->args[2] : NULL;
    if (vmundo_diff(c->v, c->args[0], from, to, &d, err) < 0)
        return -1;
    if (c->json)
        print_json(c, &d);
    else
        print_text(c, &d);
    vmundo_diff_free(&d);
    return 0;
}

const struct command cmd_diff = {
    .name = "diff",
    .args = "NAME [FROM [TO]]",
    .min_args = 1,
    .max_args = 3,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_PRINTS,
    .summary = "show how much of the disks has changed, and where",
    .help = "Show which parts of the domain's disks differ now from the origin; or from the checkpoint FROM, and then now\n"
            "or in the checkpoint TO. Parts are whole blocks of the storage, in bytes of the disk's\n"
            "image file or device. No data is read, and the guest may be running: what it has not yet flushed may be\n"
            "missing.",
    .options = options,
    .run = run,
};
