/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2.c: a branch is a qcow2 overlay that shows the origin wherever the guest has not written. It works over any file
 * or block device. qemu-img makes the overlay and commits it; it is told every format, and guesses none.
 *
 * Clusters are of 128 KiB with subclusters (extended_l2) of 4 KiB, which is what a guest's file system writes: with
 * plain clusters each first write copies 64 KiB from the origin. Measured over a full raw image, writes of 4 KiB in
 * different clusters are twice as fast with subclusters, of 16 KiB four times, of 64 KiB and more equally fast. It
 * takes QEMU 5.2.
 *
 * An overlay can rest on another (base), which then stays as it is: that is how a domain leaves a checkpoint behind and
 * goes on, and how it goes back to one (qcow2-chain.c).
 *
 * Keep commits the overlays into the origin, the lowest first, without emptying them (-d), so that it can be done again
 * from the start after any interruption. A qemu-img that went on after vmundo was killed is waited for.
 */
#include "storage/drivers.h"

#include "storage/image.h"
#include "storage/qcow2-chain.h"
#include "storage/sidecar.h"
#include "util/process.h"

#include <fcntl.h>
#include <inttypes.h>

#define OVERLAY_OPTIONS "cluster_size=128k,extended_l2=on"
#define OVERLAY_TABLES                                                                                                 \
    (4 * (128 << 10)) /* header, reference counts and two levels of tables, for each 1 GiB of the disk one more */
#define MAX_BACKING_NAME 1023 /* docs/interop/qcow2.txt */

/* ---- claim ------------------------------------------------------------------------------------------------------ */

static int check_image(const struct stack *s, const char *format, char **ret_not, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    CLEANUP(image_header_clear) struct image_header h = {0};
    struct vmundo_error why = {0};
    const char *reason = NULL;
    if (sidecar_open_origin(stack_name(s), O_RDONLY, &f, err) < 0)
        return -1;
    if (image_read_header(f.fd, format, &h, &why) < 0)
        reason = why.msg;
    else if (h.corrupt)
        reason = "the image is marked corrupt";
    else if (h.external_data)
        reason = "the image has its data in another file";
    else if (h.has_backing && !h.backing)
        reason = "the image is based on another in a way that QEMU does not know";
    return str_copy(reason, ret_not, err);
}

/* *ret_not stays NULL when there can be an overlay. */
static int why_not(const struct stack *s, const char *format, char **ret_not, struct vmundo_error *err)
{
    const char *reason = NULL;
    if (s->kind == STACK_RBD)
        reason = "it is neither a file nor a block device";
    else if (!process_have("qemu-img"))
        reason = "there is no qemu-img in PATH (package qemu-utils)";
    else if (s->kind == STACK_FILE && s->fs_readonly)
        reason = "its file system is read-only, and an overlay lies beside the image";
    else if (strlen(stack_name(s)) > MAX_BACKING_NAME)
        reason = "its path is too long to be written into an overlay";
    return reason ? str_copy(reason, ret_not, err) : check_image(s, format, ret_not, err);
}

static int qcow2_claim(const struct stack *s, const char *format, struct claim *ret, struct vmundo_error *err)
{
    if (why_not(s, format, &ret->why, err) < 0)
        return -1;
    if (ret->why)
        return 0;
    ret->possible = true;
    if (str_copy("an overlay works over any file or block device", &ret->why, err) < 0 ||
        str_copy("one qemu-img, no space until the guest writes; reading goes through one more layer", &ret->cost,
                 err) < 0)
        return -1;
    return str_copy(stack_name(s), &ret->volume, err);
}

/* ---- create ----------------------------------------------------------------------------------------------------- */

/* The overlay of a device cannot lie beside it: /dev is memory. It goes to the state directory, under the device's name
 * without slashes. */
static int qcow2_name(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err)
{
    AUTO_FREE char *beside = NULL;
    b->limit = 0;
    if (str_has_prefix(b->origin, "/dev/") && !str_has_prefix(b->origin, "/dev/shm/")) {
        beside = str_printf(err, "%s/%s", state_dir, b->origin + strlen("/dev/"));
        for (char *p = beside ? beside + strlen(state_dir) + 1 : NULL; p && *p; p++)
            *p = *p == '/' ? '+' : *p;
    } else if (str_copy(b->origin, &beside, err) < 0) {
        return -1;
    }
    b->path = beside ? sidecar_path(beside, m, ".qcow2", err) : NULL;
    return b->path ? str_copy("qcow2", &b->format, err) : -1;
}

static int check_depth(const struct branch *b, struct vmundo_error *err)
{
    AUTO_STRV struct strv below = {0};
    if (chain_list(b->base, b->origin, &below, err) < 0)
        return -1;
    if (below.n < CHAIN_MAX)
        return 0;
    return error_set(err, VMUNDO_REFUSED,
                     "the overlay %s rests on %zu others, one on the other: 'vmundo rollback' to an older checkpoint "
                     "or the origin starts from fewer, 'vmundo keep' makes their changes permanent",
                     b->base, below.n - 1);
}

static int check_below(const struct branch *b, struct vmundo_error *err)
{
    AUTO_IMAGE_CHAIN struct image_chain c = {0};
    return b->base ? check_depth(b, err) : image_open_chain(b->origin, b->origin_format, &c, err);
}

static int qcow2_preflight(const struct branch *b, struct vmundo_error *err)
{
    return sidecar_preflight(b, err) < 0 ? -1 : check_below(b, err);
}

static int qcow2_preflight_replacing(const struct branch *b, const struct branch *gone, struct vmundo_error *err)
{
    return sidecar_preflight_replacing(b, gone, err) < 0 ? -1 : check_below(b, err);
}

/* -u: what it rests on need not be opened again, its size is known. */
static int make_overlay(const struct sidecar_fill *f, const char *below, const char *format, uint64_t bytes,
                        struct vmundo_error *err)
{
    AUTO_FREE char *path = image_fd_path(f->dirfd, f->name, err);
    AUTO_FREE char *size = str_printf(err, "%" PRIu64, bytes);
    if (!path || !size)
        return -1;
    const char *argv[] = {"qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", below, "-F", format,
                          "-o", OVERLAY_OPTIONS, path, size, NULL};
    return process_run(argv, 0, NULL, err);
}

static int qcow2_fill(const struct sidecar_fill *f, struct vmundo_error *err)
{
    AUTO_IMAGE_CHAIN struct image_chain c = {0};
    CLEANUP(image_header_clear) struct image_header h = {0};
    const struct branch *b = f->branch;
    if (!b->base)
        return image_open_chain(b->origin, b->origin_format, &c, err) < 0
                   ? -1
                   : make_overlay(f, b->origin, c.links[0].format, c.virtual_size, err);
    if (check_depth(b, err) < 0)
        return -1;
    if (image_read_header(f->from, "qcow2", &h, err) < 0)
        return error_wrap(err, "%s", b->base);
    return make_overlay(f, b->base, "qcow2", h.virtual_size, err);
}

static int qcow2_create(struct branch *b, const struct mark *m, struct vmundo_error *err)
{
    return sidecar_create(b, m, qcow2_fill, false, err);
}

/* ---- inspect ---------------------------------------------------------------------------------------------------- */

/* Is all there that it rests on? */
static int inspect_chain(const struct branch *b, struct branch_status *s, struct vmundo_error *err)
{
    AUTO_STRV struct strv all = {0};
    struct vmundo_error why = {0};
    s->overhead = s->used < OVERLAY_TABLES ? s->used : OVERLAY_TABLES;
    if (chain_list(b->path, b->origin, &all, &why) == 0) {
        s->depth = (unsigned)all.n - 1;
        return 0;
    }
    free(s->health);
    s->health = str_printf(err, "invalid: %s", why.msg);
    return s->health ? 0 : -1;
}

static int qcow2_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    CLEANUP(image_header_clear) struct image_header h = {0};
    struct vmundo_error why = {0};
    if (sidecar_inspect(b, &s, err) < 0 || (s.exists && sidecar_open_branch(b->path, O_RDONLY, &f, err) < 0))
        return -1;
    if (s.exists && (image_read_header(f.fd, "qcow2", &h, &why) < 0 || h.corrupt)) {
        free(s.health);
        s.health = str_printf(err, "invalid: %s", h.corrupt ? "the overlay is marked corrupt" : why.msg);
        if (!s.health)
            return -1;
    } else if (s.exists && inspect_chain(b, &s, err) < 0) {
        return -1;
    }
    *ret = s;
    s = (struct branch_status){0};
    return 0;
}

static int qcow2_untouched(const struct branch *b, bool *ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    struct vmundo_error local = {0};
    bool has_data = false;
    if (sidecar_open_branch(b->path, O_RDONLY, &f, &local) < 0) {
        *ret = true;
        return local.errnum == ENOENT ? 0 : error_set(err, local.code, "%s", local.msg);
    }
    if (image_has_data(f.fd, &has_data, err) < 0)
        return -1;
    *ret = !has_data;
    return 0;
}

/* ---- keep ------------------------------------------------------------------------------------------------------- */

/* What the commits may need at most: all data of the overlays, or, where blocks are not shared, what the origin lacks. */
static int check_room(const struct branch *b, const struct stack *s, struct vmundo_error *err)
{
    AUTO_STRV struct strv overlays = {0};
    uint64_t used = 0;
    if (s->kind != STACK_FILE)
        return 0;
    if (chain_list(b->path, b->origin, &overlays, err) < 0)
        return -1;
    for (size_t i = 0; i < overlays.n; i++) {
        CLEANUP(branch_status_clear) struct branch_status now = {0};
        const struct branch overlay = {.path = overlays.items[i]};
        if (sidecar_inspect(&overlay, &now, err) < 0)
            return -1;
        used += now.used;
    }
    uint64_t lacks = s->size > s->allocated ? s->size - s->allocated : 0;
    bool grows = !str_eq(b->origin_format, "raw") || s->can_reflink;
    uint64_t need = !grows && lacks < used ? lacks : used;
    if (need > s->fs_free)
        return error_set(err, VMUNDO_REFUSED,
                         "%s may need %" PRIu64 " MiB more, and %s has %" PRIu64 " MiB free: make room first",
                         b->origin, need >> 20, s->mount_point, s->fs_free >> 20);
    return 0;
}

static int qcow2_keep_check(const struct branch *b, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    return sidecar_keep_check(b, &s, err) < 0 ? -1 : check_room(b, &s, err);
}

/* Nobody may write to the origin now. The commit of a vmundo that was killed goes on without it: it comes to the same
 * end. */
static int wait_for_others(const struct branch *b, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    if (stack_resolve(b->origin, &s, err) < 0)
        return -1;
    for (;;) {
        AUTO_FREE char *who = NULL;
        if (storage_in_use(&s, true, &who, err) < 0)
            return -1;
        if (!who)
            return 0;
        if (!str_has_prefix(who, "qemu-img (pid "))
            return error_set(err, VMUNDO_CONFLICT, "%s is in use by %s", b->origin, who);
        usleep(50000);
    }
}

struct commit_progress {
    const struct progress *p;
    size_t nth, of; /* overlays */
};

/* "    (12.34/100%)" */
static void on_progress(void *data, const char *line)
{
    const struct commit_progress *c = data;
    struct progress told = c->p ? *c->p : (struct progress){0};
    double percent;
    if (sscanf(line, " (%lf/100%%)", &percent) == 1)
        progress_tell(&told, 10000 * c->nth + (uint64_t)(percent * 100), 10000 * c->of);
}

static int check_same_size(const char *path, int overlay, const struct image_chain *origin, struct vmundo_error *err)
{
    CLEANUP(image_header_clear) struct image_header h = {0};
    if (image_read_header(overlay, "qcow2", &h, err) < 0)
        return error_wrap(err, "%s", path);
    if (h.virtual_size != (origin->virtual_size + 511) / 512 * 512)
        return error_set(err, VMUNDO_REFUSED, "the overlay holds a disk of %" PRIu64 " bytes, %s one of %" PRIu64,
                         h.virtual_size, origin->links[0].path, origin->virtual_size);
    return 0;
}

/* Straight into the origin, whatever it rests on: what lies below has been committed before it. */
static int commit(const char *overlay, const struct image_chain *origin, struct commit_progress *p,
                  struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    if (sidecar_open_branch(overlay, O_RDONLY, &f, err) < 0 || check_same_size(overlay, f.fd, origin, err) < 0)
        return -1;
    AUTO_FREE char *path = image_fd_path(f.fd, NULL, err);
    AUTO_FREE char *below = image_chain_options(origin, "backing.", err);
    if (!path || !below)
        return -1;
    AUTO_FREE char *options = str_printf(err, "driver=qcow2,file.driver=file,file.filename=%s,%s", path, below);
    const char *argv[] = {"qemu-img", "commit", "-p", "-d", "--image-opts", options, NULL};
    return options ? process_run_lines(argv, on_progress, p, err) : -1;
}

static int commit_all(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    AUTO_IMAGE_CHAIN struct image_chain origin = {0};
    AUTO_STRV struct strv overlays = {0};
    if (chain_list(b->path, b->origin, &overlays, err) < 0 ||
        image_open_chain(b->origin, b->origin_format, &origin, err) < 0)
        return -1;
    for (size_t i = overlays.n; i > 0; i--) {
        struct commit_progress c = {.p = p, .nth = overlays.n - i, .of = overlays.n};
        if (commit(overlays.items[i - 1], &origin, &c, err) < 0)
            return -1;
    }
    return fsync(origin.links[0].fd) < 0 ? error_errno(err, errno, "cannot make %s durable", b->origin) : 0;
}

static int qcow2_keep(const struct branch *b, const struct progress *p, struct vmundo_error *err)
{
    return wait_for_others(b, err) < 0 ? -1 : commit_all(b, p, err);
}

const struct storage_driver storage_qcow2 = {
    .name = "qcow2",
    .flags = STORAGE_READS_ORIGIN | STORAGE_ON_BRANCH,
    .claim = qcow2_claim,
    .name_branch = qcow2_name,
    .preflight = qcow2_preflight,
    .preflight_replacing = qcow2_preflight_replacing,
    .create = qcow2_create,
    .remove = chain_remove,
    .inspect = qcow2_inspect,
    .untouched = qcow2_untouched,
    .find_merge = chain_find_merge,
    .merged = chain_merged,
    .changed = sidecar_changed,
    .changes = chain_changes,
    .keep_check = qcow2_keep_check,
    .keep = qcow2_keep,
};
