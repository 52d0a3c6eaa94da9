/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store-db.c: see store-db.h. Errors of SQLite are told apart in one place, db_error(): a damaged database, a full disk
 * and a lock that others hold want different advice.
 */
#include "core/store-db.h"

#include "util/str.h"

int db_damaged(const struct vmundo *v, const char *how, struct vmundo_error *err)
{
    error_set(err, VMUNDO_FAILED,
              "the state database %s/state.db is damaged (%s): 'vmundo recover' rebuilds it from what is on disk",
              v->state_dir, how);
    if (err)
        err->errnum = EUCLEAN;
    return -1;
}

int db_error(struct vmundo *v, struct vmundo_error *err)
{
    int code = sqlite3_errcode(v->db);
    const char *msg = sqlite3_errmsg(v->db);
    /* The file beside the database by which processes share its index cannot be made: that, too, is no room. */
    if ((code & 0xff) == SQLITE_IOERR && sqlite3_system_errno(v->db) == ENOSPC)
        code = SQLITE_FULL;
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return db_damaged(v, msg, err);
    case SQLITE_FULL:
        error_set(err, VMUNDO_FAILED, "no space left for the state database in %s: free some, then try again",
                  v->state_dir);
        if (err)
            err->errnum = ENOSPC;
        return -1;
    case SQLITE_BUSY:
        return error_set(err, VMUNDO_CONFLICT, "the state database in %s is locked by another process: try again",
                         v->state_dir);
    case SQLITE_NOMEM:
        return error_nomem(err);
    default:
        break;
    }
    int errnum = v->db ? sqlite3_system_errno(v->db) : 0;
    return errnum ? error_errno(err, errnum, "the state database in %s: %s", v->state_dir, msg)
                  : error_set(err, VMUNDO_FAILED, "the state database in %s: %s", v->state_dir, msg);
}

int db_exec(struct vmundo *v, const char *sql, struct vmundo_error *err)
{
    return sqlite3_exec(v->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_error(v, err);
}

int db_query(struct vmundo *v, const char *sql, sqlite3_stmt **ret, struct vmundo_error *err)
{
    return sqlite3_prepare_v2(v->db, sql, -1, ret, NULL) == SQLITE_OK ? 0 : db_error(v, err);
}

int db_bind_text(sqlite3_stmt *s, int i, const char *text)
{
    return sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC);
}

int db_column_copy(sqlite3_stmt *s, int i, char **ret, struct vmundo_error *err)
{
    return str_copy((const char *)sqlite3_column_text(s, i), ret, err);
}

int db_number(struct vmundo *v, const char *sql, int *ret, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(v, sql, &s, err) < 0)
        return -1;
    if (sqlite3_step(s) != SQLITE_ROW)
        return db_error(v, err);
    *ret = sqlite3_column_int(s, 0);
    return 0;
}

/* When the flush of a commit fails, the commit has failed, and yet is whole in the log: the next process that reads the
 * log anew would find it there, and believe it. Any commit after it overwrites it, so one is made, which changes
 * nothing. Where that fails, too, nobody knows now what will be found: VMUNDO_INTERRUPTED. */
static int disown(struct vmundo *v, int code, struct vmundo_error *err)
{
    char sql[64];
    int version;
    if ((code & 0xff) == SQLITE_FULL || (code & 0xff) == SQLITE_BUSY || code == SQLITE_IOERR_WRITE)
        return -1; /* it is not whole */
    if (db_number(v, "PRAGMA user_version", &version, NULL) == 0) {
        snprintf(sql, sizeof(sql), "PRAGMA user_version=%d", version);
        if (db_exec(v, sql, NULL) == 0)
            return -1;
    }
    if (err)
        err->code = VMUNDO_INTERRUPTED;
    return error_wrap(err, "what the state database holds now is uncertain ('vmundo recover' will tell)");
}

int db_run(struct vmundo *v, sqlite3_stmt *s, struct vmundo_error *err)
{
    if (sqlite3_step(s) == SQLITE_DONE)
        return 0;
    int code = sqlite3_extended_errcode(v->db);
    db_error(v, err);
    return sqlite3_get_autocommit(v->db) ? disown(v, code, err) : -1;
}

int db_end(struct vmundo *v, int work, struct vmundo_error *err)
{
    if (work == 0 && db_exec(v, "COMMIT", err) == 0)
        return 0;
    int code = sqlite3_extended_errcode(v->db);
    sqlite3_exec(v->db, "ROLLBACK", NULL, NULL, NULL);
    return work == 0 ? disown(v, code, err) : -1;
}
