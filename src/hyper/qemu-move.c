/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-move.c: disks that go on in other images while the guest lives. QEMU opens the overlays (blockdev-add), and then
 * puts each on top of what its disk is on (blockdev-snapshot), all of them in one transaction: that flushes what lies
 * below, which QEMU does not write to any more, and is done or not done.
 *
 * Whether it is done is asked of QEMU: the name of the block node on top of a disk is made from the path of its image.
 */
#include "hyper/qemu.h"
#include "hyper/rundir.h"
#include "util/path.h"

#include <fcntl.h>

#define TIMEOUT_MS 10000u

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* FNV-1a (draft-eastlake-fnv). */
static void node_name(const struct hyper_move *m, char name[QEMU_MAX_NODE])
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = m->path; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    snprintf(name, QEMU_MAX_NODE, "%.14s-%016llx", m->vdev, (unsigned long long)hash);
}

/* Is a device of query-block ("/machine/peripheral/disk-xvda/virtio-backend") the disk vdev? */
static bool is_device_of(const char *qdev, const char *vdev)
{
    const char *name = qdev ? strstr(qdev, "/disk-") : NULL;
    size_t n = strlen(vdev);
    name = name ? name + strlen("/disk-") : qdev && str_has_prefix(qdev, "disk-") ? qdev + strlen("disk-") : NULL;
    return name && !strncmp(name, vdev, n) && (!name[n] || name[n] == '/');
}

int qemu_find_node(const json_t *blocks, const char *vdev, const char **ret_node, struct vmundo_error *err)
{
    for (size_t i = 0; i < json_array_size(blocks); i++) {
        const json_t *block = json_array_get(blocks, i), *in = json_object_get(block, "inserted");
        if (!is_device_of(json_string_value(json_object_get(block, "qdev")), vdev))
            continue;
        *ret_node = json_string_value(json_object_get(in, "node-name"));
        if (*ret_node)
            return 0;
    }
    return error_set(err, VMUNDO_FAILED, "QEMU has no disk %s", vdev);
}

/* ---- where they are --------------------------------------------------------------------------------------------- */

/* The node that it was started with has the disk's name. */
static int is_on(const json_t *blocks, const json_t *spec, const struct hyper_move *m, const char **ret_node, bool *ret,
                 struct vmundo_error *err)
{
    char name[QEMU_MAX_NODE];
    const char *first = json_string_value(json_object_get(json_object_get(spec, "images"), m->vdev));
    if (qemu_find_node(blocks, m->vdev, ret_node, err) < 0)
        return -1;
    node_name(m, name);
    *ret = str_eq(*ret_node, name) || (str_eq(*ret_node, m->vdev) && str_eq(first, m->path));
    return 0;
}

/* Close images that were opened and are on no disk. */
static void close_nodes(struct qmp *q, const struct hyper_move *moves, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        char name[QEMU_MAX_NODE];
        node_name(&moves[k], name);
        qmp_call(q, "blockdev-del", json_pack("{s:s}", "node-name", name), NULL, NULL);
    }
}

int qemu_connect_live(const struct instance *i, int *ret_dirfd, struct qmp *q, struct vmundo_error *err)
{
    return qemu_open_live_dir(i, ret_dirfd, err) < 0 ? -1 : qemu_qmp(*ret_dirfd, TIMEOUT_MS, q, err);
}

int qemu_moved(const struct instance *i, const struct hyper_move *moves, size_t n, bool *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    AUTO_QMP struct qmp q = QMP_INIT;
    AUTO_JSON json_t *blocks = NULL, *spec = NULL;
    bool all = n > 0;
    if (qemu_connect_live(i, &dirfd, &q, err) < 0 || rundir_get(dirfd, RUNDIR_SPEC, &spec, err) < 0 ||
        qmp_call(&q, "query-block", NULL, &blocks, err) < 0)
        return -1;
    for (size_t k = 0; k < n && all; k++) {
        const char *node;
        if (is_on(blocks, spec, &moves[k], &node, &all, err) < 0)
            return -1;
    }
    if (!all)
        close_nodes(&q, moves, n);
    *ret = all;
    return 0;
}

/* ---- moving ----------------------------------------------------------------------------------------------------- */

json_t *qemu_first_node(const json_t *spec, const char *vdev)
{
    const json_t *argv = json_object_get(spec, "argv");
    for (size_t i = 0; i + 1 < json_array_size(argv); i++) {
        const char *value = json_string_value(json_array_get(argv, i + 1));
        if (!value || !str_eq(json_string_value(json_array_get(argv, i)), "-blockdev"))
            continue;
        AUTO_JSON json_t *o = json_loads(value, 0, NULL);
        if (str_eq(json_string_value(json_object_get(o, "node-name")), vdev))
            return TAKE(o);
    }
    return NULL;
}

int qemu_open_image(struct qmp *q, const struct qemu_image *m, struct vmundo_error *err)
{
    const char *discard = json_string_value(json_object_get(m->first, "discard"));
    char path[32];
    unsigned set;
    AUTO_CLOSE int fd = -1;
    if (path_open_file(m->path, O_RDWR | O_NONBLOCK | O_NOCTTY, &fd, err) < 0)
        return -1;
    if (qmp_add_fd(q, fd, m->node, &set, err) < 0)
        return -1;
    snprintf(path, sizeof(path), "/dev/fdset/%u", set);
    discard = discard ? discard : "ignore";
    json_t *o = json_pack("{s:s, s:s, s:b, s:s?, s:s, s:{s:s, s:s, s:b, s:s}}", "node-name", m->node, "driver",
                          m->format, "read-only", m->readonly, "backing", m->below, "discard", discard, "file",
                          "driver", "file", "filename", path, "read-only", false, "discard", discard);
    return o ? qmp_call(q, "blockdev-add", o, NULL, err) : error_nomem(err);
}

static int open_node(struct qmp *q, const json_t *spec, const struct hyper_move *m, struct vmundo_error *err)
{
    AUTO_JSON json_t *first = qemu_first_node(spec, m->vdev);
    char name[QEMU_MAX_NODE];
    node_name(m, name);
    const struct qemu_image image = {.node = name, .path = m->path, .format = m->format, .first = first};
    return qemu_open_image(q, &image, err);
}

static int add_action(json_t *actions, const char *node, const struct hyper_move *m, struct vmundo_error *err)
{
    char name[QEMU_MAX_NODE];
    node_name(m, name);
    json_t *o = json_pack("{s:s, s:{s:s, s:s}}", "type", "blockdev-snapshot", "data", "node", node, "overlay", name);
    return json_array_append_new(actions, o) < 0 ? error_nomem(err) : 0;
}

/* Open the overlays of those that are not on them yet; actions then say what is to be done. */
static int prepare(struct qmp *q, const json_t *spec, const struct hyper_move *moves, size_t n, json_t *actions,
                   struct vmundo_error *err)
{
    AUTO_JSON json_t *blocks = NULL;
    if (qmp_call(q, "query-block", NULL, &blocks, err) < 0)
        return -1;
    for (size_t k = 0; k < n; k++) {
        const char *node;
        bool on;
        if (is_on(blocks, spec, &moves[k], &node, &on, err) < 0)
            return -1;
        if (!on && (close_nodes(q, &moves[k], 1),
                    open_node(q, spec, &moves[k], err) < 0 || add_action(actions, node, &moves[k], err) < 0))
            return -1;
    }
    return 0;
}

static int check_still(struct qmp *q, struct vmundo_error *err)
{
    AUTO_FREE char *status = NULL;
    if (qmp_status(q, &status, err) < 0)
        return -1;
    return str_eq(status, "running")
               ? error_set(err, VMUNDO_CONFLICT, "the guest runs: it must be held or paused for its disks to move on")
               : 0;
}

int qemu_move(const struct instance *i, const struct hyper_move *moves, size_t n, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    AUTO_QMP struct qmp q = QMP_INIT;
    AUTO_JSON json_t *spec = NULL;
    AUTO_JSON json_t *actions = json_array();
    if (!actions)
        return error_nomem(err);
    if (qemu_connect_live(i, &dirfd, &q, err) < 0 || rundir_get(dirfd, RUNDIR_SPEC, &spec, err) < 0 ||
        check_still(&q, err) < 0)
        return -1;
    if (prepare(&q, spec, moves, n, actions, err) == 0 &&
        (json_array_size(actions) == 0 ||
         qmp_call(&q, "transaction", json_pack("{s:O}", "actions", actions), NULL, err) == 0))
        return 0;
    close_nodes(&q, moves, n);
    return -1;
}
