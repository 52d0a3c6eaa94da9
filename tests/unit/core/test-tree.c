/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-tree.c: 200 random checkpoints, rollbacks, undos, prunes and recordings of one domain, with the null drivers,
 * against a model of them: after each, the tree is the model's, and the disk holds what the model says. In the end the
 * database is lost, and rebuilt from the marks it must show the same tree.
 *
 * VMUNDO_TEST_SEED gives another sequence, VMUNDO_TEST_STEPS another length.
 */
#include "util/cleanup.h"
#include "util/str.h"
#include "util/sys.h"

#include "vmundo.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NODES_MAX 1000

enum kind { LABELLED, RECORDED, LEFT };

struct node {
    uint64_t id, parent;
    enum kind kind;
    unsigned content;
};

/* What there should be. */
struct model {
    uint64_t counter, generation, base;
    unsigned content; /* of the disk */
    bool running;
    struct node nodes[NODES_MAX];
    size_t n;
};

struct fixture {
    char dir[64], state[80], cfg[80];
    struct vmundo_options options;
    struct vmundo *v;
    struct vmundo_error err;
    struct model m;
    unsigned random;
};

static void put(const char *path, const char *text)
{
    AUTO_FCLOSE FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
}

static void assert_ok(struct fixture *f, int r)
{
    if (r != 0)
        fail_msg("failed: %s", f->err.msg);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *tmp = getenv("TMPDIR"), *seed = getenv("VMUNDO_TEST_SEED");
    char path[96];
    snprintf(f->dir, sizeof(f->dir), "%s/vmundo-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->state, sizeof(f->state), "%s/state", f->dir);
    snprintf(f->cfg, sizeof(f->cfg), "%s/web.cfg", f->dir);
    snprintf(path, sizeof(path), "%s/a.img", f->dir);
    put(path, "0                               \n");
    put(f->cfg, "name = 'web'\nkernel = '/bin/true'\nmemory = 64\ndisk = [ 'a.img,raw,xvda,rw' ]\n");
    f->options.state_dir = f->state;
    f->random = seed ? (unsigned)strtoul(seed, NULL, 10) : 1;
    assert_ok(f, vmundo_open(&f->options, &f->v, &f->err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    vmundo_close(f->v);
    char *base = strrchr(f->dir, '/');
    *base++ = '\0';
    AUTO_CLOSE int tmp = open(f->dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(sys_remove_tree(tmp, base, &f->err), 0);
    free(f);
    return 0;
}

/* 0 … n-1; the same sequence everywhere. */
static unsigned pick(struct fixture *f, unsigned n)
{
    f->random = f->random * 1103515245 + 12345;
    return (f->random >> 8) % n;
}

/* ---- the model ------------------------------------------------------------------------------------------------------
 */

static struct node *by_id(struct model *m, uint64_t id)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->nodes[i].id == id)
            return &m->nodes[i];
    return NULL;
}

static struct node *any(struct fixture *f, enum kind kind)
{
    struct node *found = NULL;
    unsigned seen = 0;
    for (size_t i = 0; i < f->m.n; i++)
        if (f->m.nodes[i].kind == kind && pick(f, ++seen) == 0)
            found = &f->m.nodes[i];
    return found;
}

static void add(struct model *m, uint64_t id, uint64_t parent, enum kind kind, unsigned content)
{
    assert_true(m->n < NODES_MAX);
    m->nodes[m->n++] = (struct node){id, parent, kind, content};
}

/* Its children become its parent's. */
static void take_away(struct model *m, uint64_t id)
{
    struct node *gone = by_id(m, id);
    if (!gone)
        return;
    uint64_t parent = gone->parent;
    *gone = m->nodes[--m->n];
    for (size_t i = 0; i < m->n; i++)
        if (m->nodes[i].parent == id)
            m->nodes[i].parent = parent;
    if (m->base == id)
        m->base = parent;
}

static void go_to(struct model *m, uint64_t id)
{
    const struct node *target = by_id(m, id);
    uint64_t old = 0;
    unsigned content = target ? target->content : 0;
    for (size_t i = 0; i < m->n; i++)
        if (m->nodes[i].kind == LEFT)
            old = m->nodes[i].id;
    add(m, m->generation, m->base, LEFT, m->content);
    m->base = id;
    if (old)
        take_away(m, old);
    m->generation = ++m->counter;
    m->content = content;
}

/* ---- what there is --------------------------------------------------------------------------------------------------
 */

static void branch_path(struct fixture *f, char *ret, size_t size)
{
    struct vmundo_domain d;
    assert_ok(f, vmundo_status(f->v, "web", &d, &f->err));
    assert_int_equal(d.generation, f->m.generation);
    snprintf(ret, size, "%s", d.disks[0].branch);
    vmundo_domain_free(&d);
}

static void check_disk(struct fixture *f)
{
    char path[256], text[16] = "";
    branch_path(f, path, sizeof(path));
    AUTO_CLOSE int fd = open(path, O_RDONLY);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    assert_int_equal(strtoul(text, NULL, 10), f->m.content);
}

static void check_tree(struct fixture *f)
{
    struct vmundo_tree t;
    assert_ok(f, vmundo_tree(f->v, "web", &(struct vmundo_tree_options){.all = true}, &t, &f->err));
    assert_int_equal(t.current, f->m.base);
    assert_int_equal(t.n_nodes, f->m.n);
    for (size_t i = 0; i < t.n_nodes; i++) {
        const struct node *n = by_id(&f->m, t.nodes[i].id);
        if (!n || t.nodes[i].parent != n->parent)
            fail_msg("%llu is a child of %llu, and should be one of %llu", (unsigned long long)t.nodes[i].id,
                     (unsigned long long)t.nodes[i].parent, (unsigned long long)(n ? n->parent : 0));
        if (!n)
            continue;
        assert_int_equal(t.nodes[i].label != NULL, n->kind == LABELLED);
        assert_int_equal(t.nodes[i].recorded, n->kind == RECORDED);
    }
    vmundo_tree_free(&t);
    assert_ok(f, vmundo_tree(f->v, "web", NULL, &t, &f->err));
    uint64_t n = 0;
    for (size_t i = 0; i < t.n_nodes; i++)
        n += t.nodes[i].recorded ? t.nodes[i].recorded : 1;
    assert_int_equal(n, f->m.n);
    vmundo_tree_free(&t);
}

/* ---- the steps ------------------------------------------------------------------------------------------------------
 */

static void write_disk(struct fixture *f)
{
    char path[256], text[16];
    f->m.content = pick(f, 1000000);
    snprintf(text, sizeof(text), "%-8u", f->m.content);
    branch_path(f, path, sizeof(path));
    AUTO_CLOSE int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
}

static void make_checkpoint(struct fixture *f)
{
    assert_ok(f, vmundo_checkpoint(f->v, "web", NULL, &f->err));
    f->m.counter++;
    add(&f->m, f->m.counter, f->m.base, LABELLED, f->m.content);
    f->m.base = f->m.counter;
}

static void record_once(struct fixture *f)
{
    assert_ok(f, vmundo_record(f->v, "web", &(struct vmundo_record_options){.once = true}, &f->err));
    f->m.counter++;
    add(&f->m, f->m.counter, f->m.base, RECORDED, f->m.content);
    f->m.base = f->m.counter;
}

static void prune_recorded(struct fixture *f)
{
    const struct node *n;
    unsigned gone = 0, counted = 0;
    if (pick(f, 3))
        return;
    assert_ok(f, vmundo_prune(f->v, "web", &(struct vmundo_prune_options){.recorded = true}, &gone, &f->err));
    for (; (n = any(f, RECORDED)); counted++)
        take_away(&f->m, n->id);
    assert_int_equal(gone, counted);
}

/* To the time of one that is there, of any kind that has a time. */
static void go_to_a_time(struct fixture *f)
{
    struct vmundo_tree t;
    int64_t at = 0;
    if (!any(f, LABELLED) && !any(f, RECORDED))
        return;
    assert_ok(f, vmundo_tree(f->v, "web", &(struct vmundo_tree_options){.all = true}, &t, &f->err));
    const struct vmundo_node *n = &t.nodes[pick(f, (unsigned)t.n_nodes)];
    while (!n->label && !n->recorded)
        n = &t.nodes[pick(f, (unsigned)t.n_nodes)];
    uint64_t id = n->id;
    assert_ok(f, vmundo_rollback(f->v, "web", &(struct vmundo_rollback_options){.to = n->created_ms, .ret_at = &at},
                                 &f->err));
    assert_int_equal(at, n->created_ms);
    go_to(&f->m, id);
    vmundo_tree_free(&t);
}

static void label_of(const struct node *n, char *ret)
{
    snprintf(ret, VMUNDO_NAME_SIZE, "cp-%llu", (unsigned long long)n->id);
}

static void roll_back(struct fixture *f)
{
    char label[VMUNDO_NAME_SIZE];
    const struct node *n = pick(f, 4) ? any(f, LABELLED) : NULL;
    if (n)
        label_of(n, label);
    struct vmundo_rollback_options o = {.checkpoint = n ? label : NULL};
    assert_ok(f, vmundo_rollback(f->v, "web", &o, &f->err));
    go_to(&f->m, n ? n->id : 0);
}

static void undo(struct fixture *f)
{
    const struct node *n = any(f, LEFT);
    int r = vmundo_rollback(f->v, "web", &(struct vmundo_rollback_options){.undo = true}, &f->err);
    if (n) {
        assert_ok(f, r);
        go_to(&f->m, n->id);
    } else {
        assert_int_equal(r, -1);
        assert_int_equal(f->err.code, VMUNDO_CONFLICT);
    }
}

static void prune(struct fixture *f)
{
    char labels[3][VMUNDO_NAME_SIZE];
    const char *list[4] = {NULL};
    unsigned n = 0, gone = 0;
    for (unsigned wanted = 1 + pick(f, 3); n < wanted; n++) {
        const struct node *one = any(f, LABELLED);
        if (!one)
            break;
        label_of(one, labels[n]);
        list[n] = labels[n];
    }
    if (!n)
        return;
    assert_ok(f, vmundo_prune(f->v, "web", &(struct vmundo_prune_options){.labels = list}, &gone, &f->err));
    for (unsigned i = 0; i < n; i++) {
        uint64_t id = strtoull(labels[i] + 3, NULL, 10);
        if (by_id(&f->m, id))
            take_away(&f->m, id);
    }
}

static void one_step(struct fixture *f)
{
    static void (*const steps[])(struct fixture *) = {
        write_disk, make_checkpoint, make_checkpoint, make_checkpoint, roll_back,      roll_back,
        undo,       prune,           record_once,     record_once,     prune_recorded, go_to_a_time,
    };
    steps[pick(f, ARRAY_SIZE(steps))](f);
}

/* The tree is in the marks, too. */
static void lose_database(struct fixture *f)
{
    static const char *const files[] = {"state.db", "state.db-wal", "state.db-shm"};
    unsigned done = 0;
    vmundo_close(f->v);
    f->v = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", f->state, files[i]);
        assert_true(unlink(path) == 0 || errno == ENOENT);
    }
    assert_ok(f, vmundo_recover(&f->options, &done, &f->err));
    assert_true(done > 0);
    assert_ok(f, vmundo_open(&f->options, &f->v, &f->err));
}

static void test_random_tree(void **state)
{
    struct fixture *f = *state;
    const char *steps = getenv("VMUNDO_TEST_STEPS");
    struct vmundo_run_options o = {.config = f->cfg, .method = "null", .hypervisor = "null"};
    assert_ok(f, vmundo_run(f->v, &o, &f->err));
    f->m = (struct model){.counter = 1, .generation = 1, .running = true};
    for (long i = steps ? strtol(steps, NULL, 10) : 200; i > 0; i--) {
        one_step(f);
        check_tree(f);
        check_disk(f);
    }
    assert_true(f->m.n > 5);
    lose_database(f);
    check_tree(f);
    make_checkpoint(f);
    check_tree(f);
    assert_ok(f, vmundo_drop(f->v, "web", &f->err));
    assert_int_equal(access(f->cfg, F_OK), 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/.vmundo", f->dir);
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_tree, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
