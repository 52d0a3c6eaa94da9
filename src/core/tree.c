/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tree.c: a domain's checkpoints as a tree, for looking at. It is made from the rows of the store alone, so that a
 * thousand are no more than a few milliseconds; only how much space each has needs its record and a look at its files,
 * which is taken when there are few, or when it is asked for.
 *
 * Recording makes long rows of checkpoints, each with the next as its only child: such a row is one node, which stands
 * in the tree as its newest, unless all are asked for.
 */
#include "core/checkpoint.h"
#include "core/store.h"
#include "storage/storage.h"
#include "util/cleanup.h"

#include <stdlib.h>

#define SIZES_UP_TO 100 /* checkpoints */

void vmundo_tree_free(struct vmundo_tree *t)
{
    for (size_t i = 0; t && i < t->n_nodes; i++) {
        free(t->nodes[i].label);
        free(t->nodes[i].state);
        free(t->nodes[i].consistency);
    }
    if (t) {
        free(t->nodes);
        *t = (struct vmundo_tree){0};
    }
}

/* ---- sizes ----------------------------------------------------------------------------------------------------------
 */

static uint64_t bytes_of(const struct branch *b)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    return storage_inspect(b, &s, NULL) == 0 && s.exists ? s.used : 0;
}

/* A RAM file is of the same kind as the branch beside which it lies. */
static uint64_t bytes_of_ram(const struct record *r)
{
    for (size_t i = 0; r->ram && i < r->n_branches; i++)
        if (r->branches[i].driver->flags & STORAGE_SHARES_BLOCKS) {
            struct branch ram = r->branches[i];
            ram.path = r->ram;
            return bytes_of(&ram);
        }
    return 0;
}

static int measure(struct vmundo *v, const char *name, uint64_t id, uint64_t *ret, struct vmundo_error *err)
{
    AUTO_CHECKPOINT struct checkpoint c = {0};
    if (store_checkpoint(v, name, id, &c, err) < 0)
        return err->code == VMUNDO_NOT_FOUND ? 0 : -1; /* it was removed in this moment */
    *ret = bytes_of_ram(&c.record);
    for (size_t i = 0; i < c.record.n_branches; i++)
        *ret += bytes_of(&c.record.branches[i]);
    return 0;
}

/* ---- what becomes a node --------------------------------------------------------------------------------------------
 */

/* A checkpoint with all those that it stands for. */
struct place {
    const struct store_row *row;
    uint64_t parent;
    uint64_t recorded, used;
    int64_t since;
    size_t children;
    bool hidden; /* its child stands for it */
};

static int compare_place(const void *key, const void *place)
{
    uint64_t id = *(const uint64_t *)key, other = ((const struct place *)place)->row->id;
    return id < other ? -1 : id > other;
}

static struct place *find(struct place *places, size_t n, uint64_t id)
{
    return bsearch(&id, places, n, sizeof(*places), compare_place);
}

/* By id, so that a parent of a recorded one comes before it. */
static void sum_up(struct place *places, size_t n, uint64_t current)
{
    for (size_t i = 0; i < n; i++) {
        struct place *p = find(places, n, places[i].row->parent);
        if (p)
            p->children++;
    }
    for (size_t i = 0; i < n; i++) {
        struct place *p = find(places, n, places[i].row->parent);
        if (!p || !p->row->recorded || !places[i].row->recorded || p->children != 1 || p->row->id == current)
            continue;
        p->hidden = true;
        places[i].parent = p->parent;
        places[i].since = p->since;
        places[i].recorded += p->recorded;
        if (places[i].used != VMUNDO_UNKNOWN)
            places[i].used += p->used;
    }
}

static int fill_node(const struct place *p, uint64_t current, struct vmundo_node *n, struct vmundo_error *err)
{
    const struct store_row *row = p->row;
    n->id = row->id;
    n->parent = p->parent;
    n->created = row->created_ms / 1000;
    n->created_ms = row->created_ms;
    n->since = p->since / 1000;
    n->recorded = p->recorded;
    n->ram = row->ram;
    n->pinned = row->pinned;
    n->current = row->id == current;
    n->used = p->used;
    return str_copy(row->label, &n->label, err) < 0 || str_copy(row->consistency, &n->consistency, err) < 0 ||
                   str_copy(row->running ? "running" : "off", &n->state, err) < 0
               ? -1
               : 0;
}

static int fill_tree(const struct place *places, size_t n, struct vmundo_tree *t, struct vmundo_error *err)
{
    t->nodes = calloc(n + 1, sizeof(*t->nodes));
    if (!t->nodes)
        return error_nomem(err);
    for (size_t i = 0; i < n; i++)
        if (!places[i].hidden && fill_node(&places[i], t->current, &t->nodes[t->n_nodes++], err) < 0)
            return -1;
    return 0;
}

int vmundo_tree(struct vmundo *v, const char *name, const struct vmundo_tree_options *o, struct vmundo_tree *ret,
                struct vmundo_error *err)
{
    static const struct vmundo_tree_options defaults;
    CLEANUP(record_clear) struct record r = {0};
    CLEANUP(store_rows_clear) struct store_rows rows = {0};
    CLEANUP(vmundo_tree_free) struct vmundo_tree t = {0};
    struct vmundo_error e = {0}, *errp = err ? err : &e;
    o = o ? o : &defaults;
    if (store_get_record(v, name, &r, errp) < 0 || store_rows(v, name, &rows, errp) < 0)
        return -1;
    AUTO_FREE struct place *places = calloc(rows.n + 1, sizeof(*places));
    if (!places)
        return error_nomem(errp);
    for (size_t i = 0; i < rows.n; i++) {
        const struct store_row *row = &rows.items[i];
        places[i] = (struct place){.row = row,
                                   .parent = row->parent,
                                   .since = row->created_ms,
                                   .recorded = row->recorded,
                                   .used = VMUNDO_UNKNOWN};
        if ((o->sizes || rows.n <= SIZES_UP_TO) && measure(v, name, row->id, &places[i].used, errp) < 0)
            return -1;
    }
    t.current = r.base;
    if (!o->all)
        sum_up(places, rows.n, r.base);
    if (fill_tree(places, rows.n, &t, errp) < 0)
        return -1;
    *ret = t;
    t = (struct vmundo_tree){0};
    return 0;
}
