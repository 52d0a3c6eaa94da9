/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * record.h: all that vmundo knows of a domain, as one value.
 *
 * An operation is the step from one record to another (operation.h); the store keeps records as JSON. What is true of
 * the world (does it run, how full is the branch) is never in a record: that is asked when it matters.
 */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include "config/domain.h"
#include "storage/storage.h"

struct record_disk {
    char *vdev;
    char *target;            /* the user's, absolute; NULL: empty drive */
    char *format;            /* the user's */
    bool readonly, cdrom;
    int64_t branch;          /* index into record.branches, -1: passed through */
    char *inside;            /* path in the branch's file system, NULL: the branch is the disk */
    char *why, *cost, *cannot;
};

struct record {
    char *name;
    char *config_path;       /* the user's file */
    char *config_text;       /* its bytes at run; later changes to the file do not count */
    char *hypervisor;
    char *accel, *net;       /* as asked for, or NULL */
    uint64_t generation;     /* of the branches */
    uint64_t counter;        /* the highest generation given out, to branches or to a checkpoint */
    uint64_t base;           /* the checkpoint that the branches descend from, 0: the origin */
    uint64_t instance;       /* number of the last start, 0: never started */
    bool running;            /* it was left running: instance is the one, unless it ended by itself */
    char *ram;               /* where the running instance has its RAM file, if there is one; NULL: anonymous RAM */
    char *ram_base;          /* RAM file of the checkpoint that the instance starts from, and */
    char *saved;             /* the devices of that instant; NULL: it boots */
    bool ram_private;        /* ram_base is not cloned but shared with others, read-only; ram is NULL then */
    char *ram_of;            /* what RAM and saved devices (of a checkpoint, or what it starts from) bear the mark of: a */
    uint64_t ram_at;         /* domain, and its checkpoint's id; NULL and 0: of one of its own, as their place says */
    bool anonymous;          /* no RAM file is wanted */
    char *parent;            /* of a fork: what it was forked from, "web@before", for people; NULL: it is none */
    uint64_t home;           /* the checkpoint that a rollback goes back to unless told otherwise, 0: the origin */
    bool isolated;           /* its network leads nowhere */
    bool keep_reserve;       /* an instance in reserve is wanted while it runs (reserve.h) */
    uint64_t reserve;        /* the generation of the branches of that instance, 0: there is none, and */
    uint64_t reserve_instance; /* its number */
    uint64_t reserve_at;       /* the checkpoint that it has loaded; 0: none yet */
    uint64_t extend_at, pause_at; /* for the guard, per cent; 0: its defaults */
    bool unguarded;          /* no guard is wanted */
    uint64_t every_ms;       /* it is recorded this often (recorder.h), 0: it is not; */
    uint64_t keep_ms, keep_bytes; /* so long at most, and so much, 0: as there is room; */
    bool disks_only;         /* without its RAM */
    int64_t created_ms;
    struct record_disk *disks;
    size_t n_disks;
    struct branch *branches;
    size_t n_branches;
};

void record_clear(struct record *r);
int record_to_text(const struct record *r, char **ret, struct vmundo_error *err);
int record_from_text(const char *text, struct record *ret, struct vmundo_error *err);
int record_copy(const struct record *r, struct record *ret, struct vmundo_error *err);

/* Give the instance to be started a RAM file, named by number, beside the first branch that shares blocks; none where
 * there is no such branch, the hypervisor cannot, or none is wanted. */
int record_plan_ram(const char *store_id, struct record *r, uint64_t number, struct vmundo_error *err);
/* It has no RAM any more. */
void record_forget_ram(struct record *r);
/* It has no instance in reserve. */
void record_forget_reserve(struct record *r);

/* Does the domain write to this disk's origin itself? */
bool record_disk_is_unprotected(const struct record_disk *d);

/* Does it have a branch that can fill up? */
bool record_is_bounded(const struct record *r);

/* Does r (may be NULL) have a branch at this path? */
bool record_has_branch(const struct record *r, const char *path);

#endif
