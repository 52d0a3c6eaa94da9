/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store-db.h: SQLite for the files of the store. A query prepares, then the caller binds and steps. Errors:
 * VMUNDO_FAILED (errnum EUCLEAN: damaged; ENOSPC: no room), VMUNDO_CONFLICT somebody else has it locked,
 * VMUNDO_INTERRUPTED nobody knows whether it was committed.
 */
#ifndef CORE_STORE_DB_H
#define CORE_STORE_DB_H

#include "core/context.h"
#include "util/cleanup.h"

static inline void cleanup_stmt(sqlite3_stmt **s)
{
    sqlite3_finalize(*s);
}
#define AUTO_STMT CLEANUP(cleanup_stmt)

/* Report what SQLite has just said, or that the database is damaged, and how. Always -1. */
int db_error(struct vmundo *v, struct vmundo_error *err);
int db_damaged(const struct vmundo *v, const char *how, struct vmundo_error *err);

int db_exec(struct vmundo *v, const char *sql, struct vmundo_error *err);
int db_query(struct vmundo *v, const char *sql, sqlite3_stmt **ret, struct vmundo_error *err);
/* Step a statement that gives no rows. Outside of a transaction it is one. */
int db_run(struct vmundo *v, sqlite3_stmt *s, struct vmundo_error *err);
/* End the transaction that work has filled: 0 commits, anything else rolls back. */
int db_end(struct vmundo *v, int work, struct vmundo_error *err);

/* The text must live until the statement is finalized. Returns what SQLite does. */
int db_bind_text(sqlite3_stmt *s, int i, const char *text);
/* *ret is the caller's, NULL for NULL. */
int db_column_copy(sqlite3_stmt *s, int i, char **ret, struct vmundo_error *err);
/* What a statement that gives one number gives. */
int db_number(struct vmundo *v, const char *sql, int *ret, struct vmundo_error *err);

#endif
