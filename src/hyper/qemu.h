/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu.h: what the files of the qemu driver share: qemu.c (the driver: looking, asking the guest), qemu-start.c and
 * qemu-end.c (starting QEMU under its monitor, ending both), qemu-console.c, qemu-net.c (network devices), qemu-save.c
 * (saving the guest's state), qemu-move.c (disks that go on in other images), qemu-merge.c (what they rest on becomes
 * less), qemu-files.c (what QEMU has opened); qemu-argv.c, qemu-saved.c and qemu-disk.c have headers of their own.
 */
#ifndef HYPER_QEMU_H
#define HYPER_QEMU_H

#include "hyper/hyper.h"
#include "hyper/qemu-argv.h"
#include "hyper/qmp.h"

/* What the domain depends on in this host. The array in ret->is_block is handed out in *ret_is_block as well, which the
 * caller frees. Errors: VMUNDO_USAGE options that make no sense. */
int qemu_host(const struct domain *d, const struct hyper_options *o, struct qemu_host *ret, bool **ret_is_block,
              struct vmundo_error *err);

/* Where the guest sees the host's own processor (KVM), add which that is to what makes the machine (qemu_machine). */
int qemu_processor(const char *const *argv, size_t n, struct strv *ret, struct vmundo_error *err);

/* The instance's directory. Errors: errnum ENOENT. */
int qemu_open_dir(const struct instance *i, int *ret_fd, struct vmundo_error *err);

/* The same for what needs a running domain. Errors: VMUNDO_CONFLICT it is off, when the directory is gone. */
int qemu_open_live_dir(const struct instance *i, int *ret_fd, struct vmundo_error *err);

/* The process that runs the guest, by its pid file, and if that is missing (the monitor was killed while it started
 * QEMU) by a search. -1 with errno ESRCH when there is none. */
int qemu_pidfd(int dirfd);

/* Connect to a socket of the directory. Errors: VMUNDO_CONFLICT nobody listens: the domain is off. */
int qemu_connect(int dirfd, const char *name, int *ret_fd, struct vmundo_error *err);

/* From what QEMU was really started with, what makes its machine; and what its RAM is: "shared" … (may be NULL). */
int qemu_started_machine(int dirfd, struct strv *ret, char **ret_ram, struct vmundo_error *err);

/* Has QEMU, which is up and paused, opened nothing but the disks and `others`, which it was handed (-1: none), and what these
 * disks are based on? That it opens by its path, and somebody who owns a directory on the way could have let it lead
 * elsewhere at that moment. Errors: VMUNDO_REFUSED. */
int qemu_check_files(int dirfd, const int *disks, size_t n_disks, const int *others, size_t n_others,
                     struct vmundo_error *err);

/* QMP, ready for commands. */
int qemu_qmp(int dirfd, unsigned timeout_ms, struct qmp *ret, struct vmundo_error *err);

#define QEMU_MAX_NODE 32 /* a block node's name with its NUL; QEMU's limit */

/* The directory of an instance that lives, and QMP. */
int qemu_connect_live(const struct instance *i, int *ret_dirfd, struct qmp *q, struct vmundo_error *err);

/* The node that a disk is on, borrowed from blocks (the answer to query-block). */
int qemu_find_node(const json_t *blocks, const char *vdev, const char **ret_node, struct vmundo_error *err);

/* The -blockdev with which the disk vdev was started, which has its name, from the monitor's orders; the caller's, or
 * NULL. */
json_t *qemu_first_node(const json_t *spec, const char *vdev);

/* Have QEMU open an image, by one descriptor for reading and writing, whether or not it writes to it at first: it does
 * not open it anew when that changes, and a lock of its own on another descriptor would be in its way. The set of the
 * descriptor is marked with the node's name. */
struct qemu_image {
    const char *node, *path, *format;
    const char *below; /* the node that it rests on, NULL: none as yet */
    bool readonly;
    const json_t *first; /* qemu_first_node() of its disk: how discards are treated */
};
int qemu_open_image(struct qmp *q, const struct qemu_image *m, struct vmundo_error *err);

int qemu_start(const struct instance *i, struct vmundo_error *err);
int qemu_rewatch(const struct instance *i, struct vmundo_error *err);
int qemu_load(const struct instance *i, struct vmundo_error *err);
int qemu_step_aside(const struct instance *i, struct vmundo_error *err);
int qemu_save(const struct instance *i, const char *path, struct vmundo_error *err);
int qemu_move(const struct instance *i, const struct hyper_move *moves, size_t n, struct vmundo_error *err);
int qemu_moved(const struct instance *i, const struct hyper_move *moves, size_t n, bool *ret, struct vmundo_error *err);
int qemu_merge(const struct instance *i, const struct hyper_merge *m, bool *ret_done, struct vmundo_error *err);
int qemu_merging(const struct instance *i, bool *ret, struct vmundo_error *err);
int qemu_unmerge(const struct instance *i, struct vmundo_error *err);
uint64_t qemu_ram_size(const struct domain *d);
int qemu_console(const struct instance *i, int *ret_fd, struct vmundo_error *err);
int qemu_destroy(const struct instance *i, struct vmundo_error *err);

/* A bridge that is there: the one asked for, else the first of the usual ones. Errors: VMUNDO_FAILED. */
int qemu_find_bridge(const struct domain_vif *vif, const char **ret, struct vmundo_error *err);

/* A tap device on that bridge, for as long as the descriptor lives. Root makes it itself; everyone else asks QEMU's
 * bridge helper, which is set-user-ID and has a list of what is allowed. */
int qemu_open_tap(const struct domain_vif *vif, int *ret_fd, struct vmundo_error *err);

/* One that is on no bridge and is not up: a guest that was saved with a tap device needs one, but it leads nowhere.
 * Errors: VMUNDO_FAILED not root. */
int qemu_open_dead_tap(int *ret_fd, struct vmundo_error *err);

#endif
