/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_tree.c: vmundo tree. */
#include "cli/cli.h"

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

static struct vmundo_tree_options values;

static const struct cli_option options[] = {
    {"all", 'a', NULL, OPT_FLAG, &values.all, "show each recorded checkpoint", COMPLETE_NONE},
    {"sizes", 0, NULL, OPT_FLAG, &values.sizes, "show sizes even of more than 100 checkpoints", COMPLETE_NONE},
    {0},
};

/* A node, and for text its name at its depth in the tree. Its children are a chain through `next`. */
struct row {
    struct vmundo_node node;
    char place[2 * VMUNDO_NAME_SIZE + 64];
    const char *shown;
    struct row *child, *next;
};

#define AT(m) offsetof(struct row, node.m)
static const struct column json_columns[] = {
    {"id", COL_NUMBER, AT(id), false},
    {"parent", COL_NUMBER, AT(parent), false},
    {"label", COL_TEXT, AT(label), false},
    {"recorded", COL_NUMBER, AT(recorded), false},
    {"since", COL_TIME, AT(since), false},
    {"created", COL_TIME, AT(created), false},
    {"created_ms", COL_MS, AT(created_ms), false},
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

static void format_clock(char *buf, size_t size, int64_t when)
{
    struct tm t;
    time_t at = (time_t)when;
    if (!localtime_r(&at, &t) || !strftime(buf, size, "%Y-%m-%d %H:%M:%S", &t))
        snprintf(buf, size, "?");
}

static void draw(struct row *r, int depth)
{
    const struct vmundo_node *n = &r->node;
    char name[64] = "(left by the last rollback)", since[24];
    format_clock(since, sizeof(since), n->since);
    if (n->recorded > 1)
        snprintf(name, sizeof(name), "(%llu recorded since %s)", (unsigned long long)n->recorded, since);
    else if (n->recorded)
        snprintf(name, sizeof(name), "(recorded %s)", since);
    snprintf(r->place, sizeof(r->place), "%*s%s%s", depth * 2 < 64 ? depth * 2 : 64, "", n->label ? n->label : name,
             n->current ? " <- here" : "");
    r->shown = r->place;
}

/* From r down, each followed by its children. Returns how many are in to. */
static size_t arrange(struct row *r, int depth, struct row **to, size_t at)
{
    for (; r; r = r->next) {
        draw(r, depth);
        to[at] = r;
        at = arrange(r->child, depth + 1, to, at + 1);
    }
    return at;
}

static int compare_row(const void *key, const void *row)
{
    uint64_t id = *(const uint64_t *)key, other = ((const struct row *)row)->node.id;
    return id < other ? -1 : id > other;
}

/* Those of the origin, or of a parent that is gone, are a chain from the returned one. The nodes come by id, so that
 * chains which are made from their end are in order. */
static struct row *link_rows(struct row *rows, size_t n)
{
    struct row *first = NULL;
    for (size_t i = n; i > 0; i--) {
        struct row *r = &rows[i - 1], *parent = bsearch(&r->node.parent, rows, n, sizeof(*rows), compare_row);
        struct row **chain = parent && parent != r ? &parent->child : &first;
        r->next = *chain;
        *chain = r;
    }
    return first;
}

static int print(struct cli *c, const struct vmundo_tree *t, struct vmundo_error *err)
{
    size_t n = t->n_nodes, shown;
    struct row *rows = calloc(2 * n + 1, sizeof(*rows)), *sorted = rows + n;
    struct row **order = calloc(n + 1, sizeof(*order));
    if (!rows || !order) {
        free(rows);
        free(order);
        return cli_error(err, VMUNDO_FAILED, "out of memory");
    }
    for (size_t i = 0; i < n; i++)
        rows[i].node = t->nodes[i];
    shown = arrange(link_rows(rows, n), 1, order, 0);
    for (size_t i = 0; i < shown; i++) {
        sorted[i] = *order[i];
        sorted[i].shown = sorted[i].place;
    }
    if (!c->json)
        printf("origin%s\n", t->current ? "" : " <- here");
    if (c->json)
        output_table(c, json_columns, sorted, sizeof(*sorted), shown);
    else if (shown)
        output_table(c, text_columns, sorted, sizeof(*sorted), shown);
    free(rows);
    free(order);
    return 0;
}

static int run(struct cli *c, struct vmundo_error *err)
{
    struct vmundo_tree t;
    if (vmundo_tree(c->v, c->args[0], &values, &t, err) < 0)
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
            "the domain's present branches were made from. Recorded checkpoints are summed up, unless --all is given.",
    .options = options,
    .run = run,
};
