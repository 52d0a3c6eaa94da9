/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * checkpoint.h: a state of a domain that can be gone back to. It is the record of the domain as it was, with its
 * branches replaced by copies that nobody writes to, and what else there is to know: what it descends from, its name,
 * its RAM.
 *
 * Its id is the generation of its branches, so their names follow from it like those of any branch. The tree is made of
 * ids: each checkpoint has a parent, and a domain's record a base, the checkpoint that its branches descend from; 0 is the
 * origin. Most branches do not depend on what they were made from, so that any checkpoint can go at any time. Those that
 * do (STORAGE_ON_BRANCH) are not copied: the checkpoint has the branch itself, and the domain goes on in a new one that
 * rests on it, named by the checkpoint's id; the storage keeps what others rest on.
 */
#ifndef CORE_CHECKPOINT_H
#define CORE_CHECKPOINT_H

#include "core/context.h"
#include "core/record.h"

struct checkpoint {
    uint64_t id, parent;
    char *label;   /* NULL: recorded, or what a rollback left behind */
    bool recorded; /* made by recording (recorder.h): it has no label, and goes when its time has come */
    int64_t created_ms;
    bool pinned;          /* goes only when its domain goes */
    char *consistency;    /* "off", "paused", "crash", or "quiesced" */
    char *saved;          /* file with the guest's devices (hyper.h, save); NULL: without RAM */
    struct record record; /* as it was then; branches are the copies, ram the copy of its RAM file */
};

struct checkpoints {
    struct checkpoint *items; /* by id */
    size_t n;
};

void checkpoint_clear(struct checkpoint *c);
void checkpoints_clear(struct checkpoints *c);
#define AUTO_CHECKPOINTS CLEANUP(checkpoints_clear)
#define AUTO_CHECKPOINT CLEANUP(checkpoint_clear)

int checkpoint_to_text(const struct checkpoint *c, char **ret, struct vmundo_error *err);
int checkpoint_from_text(const char *text, struct checkpoint *ret, struct vmundo_error *err);

/* A checkpoint of r to be: id is the next free one, the branches are named and start from r's. Touches nothing. Errors:
 * VMUNDO_REFUSED for a branch that cannot be branched again, or a disk that has none. */
int checkpoint_plan(const struct vmundo *v, const struct record *r, const char *label, bool ram, struct checkpoint *ret,
                    struct vmundo_error *err);

/* Let r, the domain as it is to be after that checkpoint, go on in new branches where the checkpoint has its own. */
int checkpoint_move_on(const struct vmundo *v, const struct checkpoint *c, struct record *r, struct vmundo_error *err);

/* What a rollback leaves behind: r's own branches. */
int checkpoint_of_leftover(const struct record *r, struct checkpoint *ret, struct vmundo_error *err);
/* Could it be gone back to? */
bool record_can_branch(const struct record *r);

/* Let r, whose generation is set, start from c: its branches and, with ram, the guest's memory. */
int checkpoint_apply(const struct checkpoint *c, bool ram, struct record *r, struct vmundo_error *err);

/* Can r be forked, that is, its branches be copied? A fork rests on nothing of another domain's. Errors: VMUNDO_REFUSED. */
int checkpoint_check_fork(const struct record *r, struct vmundo_error *err);

/* A checkpoint of another domain to be, whose record (name, configuration …) stands in *ret: its first, made of `from`,
 * which may be no checkpoint but the branches of a domain that is off (no `saved`). Its branches are named and start from
 * from's. Touches nothing. Errors: VMUNDO_REFUSED for branches that cannot be branched again. */
int checkpoint_plan_fork(const struct vmundo *v, const struct checkpoint *from, bool ram, struct checkpoint *ret,
                         struct vmundo_error *err);

/* Remove what belongs to c and not to stays (may be NULL): branches, RAM, saved devices, and its mark. durable: for the
 * last two, so that they, and those of others removed before, do not come back after a power cut. */
int checkpoint_remove(const struct vmundo *v, const struct checkpoint *c, const struct record *stays, bool durable,
                      struct vmundo_error *err);

/* domains/NAME/checkpoints, where saved and the marks are. */
int checkpoint_open_folder(const struct vmundo *v, const char *domain, bool create, int *ret, struct vmundo_error *err);

/* The mark from which a lost database is rebuilt: domains/NAME/checkpoints/ID.json. Not durable: when the database is lost
 * in a power cut, it may be, too. */
int checkpoint_write_mark(const struct vmundo *v, const struct checkpoint *c, bool durable, struct vmundo_error *err);

/* For messages: its label, or what it is instead. */
const char *checkpoint_name(const struct checkpoint *c);

#endif
