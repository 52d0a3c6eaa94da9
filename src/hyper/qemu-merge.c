/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-merge.c: what a disk rests on becomes less while the guest runs. QEMU's job block-commit writes what stands in
 * one overlay, top, into a lower one, base, and then leaves top out; it copies exactly what stands there, so that at
 * any moment top hides all that is new in base. That the overlay above names top, whose name base gets afterwards (the
 * storage's work), stays so (backing-file).
 *
 * QEMU must open base for writing, and the overlay above, for its name. It can open nothing by its name when root
 * started it. So, before the first merge, overlays that it opened by their names when it started are opened anew,
 * handed over, and put in the places of those (blockdev-reopen).
 *
 * Which node is which file is asked of the kernel: file names change, and QEMU does not learn of it.
 */
#include "hyper/qemu.h"
#include "hyper/rundir.h"
#include "util/path.h"
#include "util/sys.h"

#include <fcntl.h>
#include <sys/stat.h>

#define TIMEOUT_MS 10000u
#define JOB "vmundo-merge"
#define FDSET "/dev/fdset/"

/* ---- which node is which file ----------------------------------------------------------------------------------- */

/* An image that QEMU was handed. */
struct node {
    char name[QEMU_MAX_NODE];
    unsigned set; /* of its descriptor */
    dev_t dev;
    ino_t ino;
};

struct nodes {
    struct node *list;
    size_t n;
};

static void nodes_clear(struct nodes *all)
{
    free(all->list);
}

/* All that is needed to work on one disk. */
struct merging {
    const struct hyper_merge *m;
    struct qmp q;
    int dirfd;
    json_t *first; /* the -blockdev of the disk */
    unsigned first_set;
    struct nodes handed;
};

static void merging_clear(struct merging *w)
{
    qmp_close(&w->q);
    cleanup_close(&w->dirfd);
    json_decref(w->first);
    nodes_clear(&w->handed);
}
#define AUTO_MERGING CLEANUP(merging_clear)

static int add_node(struct merging *w, const char *name, unsigned set, const struct stat *st, struct vmundo_error *err)
{
    struct node *grown = realloc(w->handed.list, (w->handed.n + 1) * sizeof(*grown));
    if (!grown)
        return error_nomem(err);
    w->handed.list = grown;
    struct node *n = &grown[w->handed.n++];
    *n = (struct node){.set = set, .dev = st->st_dev, .ino = st->st_ino};
    snprintf(n->name, sizeof(n->name), "%s", name);
    return 0;
}

/* A set of descriptors is marked with the name of its node; that of the disk itself, from when QEMU started, is known.
 */
static int add_set(struct merging *w, pid_t pid, const json_t *one, struct vmundo_error *err)
{
    uint64_t set, fd;
    char path[64];
    struct stat st;
    const json_t *member = json_array_get(json_object_get(one, "fds"), 0);
    const char *of = json_string_value(json_object_get(member, "opaque"));
    if (!member || json_get_u64(one, "fdset-id", &set, err) < 0 || json_get_u64(member, "fd", &fd, err) < 0)
        return member ? -1 : 0;
    if (set == w->first_set)
        of = w->m->vdev;
    if (!of || of[0] == '/' || strlen(of) >= QEMU_MAX_NODE)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/fd/%llu", (int)pid, (unsigned long long)fd);
    if (stat(path, &st) < 0)
        return error_errno(err, errno, "cannot see what QEMU has opened");
    return add_node(w, of, (unsigned)set, &st, err);
}

static int list_handed(struct merging *w, struct vmundo_error *err)
{
    AUTO_JSON json_t *sets = NULL, *o = NULL;
    struct sys_process p;
    nodes_clear(&w->handed);
    w->handed = (struct nodes){0};
    if (rundir_get(w->dirfd, RUNDIR_QEMU_PID, &o, err) < 0 || rundir_process_parse(o, &p, err) < 0 ||
        qmp_call(&w->q, "query-fdsets", NULL, &sets, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(sets); i++)
        if (add_set(w, p.pid, json_array_get(sets, i), err) < 0)
            return -1;
    return 0;
}

/* NULL: QEMU was not handed that file. Errors: the file is not there. */
static int node_of(const struct merging *w, const char *path, const struct node **ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;
    *ret = NULL;
    if (path_open(path, &fd, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "%s", path);
    for (size_t i = 0; i < w->handed.n; i++)
        if (w->handed.list[i].dev == st.st_dev && w->handed.list[i].ino == st.st_ino)
            *ret = &w->handed.list[i];
    return 0;
}

static int begin(const struct instance *i, struct merging *w, struct vmundo_error *err)
{
    AUTO_JSON json_t *spec = NULL;
    if (qemu_connect_live(i, &w->dirfd, &w->q, err) < 0 || rundir_get(w->dirfd, RUNDIR_SPEC, &spec, err) < 0)
        return -1;
    w->first = qemu_first_node(spec, w->m->vdev);
    const char *file = json_string_value(json_object_get(json_object_get(w->first, "file"), "filename"));
    if (!file || sscanf(file, FDSET "%u", &w->first_set) != 1)
        return error_set(err, VMUNDO_FAILED, "QEMU was not started with a disk %s", w->m->vdev);
    return list_handed(w, err);
}

/* ---- overlays that QEMU opened by their names -------------------------------------------------------------------- */

static const json_t *find_file(const json_t *nodes, const char *file, bool protocol)
{
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *o = json_array_get(nodes, i);
        const char *driver = json_string_value(json_object_get(o, "drv"));
        bool is = str_eq(driver, "file") || str_eq(driver, "host_device");
        if (is == protocol && str_eq(json_string_value(json_object_get(o, "file")), file))
            return o;
    }
    return NULL;
}

static const char *name_in(const json_t *node)
{
    return json_string_value(json_object_get(node, "node-name"));
}

static const json_t *find_name(const json_t *nodes, const char *name)
{
    for (size_t i = 0; i < json_array_size(nodes); i++)
        if (str_eq(name_in(json_array_get(nodes, i)), name))
            return json_array_get(nodes, i);
    return NULL;
}

static void new_name(const struct merging *w, size_t at, char name[QEMU_MAX_NODE])
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a (draft-eastlake-fnv) */
    for (const char *p = w->m->chain[at]; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    snprintf(name, QEMU_MAX_NODE, "%.13s.%016llx", w->m->vdev, (unsigned long long)hash);
}

static void close_node(struct merging *w, const char *name)
{
    qmp_call(&w->q, "blockdev-del", json_pack("{s:s}", "node-name", name), NULL, NULL);
    for (size_t i = 0; i < w->handed.n; i++)
        if (str_eq(w->handed.list[i].name, name))
            qmp_call(&w->q, "remove-fd", json_pack("{s:i}", "fdset-id", (int)w->handed.list[i].set), NULL, NULL);
}

/* Those from chain[from] on, opened anew, the lowest first. */
static int open_again(struct merging *w, const json_t *nodes, size_t from, char top[QEMU_MAX_NODE],
                      struct vmundo_error *err)
{
    const char *origin = name_in(find_file(nodes, w->m->below, false));
    char below[QEMU_MAX_NODE];
    if (!origin)
        return error_set(err, VMUNDO_FAILED, "QEMU does not have %s open", w->m->below);
    snprintf(below, sizeof(below), "%s", origin);
    for (size_t i = w->m->n; i > from; i--) {
        new_name(w, i - 1, top);
        const struct qemu_image image = {.node = top,
                                         .path = w->m->chain[i - 1],
                                         .format = "qcow2",
                                         .below = below,
                                         .readonly = true,
                                         .first = w->first};
        if (qemu_open_image(&w->q, &image, err) < 0)
            return -1;
        memcpy(below, top, sizeof(below));
    }
    return 0;
}

/* The disk as QEMU was started with it goes on as it is, but on these. */
static int put_under(struct merging *w, const json_t *nodes, const char *top, struct vmundo_error *err)
{
    const char *file = json_string_value(json_object_get(json_object_get(w->first, "file"), "filename"));
    const char *protocol = name_in(find_file(nodes, file, true));
    const char *discard = json_string_value(json_object_get(w->first, "discard"));
    bool readonly = json_is_true(json_object_get(find_name(nodes, w->m->vdev), "ro"));
    if (!protocol)
        return error_set(err, VMUNDO_FAILED, "QEMU does not have the disk %s open", w->m->vdev);
    json_t *o =
        json_pack("{s:[{s:s, s:s, s:b, s:s, s:s, s:s}]}", "options", "node-name", w->m->vdev, "driver", "qcow2",
                  "read-only", readonly, "discard", discard ? discard : "ignore", "file", protocol, "backing", top);
    return o ? qmp_call(&w->q, "blockdev-reopen", o, NULL, err) : error_nomem(err);
}

static void close_again(struct merging *w, size_t from)
{
    for (size_t i = from; i < w->m->n; i++) {
        char name[QEMU_MAX_NODE];
        new_name(w, i, name);
        close_node(w, name);
    }
}

/* Hand over what QEMU opened by its name: all of the chain below the image that it was started with. */
static int hand_over(struct merging *w, struct vmundo_error *err)
{
    AUTO_JSON json_t *nodes = NULL;
    char top[QEMU_MAX_NODE] = "";
    size_t from = 0;
    if (qmp_call(&w->q, "query-named-block-nodes", json_pack("{s:b}", "flat", 1), &nodes, err) < 0)
        return -1;
    while (from < w->m->n && !find_file(nodes, w->m->chain[from], true))
        from++;
    if (from == w->m->n)
        return 0;
    close_again(w, from); /* what somebody who was killed in the middle of this left */
    if (open_again(w, nodes, from, top, err) < 0 || put_under(w, nodes, top, err) < 0) {
        list_handed(w, NULL);
        close_again(w, from);
        return -1;
    }
    return list_handed(w, err);
}

/* ---- the job ---------------------------------------------------------------------------------------------------- */

static int has_job(struct qmp *q, bool *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *jobs = NULL;
    *ret = false;
    if (qmp_call(q, "query-jobs", NULL, &jobs, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(jobs); i++)
        *ret = *ret || str_eq(json_string_value(json_object_get(json_array_get(jobs, i), "id")), JOB);
    return 0;
}

/* Nothing rests on top any more when the job is done, and only then can it be closed; somebody who was killed may have
 * done that. When QEMU has written its tables of base it has it open for reading only, as it was before. */
static int close_merged(struct merging *w, const char *base, bool *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *nodes = NULL;
    const struct node *top = NULL;
    *ret = false;
    if (node_of(w, w->m->chain[w->m->top], &top, err) < 0 ||
        qmp_call(&w->q, "query-named-block-nodes", json_pack("{s:b}", "flat", 1), &nodes, err) < 0)
        return -1;
    if (top && find_name(nodes, top->name) &&
        qmp_call(&w->q, "blockdev-del", json_pack("{s:s}", "node-name", top->name), NULL, NULL) < 0)
        return 0;
    if (!json_is_true(json_object_get(find_name(nodes, base), "ro")))
        return error_set(err, VMUNDO_FAILED, "QEMU has not written all of %s", w->m->chain[w->m->base]);
    for (size_t i = w->m->top; i < w->m->base; i++) {
        const struct node *n = NULL;
        if (node_of(w, w->m->chain[i], &n, err) < 0)
            return -1;
        if (n)
            close_node(w, n->name);
    }
    *ret = true;
    return 0;
}

static int start_job(struct merging *w, const char *base, struct vmundo_error *err)
{
    AUTO_JSON json_t *blocks = NULL;
    const struct node *top = NULL;
    const char *on;
    if (qmp_call(&w->q, "query-block", NULL, &blocks, err) < 0 || qemu_find_node(blocks, w->m->vdev, &on, err) < 0 ||
        node_of(w, w->m->chain[w->m->top], &top, err) < 0)
        return -1;
    if (!top)
        return error_set(err, VMUNDO_FAILED, "QEMU does not have %s open", w->m->chain[w->m->top]);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "job-id", JOB, "device", on, "top-node", top->name, "base-node",
                          base, "backing-file", w->m->chain[w->m->top]);
    return o ? qmp_call(&w->q, "block-commit", o, NULL, err) : error_nomem(err);
}

int qemu_merge(const struct instance *i, const struct hyper_merge *m, bool *ret_done, struct vmundo_error *err)
{
    AUTO_MERGING struct merging w = {.m = m, .q = QMP_INIT, .dirfd = -1};
    const struct node *base = NULL;
    bool busy = false;
    *ret_done = false;
    if (begin(i, &w, err) < 0 || has_job(&w.q, &busy, err) < 0)
        return -1;
    if (busy)
        return 0;
    if (hand_over(&w, err) < 0 || node_of(&w, m->chain[m->base], &base, err) < 0)
        return -1;
    if (!base)
        return error_set(err, VMUNDO_FAILED, "QEMU does not have %s open", m->chain[m->base]);
    if (close_merged(&w, base->name, ret_done, err) < 0)
        return -1;
    return *ret_done ? 0 : start_job(&w, base->name, err);
}

int qemu_merging(const struct instance *i, bool *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    AUTO_QMP struct qmp q = QMP_INIT;
    return qemu_connect_live(i, &dirfd, &q, err) < 0 ? -1 : has_job(&q, ret, err);
}

int qemu_unmerge(const struct instance *i, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    AUTO_QMP struct qmp q = QMP_INIT;
    bool busy = true;
    if (qemu_connect_live(i, &dirfd, &q, err) < 0)
        return -1;
    qmp_call(&q, "block-job-cancel", json_pack("{s:s, s:b}", "device", JOB, "force", 1), NULL, NULL);
    for (uint64_t begun = sys_monotonic_ms(); busy; usleep(2000)) {
        if (has_job(&q, &busy, err) < 0)
            return -1;
        if (busy && sys_monotonic_ms() - begun > TIMEOUT_MS)
            return error_set(err, VMUNDO_FAILED, "QEMU does not give up what it is merging");
    }
    return 0;
}
