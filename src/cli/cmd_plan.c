/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_plan.c: vmundo plan. */
#include "cli/cmd_run.h"

#include <stddef.h>

static const struct cli_option options[] = {
    RUN_OPTIONS,
    {0},
};

static const struct column columns[] = {
    {"vdev", COL_TEXT, offsetof(struct vmundo_disk, vdev), false},
    {"origin", COL_TEXT, offsetof(struct vmundo_disk, origin), false},
    {"format", COL_TEXT, offsetof(struct vmundo_disk, format), false},
    {"driver", COL_TEXT, offsetof(struct vmundo_disk, driver), false},
    {"why", COL_TEXT, offsetof(struct vmundo_disk, why), false},
    {"cost", COL_TEXT, offsetof(struct vmundo_disk, cost), false},
    {"cannot", COL_TEXT, offsetof(struct vmundo_disk, cannot), false},
    {"branch", COL_TEXT, offsetof(struct vmundo_disk, branch), false},
    {"readonly", COL_BOOL, offsetof(struct vmundo_disk, readonly), true},
    {"cdrom", COL_BOOL, offsetof(struct vmundo_disk, cdrom), true},
    {0},
};

static void print_list(const struct cli *c, const char *key, char *const *items)
{
    json_begin(c, key, '[');
    for (size_t i = 0; items && items[i]; i++) {
        json_put_text(c, NULL, items[i]);
        if (c->json)
            continue;
        printf("\n%s: ", key);
        print_escaped(stdout, items[i]);
    }
    if (!c->json && items && items[0])
        putchar('\n');
    json_end(c, ']');
}

/* For people, a disk at a time: a table of these texts would be too wide. */
static void print_disks(const struct cli *c, const struct vmundo_plan *p)
{
    for (size_t i = 0; i < p->n_disks && !c->json; i++) {
        putchar('\n');
        output_fields(c, columns, &p->disks[i]);
    }
    json_begin(c, "disks", '[');
    if (c->json)
        output_table(c, columns, p->disks, sizeof(*p->disks), p->n_disks);
    json_end(c, ']');
}

static int run(struct cli *c, struct vmundo_error *err)
{
    static const struct column head[] = {
        {"name", COL_TEXT, offsetof(struct vmundo_plan, name), false},
        {"hypervisor", COL_TEXT, offsetof(struct vmundo_plan, hypervisor), false},
        {"because", COL_TEXT, offsetof(struct vmundo_plan, hypervisor_why), false},
        {0},
    };
    struct vmundo_run_options o;
    struct vmundo_plan p;
    run_fill(&o, c);
    if (vmundo_plan(c->v, &o, &p, err) < 0)
        return -1;
    json_begin(c, NULL, '{');
    output_fields(c, head, &p);
    print_disks(c, &p);
    print_list(c, "ignored", p.ignored);
    print_list(c, "warning", p.warnings);
    json_end(c, '}');
    vmundo_plan_free(&p);
    return 0;
}

const struct command cmd_plan = {
    .name = "plan",
    .args = "CFG",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_FILE,
    .flags = COMMAND_PRINTS,
    .summary = "show what run would do with a configuration, and why",
    .help = "For each disk of the xl.cfg file CFG: which storage driver would protect it, why that one, what it costs and\n"
            "what it cannot do; and which settings of CFG would have no effect. Touches nothing.",
    .options = options,
    .run = run,
};
