/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_list.c: vmundo list. */
#include "cli/cli.h"

#include <stddef.h>

static const struct column columns[] = {
    {"name", COL_TEXT, offsetof(struct vmundo_domain, name), false},
    {"state", COL_TEXT, offsetof(struct vmundo_domain, state), false},
    {"generation", COL_NUMBER, offsetof(struct vmundo_domain, generation), false},
    {"hypervisor", COL_TEXT, offsetof(struct vmundo_domain, hypervisor), false},
    {"created", COL_TIME, offsetof(struct vmundo_domain, created), true},
    {"started", COL_AGE, offsetof(struct vmundo_domain, started), false},
    {"recording", COL_TEXT, offsetof(struct vmundo_domain, recording), true},
    {"config", COL_TEXT, offsetof(struct vmundo_domain, config), false},
    {"detail", COL_TEXT, offsetof(struct vmundo_domain, detail), false},
    {0},
};

static int run(struct cli *c, struct vmundo_error *err)
{
    struct vmundo_domains list;
    if (vmundo_list(c->v, &list, err) < 0)
        return -1;
    json_begin(c, NULL, '[');
    if (list.n_domains || c->json)
        output_table(c, columns, list.domains, sizeof(*list.domains), list.n_domains);
    else if (!c->quiet)
        puts("no domains: 'vmundo run CFG' starts one");
    json_end(c, ']');
    vmundo_domains_free(&list);
    return 0;
}

const struct command cmd_list = {
    .name = "list",
    .args = "",
    .flags = COMMAND_PRINTS,
    .summary = "show all domains",
    .run = run,
};
