/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_status.c: vmundo status. */
#include "cli/cli.h"

#include <stddef.h>

static const struct column fields[] = {
    {"name", COL_TEXT, offsetof(struct vmundo_domain, name), false},
    {"state", COL_TEXT, offsetof(struct vmundo_domain, state), false},
    {"detail", COL_TEXT, offsetof(struct vmundo_domain, detail), false},
    {"hypervisor", COL_TEXT, offsetof(struct vmundo_domain, hypervisor), false},
    {"config", COL_TEXT, offsetof(struct vmundo_domain, config), false},
    {"parent", COL_TEXT, offsetof(struct vmundo_domain, parent), false},
    {"reserve", COL_BOOL, offsetof(struct vmundo_domain, reserve), true},
    {"generation", COL_NUMBER, offsetof(struct vmundo_domain, generation), false},
    {"created", COL_TIME, offsetof(struct vmundo_domain, created), false},
    {"started", COL_TIME, offsetof(struct vmundo_domain, started), false},
    {"used", COL_SIZE, offsetof(struct vmundo_domain, used), false},
    {"recording", COL_TEXT, offsetof(struct vmundo_domain, recording), false},
    {"recording_paused", COL_BAR, offsetof(struct vmundo_domain, recording_paused), true},
    {"pid", COL_NUMBER, offsetof(struct vmundo_domain, pid), true},
    {"console_log", COL_TEXT, offsetof(struct vmundo_domain, console_log), false},
    {0},
};

static const struct column disk_columns[] = {
    {"vdev", COL_TEXT, offsetof(struct vmundo_disk, vdev), false},
    {"driver", COL_TEXT, offsetof(struct vmundo_disk, driver), false},
    {"used", COL_SIZE, offsetof(struct vmundo_disk, used), false},
    {"size", COL_SIZE, offsetof(struct vmundo_disk, size), false},
    {"health", COL_TEXT, offsetof(struct vmundo_disk, health), false},
    {"consistency", COL_TEXT, offsetof(struct vmundo_disk, consistency), true},
    {"origin_changed", COL_BOOL, offsetof(struct vmundo_disk, origin_changed), false},
    {"readonly", COL_BOOL, offsetof(struct vmundo_disk, readonly), true},
    {"cdrom", COL_BOOL, offsetof(struct vmundo_disk, cdrom), true},
    {"format", COL_TEXT, offsetof(struct vmundo_disk, format), true},
    {"branch", COL_TEXT, offsetof(struct vmundo_disk, branch), true},
    {"origin", COL_TEXT, offsetof(struct vmundo_disk, origin), false},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    struct vmundo_domain d;
    if (vmundo_status(c->v, c->args[0], &d, err) < 0)
        return -1;
    json_begin(c, NULL, '{');
    output_fields(c, fields, &d);
    json_begin(c, "disks", '[');
    if (!c->json)
        putchar('\n');
    output_table(c, disk_columns, d.disks, sizeof(*d.disks), d.n_disks);
    json_end(c, ']');
    json_end(c, '}');
    vmundo_domain_free(&d);
    return 0;
}

const struct command cmd_status = {
    .name = "status",
    .args = "NAME",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_PRINTS,
    .summary = "show one domain and its disks",
    .run = run,
};
