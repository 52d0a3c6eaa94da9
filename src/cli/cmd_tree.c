/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_tree.c: vmundo tree. */
#include "cli/cli.h"

#include <stddef.h>
#include <stdlib.h>

/* A node, and for text its name at its depth in the tree. */
struct row {
    struct vmundo_node node;
    char place[2 * VMUNDO_NAME_SIZE + 64];
    const char *shown;
    bool drawn;
};

#define AT(m) offsetof(struct row, node.m)
static const struct column json_columns[] = {
    {"id", COL_NUMBER, AT(id), false},
    {"parent", COL_NUMBER, AT(parent), false},
    {"label", COL_TEXT, AT(label), false},
    {"created", COL_TIME, AT(created), false},
    {"state", COL_TEXT, AT(state), false},
    {"ram", COL_BOOL, AT(ram), false},
    {"consistency", COL_TEXT, AT(consistency), false},
    {"used", COL_SIZE, AT(used), false},
    {"pinned", COL_BOOL, AT(pinned), false},
    {"current", COL_BOOL, AT(current), false},
    {0},
};
static const struct column text_columns[] = {
    {"checkpoint", COL_TEXT, offsetof(struct row, shown), false},
    {"age", COL_AGE, AT(created), false},
    {"state", COL_TEXT, AT(state), false},
    {"ram", COL_BOOL, AT(ram), false},
    {"consistency", COL_TEXT, AT(consistency), false},
    {"used", COL_SIZE, AT(used), false},
    {"pinned", COL_BOOL, AT(pinned), false},
    {0},
};

static void draw(struct row *r, int depth, bool here)
{
    snprintf(r->place, sizeof(r->place), "%*s%s%s", depth * 2 < 128 ? depth * 2 : 128, "",
             r->node.label ? r->node.label : "(left by the last rollback)", here ? " <- here" : "");
    r->shown = r->place;
    r->drawn = true;
}

/* The children of parent, each followed by its own. Returns how many rows are in to. */
static size_t arrange(struct row *rows, size_t n, uint64_t parent, int depth, struct row *to, size_t at)
{
    for (size_t i = 0; i < n; i++) {
        if (rows[i].drawn || rows[i].node.parent != parent)
            continue;
        draw(&rows[i], depth, rows[i].node.current);
        to[at] = rows[i];
        to[at].shown = to[at].place;
        at = arrange(rows, n, rows[i].node.id, depth + 1, to, at + 1);
    }
    return at;
}

static int print(struct cli *c, const struct vmundo_tree *t, struct vmundo_error *err)
{
    struct row *rows = calloc(2 * t->n_nodes + 1, sizeof(*rows));
    if (!rows)
        return cli_error(err, VMUNDO_FAILED, "out of memory");
    struct row *sorted = rows + t->n_nodes;
    for (size_t i = 0; i < t->n_nodes; i++)
        rows[i].node = t->nodes[i];
    size_t n = arrange(rows, t->n_nodes, 0, 1, sorted, 0);
    for (size_t i = 0; i < t->n_nodes; i++) /* of a parent that is gone */
        if (!rows[i].drawn) {
            draw(&rows[i], 1, rows[i].node.current);
            sorted[n] = rows[i];
            sorted[n].shown = sorted[n].place;
            n = arrange(rows, t->n_nodes, rows[i].node.id, 2, sorted, n + 1);
        }
    if (!c->json)
        printf("origin%s\n", t->current ? "" : " <- here");
    if (c->json)
        output_table(c, json_columns, sorted, sizeof(*sorted), n);
    else if (n)
        output_table(c, text_columns, sorted, sizeof(*sorted), n);
    free(rows);
    return 0;
}

static int run(struct cli *c, struct vmundo_error *err)
{
    struct vmundo_tree t;
    if (vmundo_tree(c->v, c->args[0], &t, err) < 0)
        return -1;
    json_begin(c, NULL, '[');
    int r = print(c, &t, err);
    json_end(c, ']');
    vmundo_tree_free(&t);
    return r;
}

const struct command cmd_tree = {
    .name = "tree",
    .args = "NAME",
    .min_args = 1,
    .max_args = 1,
    .complete = COMPLETE_DOMAIN,
    .flags = COMMAND_PRINTS,
    .summary = "show a domain's checkpoints",
    .help = "Show the domain's checkpoints as a tree: each below the one that it was made from. \"here\" is what\n"
            "the domain's present branches were made from.",
    .run = run,
};
