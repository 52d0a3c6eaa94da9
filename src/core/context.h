/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * context.h: an open state directory.
 *
 *     id                       8 hex digits that mark all that this state directory owns
 *     state.db                 SQLite: domains, the journal of operations, the log (store.h)
 *     locks/NAME               flock(2): one operation per domain; origin-HASH: readers and the one keeper of an origin
 *     domains/NAME/record.json the domain's record once more, so that a lost database can be rebuilt (record.h)
 *     domains/NAME/console.log what the guest said
 *     domains/NAME/run.N       the private directory of instance N (hyper.h)
 *     mnt/                     where storage drivers mount branches that are file systems
 */
#ifndef CORE_CONTEXT_H
#define CORE_CONTEXT_H

#include "util/error.h"
#include "util/str.h"

#include <sqlite3.h>

struct vmundo {
    char *state_dir;         /* absolute */
    int dirfd;               /* of state_dir; -1: a dry run without one */
    char *store_id;
    sqlite3 *db;
    int log_pages; /* of the database's write-ahead log after our last transaction */
    bool dry_run;
    bool rebuilding;         /* the database is being made anew from the records beside it */
    vmundo_report_fn report;
    void *report_data;
};

/* vmundo_open() without opening the database (v->db stays NULL): for recover, which may have to put it aside. */
int context_open_dir(const struct vmundo_options *options, struct vmundo **ret, struct vmundo_error *err);

/* For a command that frees room: if there is next to none for the state, give up what was kept for this case. */
void context_give_room(const struct vmundo *v);

/* Tell the caller. text may be NULL where the kind needs none. */
void context_report(const struct vmundo *v, enum vmundo_event_kind kind, const char *domain, const char *text);
void context_progress(const struct vmundo *v, const char *domain, const char *text, uint64_t done, uint64_t total);
void context_stage(const struct vmundo *v, const char *domain, const char *stage);

/* Open (and if create, make) domains/NAME; *ret_fd is the caller's. errnum ENOENT when it is not there. */
int context_domain_dir(const struct vmundo *v, const char *name, bool create, int *ret_fd, struct vmundo_error *err);

/* The names of the folders in domains/, added to *ret. */
int context_domain_folders(const struct vmundo *v, struct strv *ret, struct vmundo_error *err);

/* Remove domains/NAME and all in it, durable: a record.json that came back would be taken for a domain whose row was lost. */
int context_remove_domain_dir(const struct vmundo *v, const char *name, struct vmundo_error *err);

#endif
