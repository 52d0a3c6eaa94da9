/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_volume.c: vmundo volume. */
#include "cli/actions.h"

#include <stddef.h>

static struct vmundo_volume_options values;

static const struct cli_option options[] = {
    {"size", 's', "SIZE", OPT_SIZE, &values.size, "how large the volume is to be", COMPLETE_NONE},
    {"thin", 'T', NULL, OPT_FLAG, &values.thin, "in the thin pool: room is taken as it is filled", COMPLETE_NONE},
    {"stripes", 'i', "N", OPT_COUNT, &values.stripes, "over N disks of the pool at once", COMPLETE_NONE},
    {"fs", 0, "TYPE", OPT_TEXT, &values.fs, "with a file system in it: ext4 or xfs", COMPLETE_FS},
    {0},
};

static const struct column columns[] = {
    {"name", COL_TEXT, offsetof(struct vmundo_volume, name), false},
    {"kind", COL_TEXT, offsetof(struct vmundo_volume, kind), false},
    {"size", COL_SIZE, offsetof(struct vmundo_volume, size), false},
    {"usage", COL_BAR, offsetof(struct vmundo_volume, fill), false},
    {"origin", COL_TEXT, offsetof(struct vmundo_volume, origin), false},
    {"domain", COL_TEXT, offsetof(struct vmundo_volume, domain), false},
    {"health", COL_TEXT, offsetof(struct vmundo_volume, health), false},
    {"mount", COL_TEXT, offsetof(struct vmundo_volume, mount), false},
    {"path", COL_TEXT, offsetof(struct vmundo_volume, path), true},
    {0},
};

static int create(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    (void)n;
    values.name = args[0];
    if (vmundo_volume_create(c->v, &values, err) < 0)
        return -1;
    report_result(c, args[0], "made");
    return 0;
}

static int resize(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    uint64_t size;
    (void)n;
    if (vmundo_parse_size(args[1], &size, err) < 0 || vmundo_volume_resize(c->v, args[0], size, err) < 0)
        return -1;
    report_result(c, args[0], "has that size");
    return 0;
}

static int remove_volume(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    (void)n;
    if (vmundo_volume_remove(c->v, args[0], err) < 0)
        return -1;
    report_result(c, args[0], "removed");
    return 0;
}

static int list(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    struct vmundo_volumes volumes;
    if (vmundo_volume_list(c->v, n ? args[0] : NULL, &volumes, err) < 0)
        return -1;
    json_begin(c, NULL, '[');
    if (volumes.n_volumes || c->json)
        output_table(c, columns, volumes.volumes, sizeof(*volumes.volumes), volumes.n_volumes);
    else if (!c->quiet)
        puts("no volumes: 'vmundo volume create' makes one");
    json_end(c, ']');
    vmundo_volumes_free(&volumes);
    return 0;
}

static const char *const create_options[] = {"size", "thin", "stripes", "fs", NULL};

static const struct action actions[] = {
    {"create", "volume create", "POOL/NAME", 1, 1, create_options, create},
    {"list", "volume list", "[POOL]", 0, 1, NULL, list},
    {"resize", "volume resize", "POOL/NAME SIZE", 2, 2, NULL, resize},
    {"remove", "volume remove", "POOL/NAME", 1, 1, NULL, remove_volume},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    return action_run(c, actions, err);
}

const struct command cmd_volume = {
    .name = "volume",
    .args = "ACTION...",
    .min_args = 1,
    .max_args = LIST_MAX,
    .complete = COMPLETE_VOLUME_ACTION,
    .flags = COMMAND_CHANGES | COMMAND_PRINTS,
    .summary = "make, resize and remove volumes of a volume group",
    .help = "A volume is a disk for a domain, or with a file system a place for images:\n"
            "  volume create POOL/NAME --size SIZE [--thin|--stripes N] [--fs TYPE]\n"
            "  volume list [POOL]\n"
            "  volume resize POOL/NAME SIZE       with the file system in it, if there is one (ext4, XFS)\n"
            "  volume remove POOL/NAME\n"
            "It is refused to remove one that is mounted, in use, or has snapshots or branches, and to make one smaller\n"
            "than what is in it.",
    .options = options,
    .run = run,
};
