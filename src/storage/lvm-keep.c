/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-keep.c: make the branch's state the origin's. There are two ways.
 *
 * Merge: LVM brings the whole volume back, in the background and across reboots; a thin volume changes places with its
 * branch at once. It is for volumes that nobody else has used since: a disk, or a file system that is not mounted and
 * in which all other files are what they were.
 *
 * Copy: of a file system that others use too, only this domain's images are brought back (lvm-copy.c), the other files
 * stay untouched to the byte. What is written to the origin then, its classic snapshots have to copy first, this branch
 * like its siblings: each must have room for that, or it would be lost.
 *
 * Both can be called again after any interruption: a merge that was begun goes on, a copy is made again, from the
 * branch, which is complete until remove.
 */
#include "storage/lvm.h"

#include "util/sys.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libmount.h>
#include <sys/statvfs.h>

#define MIB 20
#define POLL_MS 200
#define NUDGE_MS 10000 /* a merge that makes no progress for so long is given a push */
#define GIVE_UP 6      /* pushes without effect */
#define PROBE_MS 3000
#define SPARE ((uint64_t)2 << 20)

static bool is_thin(const struct branch *b)
{
    return b->driver == &storage_lvm_thin;
}

static int look_up(const char *path, enum lvm_dm_what what, struct lvm_dm *ret, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (lvm_split_path(path, &n, err) < 0)
        return -1;
    AUTO_FREE char *dm_name = lvm_dm_name(&n, NULL, err);
    return dm_name ? lvm_dm_look(dm_name, what, ret, err) : -1;
}

/* ---- could it be done?
 * -------------------------------------------------------------------------------------------------- */

static int check_health(const struct branch *b, struct vmundo_error *err)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    if (b->driver->inspect(b, &s, err) < 0)
        return -1;
    if (!s.exists || !str_eq(s.health, "ok"))
        return error_set(err, VMUNDO_FAILED, "the branch %s cannot be kept: it is %s", b->path, s.health);
    return 0;
}

/* Whoever only probes it, as udev does after every change, is gone in a moment. */
static int check_idle(const char *path, struct vmundo_error *err)
{
    uint64_t end = sys_monotonic_ms() + PROBE_MS;
    for (;;) {
        CLEANUP(stack_clear) struct stack s = {0};
        AUTO_FREE char *who = NULL;
        if (stack_resolve(path, &s, err) < 0 || storage_in_use(&s, false, &who, err) < 0)
            return -1;
        if (!who)
            return 0;
        if (sys_monotonic_ms() >= end)
            return error_set(err, VMUNDO_CONFLICT, "%s is in use by %s: end that first", path, who);
        usleep(50000);
    }
}

static void cleanup_table(struct libmnt_table **t)
{
    mnt_unref_table(*t);
}

static void cleanup_iter(struct libmnt_iter **i)
{
    mnt_free_iter(*i);
}

/* By which path the user sees this file of the volume, the caller's; NULL in *ret: it is not mounted. */
static int user_path(const char *device, const char *inside, char **ret, struct vmundo_error *err)
{
    struct stat st;
    struct libmnt_fs *fs = NULL;
    CLEANUP(cleanup_table) struct libmnt_table *t = mnt_new_table_from_file("/proc/self/mountinfo");
    CLEANUP(cleanup_iter) struct libmnt_iter *i = mnt_new_iter(MNT_ITER_FORWARD);
    AUTO_FREE char *whole = str_printf(err, "/%s", inside);
    if (!t || !i || !whole || stat(device, &st) < 0)
        return error_set(err, VMUNDO_FAILED, "cannot tell where %s is mounted", device);
    *ret = NULL;
    while (!*ret && mnt_table_next_fs(t, i, &fs) == 0) {
        const char *root = mnt_fs_get_root(fs);
        size_t n = root && !str_eq(root, "/") ? strlen(root) : 0;
        if (mnt_fs_get_devno(fs) == st.st_rdev && root && !strncmp(whole, root, n) && whole[n] == '/' &&
            !(*ret = str_printf(err, "%s%s", mnt_fs_get_target(fs), whole + n)))
            return -1;
    }
    return 0;
}

static int check_images_idle(const struct branch *b, struct vmundo_error *err)
{
    for (size_t i = 0; i < b->inside.n; i++) {
        AUTO_FREE char *path = NULL;
        if (user_path(b->origin, b->inside.items[i], &path, err) < 0 || (path && check_idle(path, err) < 0))
            return -1;
    }
    return 0;
}

/* Blocks that the images have in the branch and not in the origin: is there room for them in the origin's file system?
 */
static int check_origin_room(const struct branch *b, struct vmundo_error *err)
{
    AUTO_CLOSE int from = -1;
    AUTO_CLOSE int to = -1;
    struct statvfs v;
    uint64_t more = 0;
    if (lvm_open_root(b->path, false, &from, err) < 0 || lvm_open_root(b->origin, false, &to, err) < 0)
        return -1;
    for (size_t i = 0; i < b->inside.n; i++) {
        struct stat in_branch, in_origin;
        if (fstatat(from, b->inside.items[i], &in_branch, AT_SYMLINK_NOFOLLOW) < 0 ||
            fstatat(to, b->inside.items[i], &in_origin, AT_SYMLINK_NOFOLLOW) < 0)
            return error_errno(err, errno, "cannot look at %s", b->inside.items[i]);
        if (in_branch.st_blocks > in_origin.st_blocks)
            more += (uint64_t)(in_branch.st_blocks - in_origin.st_blocks) * 512;
    }
    if (fstatvfs(to, &v) < 0)
        return error_errno(err, errno, "cannot look at the file system on %s", b->origin);
    uint64_t room = (uint64_t)v.f_bfree * v.f_frsize;
    return more <= room ? 0
                        : error_set(err, VMUNDO_REFUSED,
                                    "the images have grown by %" PRIu64 " MiB, and the file system on %s has %" PRIu64
                                    " MiB free: make room there first",
                                    more >> MIB, b->origin, room >> MIB);
}

/* Every other classic snapshot of the origin must be able to take in what is going to change below it. */
static int check_siblings(const struct branch *b, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    AUTO_LVM_NAME struct lvm_name n = {0};
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    struct lvm_lv *origin = NULL;
    if (lvm_check_origin(b, &vg, &origin, err) < 0 || lvm_split_path(b->path, &n, err) < 0 ||
        b->driver->inspect(b, &s, err) < 0)
        return -1;
    for (size_t i = 0; i < vg.n_lvs; i++) {
        const struct lvm_lv *l = &vg.lvs[i];
        if (!str_eq(l->origin, origin->name) || str_eq(l->name, n.lv) || l->pool[0] || l->data_percent < 0 ||
            l->size >= lvm_full_cow(origin->size, (uint32_t)l->chunk, vg.extent))
            continue;
        uint64_t free = (uint64_t)((100 - l->data_percent) / 100 * (double)l->size);
        if (free < s.used + SPARE)
            return error_set(err, VMUNDO_REFUSED,
                             "%s/%s is a snapshot of %s too, with room for %" PRIu64 " MiB, and keep may write %" PRIu64
                             " MiB below it: lvextend it, or remove it",
                             vg.name, l->name, b->origin, free >> MIB, (s.used + SPARE) >> MIB);
    }
    return 0;
}

int lvm_keep_check(const struct branch *b, struct vmundo_error *err)
{
    if (check_health(b, err) < 0 || (!is_thin(b) && check_siblings(b, err) < 0))
        return -1;
    if (b->inside.n == 0)
        return check_idle(b->origin, err);
    return check_images_idle(b, err) < 0 ? -1 : check_origin_room(b, err);
}

/* ---- merge
 * -------------------------------------------------------------------------------------------------------------- */

/* What the metadata says of the branch: gone (merged), merging, or there. In its last step lvm first lets go of the merged
 * snapshot, which is then a plain volume without an origin, and removes it with the next change of the metadata: the host
 * may go down in between. */
enum merge_state { MERGE_DONE, MERGE_UNDER_WAY, MERGE_NOT_BEGUN };

static int merge_state(const struct branch *b, enum merge_state *ret, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (lvm_split_path(b->path, &n, err) < 0 || lvm_report(n.vg, &vg, err) < 0)
        return -1;
    const struct lvm_lv *lv = lvm_find(&vg, n.lv);
    if (!lv || (!lv->merging && !is_thin(b) && !lv->origin[0]))
        *ret = MERGE_DONE;
    else
        *ret = lv->merging ? MERGE_UNDER_WAY : MERGE_NOT_BEGUN;
    return 0;
}

/* A merge waits in the metadata until it can begin, and its last step is a change of the metadata that somebody has to
 * make: after a reboot, or when lvm's own watcher is gone, both need a push. */
static int nudge(const struct branch *b, bool begun, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (lvm_split_path(b->origin, &n, err) < 0)
        return -1;
    AUTO_FREE char *origin = str_printf(err, "%s/%s", n.vg, n.lv);
    const char *refresh[] = {"lvchange", "--yes", "--refresh", origin, NULL};
    const char *off[] = {"lvchange", "--yes", "-an", origin, NULL};
    const char *on[] = {"lvchange", "--yes", "-ay", origin, NULL};
    const char *poll[] = {"lvchange", "--yes", "--poll", "y", origin, NULL};
    if (!origin)
        return -1;
    if (begun)
        return lvm_run(n.vg, poll, NULL, err);
    if (!is_thin(b) && lvm_run(n.vg, refresh, NULL, NULL) == 0)
        return 0;
    return lvm_run(n.vg, off, NULL, err) < 0 ? -1 : lvm_run(n.vg, on, NULL, err);
}

/* One look at a merge that is under way in the kernel. *ret_begun false: it is not. */
static int watch(const struct branch *b, uint64_t *total, uint64_t *ret_left, bool *ret_begun, struct vmundo_error *err)
{
    AUTO_LVM_DM struct lvm_dm d = {0};
    bool failed = false;
    if (look_up(b->origin, LVM_DM_STATUS, &d, err) < 0)
        return -1;
    *ret_begun = d.exists && str_eq(d.target, "snapshot-merge");
    if (!*ret_begun)
        return 0;
    if (lvm_merge_left(d.params, ret_left, &failed, err) < 0)
        return -1;
    if (failed)
        return error_set(err, VMUNDO_FAILED, "the kernel cannot merge %s into %s: see its log (dmesg) for the reason",
                         b->path, b->origin);
    *total = *ret_left > *total ? *ret_left : *total;
    return 0;
}

static int wait_for_merge(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    uint64_t total = 0, left = 0, last = UINT64_MAX, since = sys_monotonic_ms();
    for (unsigned nudges = 0;;) {
        enum merge_state state = MERGE_UNDER_WAY;
        bool begun = false;
        if (watch(b, &total, &left, &begun, err) < 0)
            return -1;
        if (begun)
            progress_tell(p, (total - left) * 512, total * 512);
        if ((!begun || left == 0) && merge_state(b, &state, err) < 0)
            return -1;
        if (state == MERGE_DONE)
            return 0;
        if (state == MERGE_NOT_BEGUN)
            return error_set(err, VMUNDO_FAILED, "the merge of %s into %s was given up by somebody else", b->path,
                             b->origin);
        if (begun && left != last) {
            last = left;
            since = sys_monotonic_ms();
        }
        if (!begun || sys_monotonic_ms() - since >= NUDGE_MS) {
            if (++nudges > GIVE_UP)
                return error_set(err, VMUNDO_INTERRUPTED,
                                 "the merge of %s into %s does not go on: somebody may have one of them open", b->path,
                                 b->origin);
            if (nudge(b, begun, err) < 0)
                return -1;
            since = sys_monotonic_ms();
        }
        usleep(POLL_MS * 1000);
    }
}

static int merge(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (lvm_split_path(b->path, &n, err) < 0)
        return -1;
    AUTO_FREE char *branch = str_printf(err, "%s/%s", n.vg, n.lv);
    const char *args[] = {"lvconvert", "--yes", "--merge", "--background", "--interval", "1", branch, NULL};
    if (!branch || check_idle(b->origin, err) < 0 || check_idle(b->path, err) < 0 || lvm_run(n.vg, args, NULL, err) < 0)
        return -1;
    return wait_for_merge(b, p, err);
}

/* ---- copy
 * --------------------------------------------------------------------------------------------------------------- */

/* Before n bytes are written to the origin: can the branch still take in what they may replace? */
static int make_room(const struct branch *b, uint64_t n, struct vmundo_error *err)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    struct vmundo_error e = {0};
    if (b->driver->inspect(b, &s, err) < 0)
        return -1;
    if (!str_eq(s.health, "ok"))
        return error_set(err, VMUNDO_FAILED, "the branch %s was lost: it is %s", b->path, s.health);
    if (!s.bound || s.limit - s.used >= n + SPARE)
        return 0;
    if (b->driver->extend(b, n + SPARE, &e) == 0)
        return 0;
    return error_set(err, VMUNDO_REFUSED,
                     "the branch %s has room for %" PRIu64
                     " MiB, too little to write to its origin beside it, and could not "
                     "be extended (%s): make room in the volume group, then 'vmundo recover' goes on",
                     b->path, (s.limit - s.used) >> MIB, e.msg);
}

static int copy_images(const struct branch *b, struct lvm_copy *c, struct vmundo_error *err)
{
    for (size_t i = 0; i < b->inside.n; i++)
        if (lvm_copy_measure(c, b->inside.items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < b->inside.n; i++)
        if (lvm_copy_file(c, b->inside.items[i], err) < 0)
            return -1;
    return 0;
}

static int copy_back(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    AUTO_CLOSE int from = -1;
    AUTO_CLOSE int to = -1;
    AUTO_LVM_CHUNKS struct lvm_chunks changed = {0};
    if (lvm_open_root(b->path, false, &from, err) < 0 || lvm_open_root(b->origin, true, &to, err) < 0 ||
        (!is_thin(b) && lvm_read_changes(b, &changed, err) < 0))
        return -1;
    struct lvm_copy c = {.from = from, .to = to, .progress = p, .branch = b};
    if (!is_thin(b)) {
        c.changed = &changed;
        c.before_write = make_room;
    }
    return copy_images(b, &c, err);
}

/* ---- which of the two
 * ------------------------------------------------------------------------------------------------- */

/* Has this domain had the volume for itself? Not while it is mounted: then anybody may write to it at any moment. */
static int had_it_alone(const struct branch *b, bool *ret, struct vmundo_error *err)
{
    AUTO_LVM_DM struct lvm_dm d = {0};
    AUTO_CLOSE int branch = -1;
    AUTO_CLOSE int origin = -1;
    if (look_up(b->origin, LVM_DM_STATUS, &d, err) < 0)
        return -1;
    *ret = false;
    if (!d.exists || d.open_count > 0)
        return 0;
    return lvm_open_root(b->origin, false, &origin, err) < 0 || lvm_open_root(b->path, false, &branch, err) < 0
               ? -1
               : lvm_same_others(origin, branch, &b->inside, ret, err);
}

static int keep_images(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    bool alone = false;
    /* Mounted and unmounted, its journal is empty and all it holds is where it belongs. */
    if (lvm_attach(b, err) < 0 || lvm_detach(b, err) < 0 || check_images_idle(b, err) < 0 ||
        had_it_alone(b, &alone, err) < 0)
        return -1;
    return alone && !b->base ? merge(b, p, err) : copy_back(b, p, err);
}

/* A branch of a checkpoint is no snapshot of the origin for lvm, which therefore will not merge the two. */
static int copy_volume(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    if (lvm_attach(b, err) < 0 || check_idle(b->origin, err) < 0 || check_idle(b->path, err) < 0)
        return -1;
    AUTO_CLOSE int from = open(b->path, O_RDONLY | O_EXCL | O_CLOEXEC);
    AUTO_CLOSE int to = open(b->origin, O_RDWR | O_EXCL | O_CLOEXEC);
    if (from < 0 || to < 0)
        return error_errno(err, errno, "cannot open %s", from < 0 ? b->path : b->origin);
    return lvm_copy_device(from, to, p, err);
}

int lvm_keep(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    enum merge_state state;
    if (merge_state(b, &state, err) < 0)
        return -1;
    if (state == MERGE_DONE)
        return 0;
    if (state == MERGE_UNDER_WAY)
        return wait_for_merge(b, p, err);
    if (b->inside.n > 0)
        return keep_images(b, p, err);
    return b->base ? copy_volume(b, p, err) : merge(b, p, err);
}
