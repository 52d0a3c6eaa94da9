/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * storage.h: the contract between the engine and storage drivers.
 *
 * Words. A *volume* is what a driver takes a snapshot of (an image file, a logical volume); its *origin* is the volume
 * as the user made it; a *branch* is the writable copy-on-write child that a domain runs on. Several disks of a domain
 * can lie in one volume and then share one branch.
 *
 * Life of a branch. The planner asks each driver in turn whether it can serve a disk (claim). The winner names the
 * branch (name): a pure function of the volume and the mark, so that the name is in the journal before anything
 * exists. Then: create → attach → (locate: the hypervisor uses it) → detach → remove, or → keep. A driver touches
 * nothing that does not bear its mark, and keeps no state of its own: all that it needs stands in struct branch, which
 * core stores and gives back, perhaps in another process after a power cut.
 *
 * Every callback is idempotent: called again after it succeeded, or after it was cut off at any point, it gives the same
 * end state and succeeds. Creating what exists is success, removing what is gone is success. Success is durable: it
 * survives a power cut. On failure a callback has changed nothing that the same callback (or remove) will not clear up.
 *
 * A missing callback means "cannot"; storage.c turns that into one clear refusal for all drivers. Callers use the
 * storage_* functions below, never a driver's callbacks.
 */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include "storage/stack.h"
#include "util/json.h"
#include "util/progress.h"
#include "util/str.h"

/* Who a branch belongs to. Every branch bears this where its storage has room for it: in its file name and in the
 * extended attribute user.vmundo (files), in LV tags. */
struct mark {
    const char *store;       /* 8 hex digits, one per state directory: two never disturb each other */
    const char *domain;
    uint64_t generation;
};

/* In one line, the caller's. */
char *mark_text(const struct mark *m, struct vmundo_error *err);

/* A branch, planned or real. All strings are owned. */
struct branch {
    const struct storage_driver *driver;
    char *origin;            /* canonical path or device of the volume */
    char *origin_format;     /* raw, qcow2 …; NULL for a volume that holds images */
    char *base;              /* path of another branch of this origin that it starts from, by the same driver, which
                              * nobody writes to at this moment; NULL: it starts from the origin */
    char *path;              /* of the branch itself: image file or device */
    char *format;            /* of the branch: raw, qcow2 …; NULL for a volume that holds images */
    char *mount;             /* where the branch's file system is to be mounted, NULL: it is not mounted */
    char *fingerprint;       /* what the origin was when the branch was made; filled in by create */
    char *consistency;       /* "off": nobody was writing; "crash": somebody may have been */
    uint64_t limit;          /* bytes of changes it can hold; asked for in name, 0: unbounded or the default */
    struct strv inside;      /* of a volume that holds images: claim.inside of each disk that shares the branch */
    json_t *detail;          /* the driver's own, an object, or NULL; "warning" in it is for the user to see */
};

/* How well a driver suits a disk. */
struct claim {
    bool possible;
    char *why;               /* possible: why this one; otherwise: why not. Always set */
    char *cost;              /* "one FICLONE, no space until the guest writes" */
    char *cannot;            /* what users may expect and will not get, NULL: nothing */
    char *volume;            /* origin of the volume; disks with the same driver and volume share one branch */
    char *inside;            /* path of the disk relative to the volume's root, NULL: the disk is the volume */
};

/* How a branch is now. */
struct branch_status {
    bool exists;
    uint64_t used;           /* bytes it has for itself */
    uint64_t limit;          /* of those, 0: unbounded */
    char *health;            /* "ok", or "invalid: …", "overflow: …" */
    bool lost;               /* more room would not bring back what is not ok */
    char *bound;             /* what can fill up under it: "snapshot", "thin data", "thin metadata"; NULL: nothing */
    double fill;             /* how full that is, 0 to 1 */
    uint64_t room;           /* bytes that the guest can write, at least, before it is full */
    uint64_t overhead;       /* of `used`, what is not the disk's content, and goes when it is merged (STORAGE_ON_BRANCH) */
    unsigned depth;          /* how many other branches it rests on, one on the other (STORAGE_ON_BRANCH) */
};

/* So many branches on one another are enough: reading goes through all of them. A rollback may go beyond, since it can be
 * undone only by another one. */
#define STORAGE_MAX_DEPTH 32u

enum storage_flags {
    STORAGE_NEVER_IMPLICIT = 1, /* taken only when asked for by --method */
    STORAGE_READS_ORIGIN = 2,   /* a branch is worth nothing any more when its origin changes under it */
    STORAGE_UNMOUNTED = 4,      /* can serve a file of a file system that is not mounted */
    STORAGE_FROM_BRANCH = 8,    /* create can start from a branch (base), which lives on independently */
    STORAGE_SHARES_BLOCKS = 16, /* other files beside the branch can share blocks with each other too (FICLONE) */
    STORAGE_ON_BRANCH = 32,     /* create can start from a branch (base), on which the new one then rests: nobody may
                                 * write to base any more, and remove keeps what others rest on until they are gone */
};

/* Parts of a disk, in bytes, ascending, none touching the next. */
struct range {
    uint64_t start, length;
};
struct ranges {
    struct range *list;
    size_t n, cap;
};
#define AUTO_RANGES CLEANUP(ranges_clear)
void ranges_clear(struct ranges *r);
/* Add one at the end; it begins where the last one ends, or behind it. */
int ranges_add(struct ranges *r, uint64_t start, uint64_t length, struct vmundo_error *err);

/* Branches on one another of which some belong to nobody any more (STORAGE_ON_BRANCH). What stands in chain[top] and in
 * those between it and chain[base] can be written into chain[base], on which nothing but them rests: then that has the
 * content of chain[top], and takes its place. */
struct merge {
    struct strv chain; /* paths, from the one that a guest may be writing to downwards */
    size_t top, base;  /* 0 < top < base; 0: there is nothing to merge */
};
#define AUTO_MERGE CLEANUP(merge_clear)
void merge_clear(struct merge *m);

struct storage_driver {
    const char *name;
    unsigned flags;

    /* Fill in *ret for a writable disk with this stack and format. Looks only. Fails only when looking failed. */
    int (*claim)(const struct stack *s, const char *format, struct claim *ret, struct vmundo_error *err);

    /* Fill in path, format, mount, limit and detail of b, whose driver, origin and origin_format stand. state_dir is
     * where a mount point can be. Touches nothing; the same arguments give the same names. */
    int (*name_branch)(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err);

    /* Is there room for it, and may we? Called before the journal is written; touches nothing. VMUNDO_REFUSED with
     * numbers. */
    int (*preflight)(const struct branch *b, struct vmundo_error *err);

    /* The same, if the branch `gone` of the same origin were removed before. May be missing: it makes no difference. */
    int (*preflight_replacing)(const struct branch *b, const struct branch *gone, struct vmundo_error *err);

    /* Make the branch of the origin as it is now, bearing the mark, and fill in b->fingerprint. If it exists complete,
     * leave it; if it exists half-made, make it anew. With base: of that branch as it is now, and fingerprint, which is
     * base's, stays. */
    int (*create)(struct branch *b, const struct mark *m, struct vmundo_error *err);

    /* Make a branch that create has made, and that somebody may have open without having read it, one of its base as it is
     * now: the same file or device, with base's content, and the mark. May be missing: that cannot be. What is cut off
     * half way leaves a branch that is worth nothing. */
    int (*refill)(struct branch *b, const struct mark *m, struct vmundo_error *err);
    /* Fill in b what create has filled in when it made this branch, with that mark; VMUNDO_CONFLICT if it is not there,
     * whole. Missing where refill is. */
    int (*recall)(struct branch *b, const struct mark *m, struct vmundo_error *err);

    /* As create, and settle makes it durable: a guest that is paused meanwhile need not wait for the disk. Until then a
     * power cut may leave anything in its place. May be missing, both: then create is called and there is nothing to
     * settle. */
    int (*create_unsettled)(struct branch *b, const struct mark *m, struct vmundo_error *err);
    int (*settle)(const struct branch *b, struct vmundo_error *err);

    /* Make it usable after create or after a reboot (activate, mount), and undo that. May be missing: nothing to do. */
    int (*attach)(const struct branch *b, struct vmundo_error *err);
    int (*detach)(const struct branch *b, struct vmundo_error *err);

    /* Where the hypervisor finds a disk: inside is claim.inside. *ret_format NULL: as the user's configuration says.
     * *ret_block: it is a block device. May be missing: the branch itself. */
    int (*locate)(const struct branch *b, const char *inside, char **ret_path, char **ret_format, bool *ret_block,
                  struct vmundo_error *err);

    /* Detach and destroy it, and whatever container (directory, mount point) is empty after it. STORAGE_ON_BRANCH: while
     * others rest on it, it only counts as removed, and goes with the last of them. */
    int (*remove)(const struct branch *b, struct vmundo_error *err);

    int (*inspect)(const struct branch *b, struct branch_status *ret, struct vmundo_error *err);

    /* Has nothing been written to it since create, as far as its storage knows? True of one that is not there. What a guest
     * wrote and never flushed need not count. Only for STORAGE_ON_BRANCH. */
    int (*untouched)(const struct branch *b, bool *ret, struct vmundo_error *err);

    /* What below b, on which a guest may be running, can be merged? Nothing on which another domain's branches rest,
     * since one of them could be starting. What is left of a merge that was cut off is removed first. May be missing,
     * both: branches that are gone stay until nothing rests on them. */
    int (*find_merge)(const struct branch *b, struct merge *ret, struct vmundo_error *err);
    /* It is written, by whoever has these files open (hyper.h, merge): chain[base] takes the place of chain[top],
     * durably, and what is not needed any more goes. Until then every branch shows what it did, whoever was cut off
     * where: what is written into chain[base] is what those above it show in its place anyway. */
    int (*merged)(const struct merge *m, struct vmundo_error *err);

    /* As inspect, from what costs next to nothing, for lists: ≤ 0.2 ms. *ret->health NULL: not known without a closer
     * look. May be missing: nothing is known. */
    int (*glance)(const struct branch *b, struct branch_status *ret, struct vmundo_error *err);

    /* Give what bounds it more room: `want` bytes if there are as many, and at least as much as the driver finds
     * sensible. VMUNDO_REFUSED when there is none to give. The domain may be running on it, and inspect be called from
     * another thread meanwhile. */
    int (*extend)(const struct branch *b, uint64_t want, struct vmundo_error *err);

    /* Has the origin changed since create? *ret_what says what, the caller's. */
    int (*changed)(const struct branch *b, bool *ret, char **ret_what, struct vmundo_error *err);

    /* Where the disk inside (claim.inside) differs from what it is in `since`, another branch of the same origin, or in
     * the origin (NULL): in bytes of the disk's file or device (of overlays: of the disk in the image). Whole blocks of
     * the storage, so it may be more than differs, and is never less; no data is read. A guest may be writing: then it is
     * as of some moment meanwhile. */
    int (*changes)(const struct branch *b, const struct branch *since, const char *inside, struct ranges *ret,
                   struct vmundo_error *err);

    /* Could keep be done now: room, permission, nobody uses the origin? Touches nothing. */
    int (*keep_check)(const struct branch *b, struct vmundo_error *err);

    /* Make the branch's state the origin's. The hypervisor is off. Until it succeeds the branch stays complete, so that
     * it can be called again after any interruption; afterwards the origin has owner, mode, extended attributes and
     * hard links as before. A reader of the origin sees the old or the new content, where the storage can do that.
     * remove is called after it, in CLEAN. */
    int (*keep)(const struct branch *b, const struct progress *p, struct vmundo_error *err);
};

/* Where the image goes that a disk of a branch is to become: dirfd/name, which must not be there. */
struct export_options {
    const char *inside;          /* claim.inside of the disk */
    const char *format;          /* of the image */
    int dirfd;
    const char *name;
    const struct progress *progress; /* may be NULL */
};

/* ---- registry --------------------------------------------------------------------------------------------------- */

/* Known drivers in the planner's order of preference, NULL-terminated. */
const struct storage_driver *const *storage_drivers(void);
const struct storage_driver *storage_find(const char *name);

/* Choose the driver for one writable disk: the one named by method (NULL: the first that claims it and is not
 * STORAGE_NEVER_IMPLICIT). *ret is its claim. Errors: VMUNDO_USAGE no such method; VMUNDO_REFUSED none can, with every
 * driver's reason. */
int storage_choose(const struct stack *s, const char *format, const char *method,
                   const struct storage_driver **ret_driver, struct claim *ret, struct vmundo_error *err);

/* ---- checked calls: assert the contract, add context to errors, refuse what a driver cannot -------------------------- */

int storage_name(struct branch *b, const struct mark *m, const char *state_dir, struct vmundo_error *err);
int storage_preflight(const struct branch *b, struct vmundo_error *err);
int storage_preflight_replacing(const struct branch *b, const struct branch *gone, struct vmundo_error *err);
int storage_create(struct branch *b, const struct mark *m, struct vmundo_error *err);
int storage_refill(struct branch *b, const struct mark *m, struct vmundo_error *err);
int storage_recall(struct branch *b, const struct mark *m, struct vmundo_error *err);
int storage_create_unsettled(struct branch *b, const struct mark *m, struct vmundo_error *err);
int storage_settle(const struct branch *b, struct vmundo_error *err);
int storage_attach(const struct branch *b, struct vmundo_error *err);
int storage_detach(const struct branch *b, struct vmundo_error *err);
int storage_locate(const struct branch *b, const char *inside, char **ret_path, char **ret_format, bool *ret_block,
                   struct vmundo_error *err);
int storage_remove(const struct branch *b, struct vmundo_error *err);
int storage_inspect(const struct branch *b, struct branch_status *ret, struct vmundo_error *err);
int storage_untouched(const struct branch *b, bool *ret, struct vmundo_error *err);
/* Nothing, with a driver that cannot. */
int storage_find_merge(const struct branch *b, struct merge *ret, struct vmundo_error *err);
int storage_merged(const struct branch *b, const struct merge *m, struct vmundo_error *err);
int storage_glance(const struct branch *b, struct branch_status *ret, struct vmundo_error *err);
int storage_extend(const struct branch *b, uint64_t want, struct vmundo_error *err);
int storage_changed(const struct branch *b, bool *ret, char **ret_what, struct vmundo_error *err);
int storage_changes(const struct branch *b, const struct branch *since, const char *inside, struct ranges *ret,
                    struct vmundo_error *err);
int storage_keep_check(const struct branch *b, struct vmundo_error *err);
int storage_keep(const struct branch *b, const struct progress *p, struct vmundo_error *err);

/* Make one disk of a branch, on which nothing runs, an image of its own; durable, but for its name. Attaches the branch.
 * On failure a part of it may be left. */
int storage_export(const struct branch *b, const struct export_options *o, struct vmundo_error *err);

/* To and from the form in which core stores a branch. */
json_t *branch_to_json(const struct branch *b);
int branch_from_json(const json_t *j, struct branch *ret, struct vmundo_error *err);
void branch_clear(struct branch *b);
void claim_clear(struct claim *c);
void branch_status_clear(struct branch_status *s);

/* ---- shared by drivers --------------------------------------------------------------------------------------------- */

/* image.c: is an image file what its format says, and are it and all that it is based on fit to be read by us? An image
 * is written by its owner, or by a guest, and may name any file of the host as its backing or data file. Errors:
 * VMUNDO_FAILED it is no such image; VMUNDO_REFUSED it leads to a file that its owner might not read. */
int storage_check_image(const char *path, const char *format, struct vmundo_error *err);
/* The size of the disk in it, bytes; 0 when it cannot be told. */
uint64_t storage_image_size(const char *path, const char *format);

/* inuse.c: does anything else have the file or device open: loop devices, descriptors of other processes, mounts, dm
 * holders? writers_only: only those that can write. *ret_who is NULL when nobody does, else one line naming them
 * ("/dev/loop3", "qemu-system-x86 (pid 812)"), the caller's. */
int storage_in_use(const struct stack *s, bool writers_only, char **ret_who, struct vmundo_error *err);

/* fingerprint.c: what a file or device is now, as text. Files: inode, birth, size and modification time (not the device
 * number, which is another after the next mount). Devices: size, sequence number and write counter within one boot, else
 * a hash of samples. The _fd forms take an open descriptor. *ret_what (NULL when unchanged) says what has changed, the
 * caller's. */
int fingerprint_take(const char *path, char **ret, struct vmundo_error *err);
int fingerprint_take_fd(int fd, char **ret, struct vmundo_error *err);
int fingerprint_compare(const char *path, const char *then, bool *ret_changed, char **ret_what,
                        struct vmundo_error *err);
int fingerprint_compare_fd(int fd, const char *then, bool *ret_changed, char **ret_what, struct vmundo_error *err);

/* sidecar.c: the .vmundo directory beside an image (mode 0700, ours, not a link) and the names of branches in it. */
char *sidecar_path(const char *origin, const struct mark *m, const char *suffix, struct vmundo_error *err);
int sidecar_open(const char *branch_path, bool create, int *ret_dirfd, const char **ret_base,
                 struct vmundo_error *err);
/* A file for a guest's RAM, there: mode 0600. from NULL: size bytes of nothing. Else a clone of that file, which must be
 * of the same size (0: of any); *m says whose RAM. What was there before goes. durable: it survives a power cut. */
int storage_ram_make(const char *path, const char *from, uint64_t size, const struct mark *m, bool durable,
                     struct vmundo_error *err);
/* A second name for a RAM file that nobody writes to any more, in the same file system: whoever maps the one shares memory
 * with whoever maps the other. It keeps its mark, and lives as long as one of its names. Durable. */
int storage_ram_share(const char *path, const char *with, struct vmundo_error *err);
/* Put the content of the RAM file `from`, of the same size, into one that is there, and that may be open and mapped; from
 * now on it is *m's. Not durable. */
int storage_ram_refill(const char *path, const char *from, const struct mark *m, struct vmundo_error *err);
/* Make it durable now. */
int storage_ram_settle(const char *path, struct vmundo_error *err);
/* Is that the RAM of *m? VMUNDO_CONFLICT: another's. */
int storage_ram_check(const char *path, const struct mark *m, struct vmundo_error *err);
int storage_ram_remove(const char *path, struct vmundo_error *err);
int sidecar_tidy(const char *branch_path, struct vmundo_error *err);  /* remove the directory if it is empty */

#endif
