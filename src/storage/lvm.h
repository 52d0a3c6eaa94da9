/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm.h: what the drivers lvm (classic snapshots, dm-snapshot) and lvm-thin share.
 *
 * The origin of a branch is /dev/VG/LV, the branch /dev/VG/NAME with NAME from lvm_branch_name(). The branch is the
 * disk itself, or (branch.inside is not empty) a whole file system with image files in it, mounted at branch.mount.
 *
 *   lvm-name.c    names and sizes; nothing but text and arithmetic
 *   lvm-cmd.c     running lvm, and reading its reports
 *   lvm-dm.c      what the kernel says, by libdevmapper: quick, and true where the metadata only means to be
 *   lvm-mount.c   the file system in a volume: mounting it, finding files in it, their fingerprints
 *   lvm-common.c  the callbacks that both drivers have in common
 *   lvm-keep.c    keep: merge the volume, or else lvm-copy.c
 *   lvm-copy.c    copy the blocks of some files that have changed back into the origin's file system
 *   lvm-diff.c    where a branch differs from another, or from its origin
 *   lvm-cow.c     the exception store of a classic snapshot: which blocks have changed
 *   lvm.c, lvm-thin.c   the drivers
 */
#ifndef STORAGE_LVM_H
#define STORAGE_LVM_H

#include "storage/drivers.h"

#include <sys/types.h>

/* ---- names and sizes (lvm-name.c) -----------------------------------------------------------------------------------
 */

/* A logical volume, by the two parts of its path. */
struct lvm_name {
    char *vg, *lv;
};
#define AUTO_LVM_NAME CLEANUP(lvm_name_clear)
void lvm_name_clear(struct lvm_name *n);

/* /dev/VG/LV. Errors: VMUNDO_FAILED it is not of that form. */
int lvm_split_path(const char *path, struct lvm_name *ret, struct vmundo_error *err);

/* What device-mapper calls it: VG-LV, with hyphens in names doubled. The caller's. */
char *lvm_dm_name(const struct lvm_name *n, const char *layer, struct vmundo_error *err);

/* The two of "LVM-..." device from its dm name. layer is "real", "cow", "tpool" … for LVM's inner devices, else "". */
int lvm_split_dm_name(const char *dm_name, struct lvm_name *ret, char **ret_layer, struct vmundo_error *err);

/* LV.vmundo.STORE.DOMAIN.GENERATION, or where LVM would not take that (127 characters with the group's, words that are
 * its own), a hash in place of LV and DOMAIN. The caller's. lvm(8), VALID NAMES. */
char *lvm_branch_name(const struct lvm_name *origin, const struct mark *m, struct vmundo_error *err);

/* How large a classic snapshot must be to hold a change of every chunk of an origin, in bytes, a multiple of extent. */
uint64_t lvm_full_cow(uint64_t origin, uint32_t chunk, uint32_t extent);

/* How large a thin pool may be where so much is free: a reserve stays, for its metadata (twice: LVM keeps a spare of
 * that) and for later. A multiple of extent and stripes; 0: too little. */
uint64_t lvm_thin_pool_size(uint64_t free, uint32_t extent, unsigned stripes);

/* ---- lvm's commands (lvm-cmd.c) -------------------------------------------------------------------------------------
 */

struct lvm_lv {
    char *name, *uuid, *segtype, *origin, *pool, *health;
    struct strv tags;
    uint64_t size; /* of a classic snapshot: of its exception store */
    uint64_t chunk;
    double data_percent; /* -1: unknown (inactive, or not of a kind that has it) */
    double metadata_percent;
    bool active, merging, invalid;
};

/* A volume group with all its volumes. */
struct lvm_vg {
    char *name;
    uint64_t size, free;
    uint32_t extent;
    unsigned missing; /* physical volumes that are not there */
    bool exported;
    struct lvm_lv *lvs;
    size_t n_lvs;
};
#define AUTO_LVM_VG CLEANUP(lvm_vg_clear)
void lvm_vg_clear(struct lvm_vg *vg);
struct lvm_lv *lvm_find(const struct lvm_vg *vg, const char *lv);

/* Run lvm with these arguments ("lvcreate", …) on the group vg. It is never killed: what it prints goes to memory that it owns, so that
 * it goes on undisturbed when we are killed, and then the next call for this group, in whatever process, waits for
 * its end before it starts anything. *ret_out may be NULL. Errors: VMUNDO_FAILED with what lvm said; errnum ENOSPC when
 * it had no room, EEXIST when the name is taken, EINVAL when it does not know an option (too old). */
int lvm_run(const char *vg, const char *const *args, char **ret_out, struct vmundo_error *err);

/* Wait for another lvm command that works on the group, at most wait_ms; VMUNDO_CONFLICT names it then. */
int lvm_check_lock(const char *vg, unsigned wait_ms, struct vmundo_error *err);

int lvm_report(const char *vg, struct lvm_vg *ret, struct vmundo_error *err);
int lvm_parse_report(const char *text, struct lvm_vg *ret, struct vmundo_error *err);

/* For a report of one's own: the options (settings of the host's that change its form are overridden), and members of
 * a row, where every value comes as text. */
#define LVM_REPORT_OPTIONS                                                                                              \
    "--reportformat", "json", "--binary", "--units",  \
        "b", "--nosuffix"
int lvm_get_text(const json_t *row, const char *key, char **ret, struct vmundo_error *err); /* frees *ret first */
int lvm_get_number(const json_t *row, const char *key, uint64_t *ret, struct vmundo_error *err);
int lvm_get_list(const json_t *row, const char *key, struct strv *ret, struct vmundo_error *err);
bool lvm_is_set(const json_t *row, const char *key);

/* ---- the kernel (lvm-dm.c) ------------------------------------------------------------------------------------------
 */

struct lvm_dm {
    bool exists;
    bool suspended;
    int open_count;
    dev_t dev;
    uint64_t size; /* of that segment in bytes: of the whole, where it has only one */
    char *target;  /* kind of its (first) segment: linear, snapshot-origin, snapshot, snapshot-merge, thin … */
    char *params;  /* of the status, or of the table, as asked for */
};
#define AUTO_LVM_DM CLEANUP(lvm_dm_clear)
void lvm_dm_clear(struct lvm_dm *d);

enum lvm_dm_what { LVM_DM_STATUS, LVM_DM_TABLE };
int lvm_dm_look(const char *dm_name, enum lvm_dm_what what, struct lvm_dm *ret, struct vmundo_error *err);

/* Tell a device something. */
int lvm_dm_message(const char *dm_name, const char *text, struct vmundo_error *err);

/* How a branch is, from the status line of its device and, if it is thin, of its pool of pool_size bytes (NULL: not
 * known). Of a classic snapshot that is too small to hold a change of every chunk of full bytes, fill is how near its end
 * is. */
int lvm_snapshot_status(const char *params, uint64_t full, struct branch_status *ret, struct vmundo_error *err);
int lvm_thin_status(const char *params, const char *pool_params, uint64_t pool_size, struct branch_status *ret,
                    struct vmundo_error *err);

/* Sectors that a merge has still to bring back; 0: all are. */
int lvm_merge_left(const char *params, uint64_t *ret, bool *ret_failed, struct vmundo_error *err);

/* The pool under a thin volume; !ret->exists: it has gone. */
int lvm_pool_status(const char *thin_dm_name, struct lvm_dm *ret, struct vmundo_error *err);

/* ---- the file system in a volume (lvm-mount.c) ----------------------------------------------------------------------
 */

/* Mount the file system on device (/dev/VG/LV) at dir, which is made, for a branch: nosuid, nodev, noexec, with nouuid
 * on XFS. If it is there already, leave it. Errors: something else is mounted there; no file system that we know. */
int lvm_mount(const char *device, const char *dir, struct vmundo_error *err);

/* Undo it, waiting a moment for those that are about to let go of it. VMUNDO_CONFLICT names who does not. */
int lvm_unmount(const char *device, const char *dir, struct vmundo_error *err);

/* A descriptor of the root of the file system on device: of a mount that there is, or else of one of its own, which
 * nobody sees and which ends with the descriptor. writable false: then nothing is written, not even a journal replayed.
 */
int lvm_open_root(const char *device, bool writable, int *ret, struct vmundo_error *err);

/* A file below root; no link is followed, no mount crossed. */
int lvm_open_inside(int root, const char *inside, int flags, int *ret, struct vmundo_error *err);

/* Fingerprints of the files inside, as text, and what has changed since. *ret_what NULL: nothing. */
int lvm_fingerprint_inside(int root, const struct strv *inside, char **ret, struct vmundo_error *err);
int lvm_compare_inside(int root, const struct strv *inside, const char *then, char **ret_what,
                       struct vmundo_error *err);

/* Do the two file systems have the same files but for those inside: same names, inodes, sizes, times? */
int lvm_same_others(int root_a, int root_b, const struct strv *inside, bool *ret, struct vmundo_error *err);

/* ---- both drivers (lvm-common.c) ------------------------------------------------------------------------------------
 */

int lvm_claim(const struct stack *s, bool thin, struct claim *ret, struct vmundo_error *err);
int lvm_name_branch(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err);
/* Can the group be worked on, and is the volume one of which there can be a branch? *ret_lv is in *ret_vg. */
int lvm_check_origin(const struct branch *b, struct lvm_vg *ret_vg, struct lvm_lv **ret_lv, struct vmundo_error *err);
/* Run lvcreate with these arguments before tags, name and origin; finish what an earlier attempt left. */
int lvm_create(struct branch *b, const struct mark *m, const char *const *args, struct vmundo_error *err);
int lvm_attach(const struct branch *b, struct vmundo_error *err);
int lvm_detach(const struct branch *b, struct vmundo_error *err);
int lvm_locate(const struct branch *b, const char *inside, char **ret_path, char **ret_format, bool *ret_block,
               struct vmundo_error *err);
int lvm_remove(const struct branch *b, struct vmundo_error *err);
int lvm_changed(const struct branch *b, bool *ret, char **ret_what, struct vmundo_error *err);

/* ---- keep (lvm-keep.c, lvm-copy.c, lvm-cow.c)
 * ------------------------------------------------------------------------- */

int lvm_keep_check(const struct branch *b, struct vmundo_error *err);
int lvm_keep(const struct branch *b, const struct progress *p, struct vmundo_error *err);

/* The numbers of the chunks of the origin that differ in a classic snapshot, ascending. */
struct lvm_chunks {
    uint64_t *chunks;
    size_t n, cap;
    uint32_t size; /* of a chunk in bytes */
};
#define AUTO_LVM_CHUNKS CLEANUP(lvm_chunks_clear)
void lvm_chunks_clear(struct lvm_chunks *c);
/* From the exception store open at fd. kernel: drivers/md/dm-snap-persistent.c */
int lvm_read_cow(int fd, struct lvm_chunks *ret, struct vmundo_error *err);
/* Does one of them touch these bytes of the origin? */
bool lvm_chunks_touch(const struct lvm_chunks *c, uint64_t start, uint64_t len);

/* Make file `inside` below root `to` what it is below root `from`. changed NULL: every block may have. */
struct lvm_copy {
    int from, to;
    const struct lvm_chunks *changed;
    const struct progress *progress;
    uint64_t done, total; /* bytes */
    /* Called before up to n bytes are written; an error ends it. May be NULL. */
    int (*before_write)(const struct branch *b, uint64_t n, struct vmundo_error *err);
    const struct branch *branch;
};
/* Make what device `to` holds what `from` holds, of the same size; only what differs is written. */
int lvm_copy_device(int from, int to, const struct progress *p, struct vmundo_error *err);
int lvm_copy_measure(struct lvm_copy *c, const char *inside, struct vmundo_error *err); /* adds to total */
int lvm_copy_file(struct lvm_copy *c, const char *inside, struct vmundo_error *err);
/* Where the two files may differ. */
int lvm_copy_list(struct lvm_copy *c, const char *inside, struct ranges *ret, struct vmundo_error *err);

/* ---- diff (lvm-diff.c) ---------------------------------------------------------------------------------------------- */

/* Storage contract, changes. */
int lvm_changes(const struct branch *b, const struct branch *since, const char *inside, struct ranges *ret,
                struct vmundo_error *err);
/* The chunks of a classic snapshot that differ from its origin. */
int lvm_read_changes(const struct branch *b, struct lvm_chunks *ret, struct vmundo_error *err);
/* Add one to the end of the list; they must come in ascending order. */
int lvm_chunks_add(struct lvm_chunks *c, uint64_t chunk, struct vmundo_error *err);
#define LVM_MAX_CHUNKS (UINT64_C(1) << 28) /* 2 GiB of memory: 16 TiB of changes in chunks of 64 KiB */
/* From what thin_delta(8) prints. */
int lvm_parse_delta(const char *xml, struct lvm_chunks *ret, struct vmundo_error *err);

#endif
