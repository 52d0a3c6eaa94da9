/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store.h: the state database (SQLite, WAL, synchronous=FULL): what a call here has answered with success survives a
 * power cut. Three kinds of rows: domains, journal entries of unfinished operations, and the same entries as the log
 * once they are finished.
 */
#ifndef CORE_STORE_H
#define CORE_STORE_H

#include "core/checkpoint.h"
#include "core/context.h"
#include "util/str.h"

/* Version of the schema, PRAGMA user_version. */
#define STORE_VERSION 2

/* The verb of the operations by which the recorder makes checkpoints. They change nothing that a user sees in a domain,
 * so they do not count as under way, and are not in the log. */
#define STORE_RECORDING "recording"

/* A row of the domain table; text is the record as JSON, NULL in listings. */
struct store_domain {
    char *name, *hypervisor, *config, *text;
    uint64_t generation, instance;
    bool running;
    bool bounded;      /* record_is_bounded() */
    uint64_t every_ms; /* it is recorded this often, 0: it is not */
    int64_t created_ms;
    char *pending; /* verb of an unfinished operation, NULL: none */
};

/* A row of the checkpoint table, without its record. */
struct store_row {
    uint64_t id, parent;
    char *label; /* NULL: recorded, or what a rollback left behind */
    int64_t created_ms;
    bool recorded, pinned, ram;
    bool running; /* the domain ran */
    char *consistency;
};
struct store_rows {
    struct store_row *items; /* by id */
    size_t n;
};

/* A checkpoint that becomes another one's child. */
struct store_move {
    uint64_t id, parent;
};

/* A journal entry. before and after are records as JSON, NULL: no such domain. */
struct store_operation {
    int64_t id;
    char *domain, *verb;
    int stage;
    char *before, *after;
    char *options;                  /* what redoing it needs to know beyond the records, JSON */
    const struct checkpoint *made;  /* for store_switched(): a checkpoint that takes effect, NULL: none, */
    const struct checkpoints *gone; /* those that go, NULL: none, */
    const struct store_move *moved; /* and those that get another parent. None of these is owned */
    size_t n_moved;
};

/* Errors: VMUNDO_FAILED; errnum is EUCLEAN for a database that is damaged, or is not there although there are records
 * of domains (the message then points to recover), ENOTSUP for one of a newer version. With v->rebuilding a new one is
 * made, which counts as damaged until store_rebuilt(). */
int store_open(struct vmundo *v, struct vmundo_error *err);
int store_rebuilt(struct vmundo *v, struct vmundo_error *err);
/* Names of the folders in domains/ that hold a record. */
int store_records(const struct vmundo *v, struct strv *ret, struct vmundo_error *err);
void store_close(struct vmundo *v);
/* Rename the database aside (state.db.damaged-N). */
int store_put_aside(struct vmundo *v, struct vmundo_error *err);
/* PRAGMA integrity_check: success, or EUCLEAN. */
int store_check(struct vmundo *v, struct vmundo_error *err);

/* *ret_text NULL: no such domain. The caller frees it. */
int store_get(struct vmundo *v, const char *name, char **ret_text, struct vmundo_error *err);
/* The same, parsed. VMUNDO_NOT_FOUND says where to look. */
int store_get_record(struct vmundo *v, const char *name, struct record *ret, struct vmundo_error *err);
/* All rows by name, without text; the caller frees with store_domains_free. */
int store_list(struct vmundo *v, struct store_domain **ret, size_t *ret_n, struct vmundo_error *err);
void store_domains_free(struct store_domain *rows, size_t n);

/* Journal. begin: op->id is filled in. switched: the record takes effect (after, unless NULL) together with the stage,
 * in one transaction; where there was no begin it is that, too. finish: the record takes effect for good (after NULL:
 * the domain is deleted), the entry becomes a log line with outcome and message. abandon: it never happened. */
struct record;
int store_begin(struct vmundo *v, struct store_operation *op, struct vmundo_error *err);
int store_switched(struct vmundo *v, struct store_operation *op, const struct record *after, struct vmundo_error *err);
int store_finish(struct vmundo *v, const struct store_operation *op, const struct record *after, const char *outcome,
                 const char *message, struct vmundo_error *err);
int store_abandon(struct vmundo *v, const struct store_operation *op, const char *outcome, const char *message,
                  struct vmundo_error *err);

/* The unfinished operation of a domain, or with name NULL the oldest of any with id > after_id. ret->id 0: none. */
int store_unfinished(struct vmundo *v, const char *name, int64_t after_id, struct store_operation *ret,
                     struct vmundo_error *err);
void store_operation_clear(struct store_operation *op);

/* A line of the log that is no operation: something was noticed or done by itself. */
int store_note(struct vmundo *v, const char *domain, const char *what, const char *outcome, const char *message,
               struct vmundo_error *err);

/* The checkpoints of a domain, by id; the caller clears them. Costs as much as there are: what is to be shown or chosen
 * from are rows, of which 1,000 take about a millisecond. */
int store_checkpoints(struct vmundo *v, const char *domain, struct checkpoints *ret, struct vmundo_error *err);
int store_rows(struct vmundo *v, const char *domain, struct store_rows *ret, struct vmundo_error *err);
void store_rows_clear(struct store_rows *rows);
/* One of them. Errors: VMUNDO_NOT_FOUND. */
int store_checkpoint(struct vmundo *v, const char *domain, uint64_t id, struct checkpoint *ret,
                     struct vmundo_error *err);
/* The one with that label. Errors: VMUNDO_NOT_FOUND. */
int store_get_checkpoint(struct vmundo *v, const char *domain, const char *label, struct checkpoint *ret,
                         struct vmundo_error *err);
/* That error. Returns -1. */
int store_no_checkpoint(const char *domain, const char *label, struct vmundo_error *err);
/* The id of the one with that label, or with label NULL of what a rollback left behind; *ret 0: there is none. */
int store_find_checkpoint(struct vmundo *v, const char *domain, const char *label, uint64_t *ret,
                          struct vmundo_error *err);
/* Put in, or replace. */
int store_put_checkpoint(struct vmundo *v, const struct checkpoint *c, struct vmundo_error *err);

/* Put a record in as it is, outside any operation (recover's rebuilding). */
int store_put(struct vmundo *v, const struct record *r, struct vmundo_error *err);

/* vmundo_log() */
int store_log(struct vmundo *v, const char *name, unsigned limit, struct vmundo_log *ret, struct vmundo_error *err);

#endif
