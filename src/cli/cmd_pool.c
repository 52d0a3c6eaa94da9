/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_pool.c: vmundo pool. */
#include "cli/actions.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

static struct vmundo_pool_options values;

static struct vmundo_import_options import_values;

static const struct cli_option options[] = {
    {"thin", 'T', NULL, OPT_FLAG, &values.thin, "with a thin pool over most of the volume group", COMPLETE_NONE},
    {"stripes", 'i', "N", OPT_COUNT, &values.stripes, "stripe the thin pool over N of the devices", COMPLETE_NONE},
    {"file", 'f', "PATH", OPT_TEXT, &values.file, "make the volume group in this new file", COMPLETE_FILE},
    {"size", 's', "SIZE", OPT_SIZE, &values.size, "how large the file is to be (it is sparse)", COMPLETE_NONE},
    {"mount", 0, "DIR", OPT_TEXT, &values.mount, "mount the XFS pool here (PATH.d)", COMPLETE_DIR},
    {"name", 0, "NAME", OPT_TEXT, &import_values.name, "what the image is called in the pool (as it is called)", COMPLETE_NONE},
    {"move", 0, NULL, OPT_FLAG, &import_values.move, "put a symbolic link to the image in its old place", COMPLETE_NONE},
    {"wipe", 0, NULL, OPT_FLAG, &values.wipe, "destroy what is on the devices", COMPLETE_NONE},
    {0},
};

static const struct column columns[] = {
    {"name", COL_TEXT, offsetof(struct vmundo_pool, name), false},
    {"kind", COL_TEXT, offsetof(struct vmundo_pool, kind), false},
    {"size", COL_SIZE, offsetof(struct vmundo_pool, size), false},
    {"used", COL_SIZE, offsetof(struct vmundo_pool, used), false},
    {"usage", COL_BAR, offsetof(struct vmundo_pool, fill), false},
    {"thin_data", COL_BAR, offsetof(struct vmundo_pool, thin_data), false},
    {"thin_metadata", COL_BAR, offsetof(struct vmundo_pool, thin_metadata), false},
    {"volumes", COL_NUMBER, offsetof(struct vmundo_pool, volumes), true},
    {"health", COL_TEXT, offsetof(struct vmundo_pool, health), false},
    {"mount", COL_TEXT, offsetof(struct vmundo_pool, mount), false},
    {"devices", COL_TEXT, offsetof(struct vmundo_pool, devices), true},
    {0},
};

/* How it is mounted at the next boot. Text only: a program knows what it asked for. */
static void tell_fstab(const struct cli *c, char *line)
{
    if (line && !c->json && !c->quiet && !c->options.dry_run) {
        fputs("to have it mounted at every boot, put this line into /etc/fstab (or run 'vmundo pool mount' then):\n", stdout);
        print_escaped(stdout, line);
        putchar('\n');
    }
    free(line);
}

static int create(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    char *line = NULL;
    (void)n;
    values.name = args[0];
    values.devices = (const char *const *)args + 1;
    values.ret_fstab = &line;
    if (vmundo_pool_create(c->v, &values, err) < 0)
        return -1;
    report_result(c, values.name, "made");
    tell_fstab(c, line);
    return 0;
}

static int grow(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    (void)n;
    values.name = args[0];
    values.devices = (const char *const *)args + 1;
    if (vmundo_pool_grow(c->v, &values, err) < 0)
        return -1;
    report_result(c, values.name, "grown");
    return 0;
}

static int mount_again(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    char *line = NULL;
    values.name = n ? args[0] : NULL;
    values.ret_fstab = &line;
    if (vmundo_pool_mount(c->v, &values, err) < 0)
        return -1;
    report_result(c, values.name, "mounted");
    tell_fstab(c, line);
    return 0;
}

static int import_image(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    char *path = NULL, text[PATH_MAX + 32];
    (void)n;
    import_values.pool = args[0];
    import_values.image = args[1];
    import_values.ret_path = &path;
    if (vmundo_pool_import(c->v, &import_values, err) < 0)
        return -1;
    snprintf(text, sizeof(text), "is %s now", path);
    report_result(c, args[1], text);
    free(path);
    return 0;
}

static int remove_pool(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    (void)n;
    if (vmundo_pool_remove(c->v, args[0], err) < 0)
        return -1;
    report_result(c, args[0], "removed");
    return 0;
}

static int list(struct cli *c, char **args, int n, struct vmundo_error *err)
{
    struct vmundo_pools pools;
    (void)args, (void)n;
    if (vmundo_pool_list(c->v, &pools, err) < 0)
        return -1;
    json_begin(c, NULL, '[');
    if (pools.n_pools || c->json)
        output_table(c, columns, pools.pools, sizeof(*pools.pools), pools.n_pools);
    else if (!c->quiet)
        puts("no pools: 'vmundo pool create' makes one");
    json_end(c, ']');
    vmundo_pools_free(&pools);
    return 0;
}

static const char *const create_options[] = {"thin", "stripes", "file", "size", "mount", "wipe", NULL};
static const char *const grow_options[] = {"size", "wipe", NULL};
static const char *const import_options[] = {"name", "move", NULL};
static const char *const mount_options[] = {"mount", NULL};

static const struct action actions[] = {
    {"create", "pool create", "NAME|PATH [DEVICE...]", 1, LIST_MAX, create_options, create},
    {"list", "pool list", "", 0, 0, NULL, list},
    {"grow", "pool grow", "NAME|PATH [DEVICE...]", 1, LIST_MAX, grow_options, grow},
    {"mount", "pool mount", "[NAME|PATH]", 0, 1, mount_options, mount_again},
    {"import", "pool import", "PATH IMAGE", 2, 2, import_options, import_image},
    {"remove", "pool remove", "NAME|PATH", 1, 1, NULL, remove_pool},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    return action_run(c, actions, err);
}

const struct command cmd_pool = {
    .name = "pool",
    .args = "ACTION...",
    .min_args = 1,
    .max_args = LIST_MAX,
    .complete = COMPLETE_POOL_ACTION,
    .flags = COMMAND_CHANGES | COMMAND_PRINTS,
    .summary = "make places for disks that have fast snapshots",
    .help = "A pool is an LVM volume group (its name has no '/') or an XFS file system in a file or on a device (a path):\n"
            "  pool create NAME DEVICE... [--thin [--stripes N]]    a volume group of disks or partitions\n"
            "  pool create NAME --file PATH --size SIZE [--thin]    a volume group in a sparse file\n"
            "  pool create PATH --size SIZE [--mount DIR]           XFS in a sparse file, for images\n"
            "  pool create DEVICE-PATH --mount DIR                  XFS on a device\n"
            "  pool list                                            all of them, and how full they are\n"
            "  pool grow NAME DEVICE... | NAME --size SIZE          more devices, or a larger file\n"
            "  pool mount [NAME|PATH]                               usable again after a reboot: one in a file, or all\n"
            "  pool import PATH IMAGE [--move] [--name NAME]        copy an image into an XFS pool; with --move a link stays\n"
            "  pool remove NAME|PATH                                when there is nothing in it\n"
            "A device that is in use is refused, and one with something on it unless --wipe is given.",
    .options = options,
    .run = run,
};
