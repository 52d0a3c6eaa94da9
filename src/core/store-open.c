/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store-open.c: the state database as a file: made, opened, brought to the present format, checked, put aside, closed.
 */
#include "core/store-db.h"
#include "core/store.h"

#include "util/str.h"
#include "util/sys.h"

#include <fcntl.h>

#define APPLICATION_ID 0x766d756e /* "vmun" */

/* The record is last, so that what comes before it can be read without it. */
#define CHECKPOINT_SCHEMA                                                                                              \
    "CREATE TABLE checkpoint (domain TEXT NOT NULL, id INTEGER NOT NULL, parent INTEGER NOT NULL, label TEXT,"         \
    " created_ms INTEGER NOT NULL, recorded INTEGER NOT NULL, pinned INTEGER NOT NULL, running INTEGER NOT NULL,"      \
    " ram INTEGER NOT NULL, consistency TEXT, record TEXT NOT NULL, PRIMARY KEY (domain, id)) WITHOUT ROWID;"          \
    "CREATE UNIQUE INDEX checkpoint_label ON checkpoint (domain, label) WHERE label IS NOT NULL;"                      \
    "CREATE INDEX checkpoint_left ON checkpoint (domain) WHERE label IS NULL AND recorded=0;"

static const char schema[] =
    "CREATE TABLE domain (name TEXT PRIMARY KEY, hypervisor TEXT NOT NULL, config TEXT NOT NULL,"
    " generation INTEGER NOT NULL, instance INTEGER NOT NULL, running INTEGER NOT NULL, bounded INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, every_ms INTEGER NOT NULL,"
    " record TEXT NOT NULL) WITHOUT ROWID;" CHECKPOINT_SCHEMA
    "CREATE TABLE operation (id INTEGER PRIMARY KEY AUTOINCREMENT, domain TEXT NOT NULL, verb TEXT NOT NULL,"
    " stage INTEGER NOT NULL, before TEXT, after TEXT, options TEXT, begun_ms INTEGER NOT NULL, ended_ms INTEGER,"
    " outcome TEXT, message TEXT);"
    "CREATE INDEX operation_domain ON operation (domain, id);"
    "CREATE INDEX operation_unfinished ON operation (id) WHERE ended_ms IS NULL;";

static int make_schema(struct vmundo *v, struct vmundo_error *err)
{
    char sql[64];
    int version;
    if (db_exec(v, "BEGIN IMMEDIATE", err) < 0 || db_number(v, "PRAGMA user_version", &version, err) < 0)
        return -1;
    if (version) /* another process was quicker */
        return db_exec(v, "COMMIT", err);
    snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d", APPLICATION_ID,
             v->rebuilding ? 0 : STORE_VERSION);
    return db_exec(v, schema, err) < 0 || db_exec(v, sql, err) < 0 ? -1 : db_exec(v, "COMMIT", err);
}

int store_rebuilt(struct vmundo *v, struct vmundo_error *err)
{
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA user_version=%d", STORE_VERSION);
    v->rebuilding = false;
    return db_exec(v, sql, err);
}

int store_records(const struct vmundo *v, struct strv *ret, struct vmundo_error *err)
{
    AUTO_STRV struct strv folders = {0};
    if (context_domain_folders(v, &folders, err) < 0)
        return -1;
    for (size_t i = 0; i < folders.n; i++) {
        char path[VMUNDO_NAME_SIZE + sizeof("domains//record.json")];
        snprintf(path, sizeof(path), "domains/%s/record.json", folders.items[i]);
        if (faccessat(v->dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && strv_add(ret, folders.items[i], err) < 0)
            return -1;
    }
    return 0;
}

/* A database without content: the first of a new state directory, or what is left where one was lost. */
static int begin_new(struct vmundo *v, bool ours, struct vmundo_error *err)
{
    AUTO_STRV struct strv records = {0};
    if (!v->rebuilding && ours)
        return db_damaged(v, "its rebuilding was interrupted", err);
    if (!v->rebuilding && store_records(v, &records, err) < 0)
        return -1;
    return records.n ? db_damaged(v, "it is empty, but there are records of domains", err) : make_schema(v, err);
}

/* Format 1 had neither recording nor the columns beside a checkpoint's record. */
static int copy_checkpoints_1(struct vmundo *v, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    int r;
    if (db_query(v, "SELECT record FROM checkpoint_1", &s, err) < 0)
        return -1;
    while ((r = sqlite3_step(s)) == SQLITE_ROW) {
        AUTO_CHECKPOINT struct checkpoint c = {0};
        if (checkpoint_from_text((const char *)sqlite3_column_text(s, 0), &c, err) < 0 ||
            store_put_checkpoint(v, &c, err) < 0)
            return -1;
    }
    return r == SQLITE_DONE ? 0 : db_error(v, err);
}

static int upgrade(struct vmundo *v, struct vmundo_error *err)
{
    int version;
    if (db_exec(v, "BEGIN IMMEDIATE", err) < 0 || db_number(v, "PRAGMA user_version", &version, err) < 0)
        return -1;
    if (version == STORE_VERSION) /* another process was quicker */
        return db_exec(v, "COMMIT", err);
    return db_end(v,
                  db_exec(v,
                          "ALTER TABLE domain ADD COLUMN every_ms INTEGER NOT NULL DEFAULT 0;"
                          "ALTER TABLE checkpoint RENAME TO checkpoint_1;" CHECKPOINT_SCHEMA,
                          err) < 0 ||
                      copy_checkpoints_1(v, err) < 0 ||
                      db_exec(v, "DROP TABLE checkpoint_1; PRAGMA user_version=2", err) < 0,
                  err);
}

static int check_version(struct vmundo *v, struct vmundo_error *err)
{
    int version, application;
    if (db_number(v, "PRAGMA user_version", &version, err) < 0 ||
        db_number(v, "PRAGMA application_id", &application, err) < 0)
        return -1;
    if (version == 0 && (application == 0 || application == APPLICATION_ID))
        return begin_new(v, application == APPLICATION_ID, err);
    if (application != APPLICATION_ID)
        return error_set(err, VMUNDO_FAILED, "%s/state.db is not a database of vmundo", v->state_dir);
    if (version > STORE_VERSION) {
        error_set(err, VMUNDO_FAILED,
                  "the state in %s was written by a newer vmundo (format %d, this one knows %d): "
                  "upgrade, or use another --state-dir",
                  v->state_dir, version, STORE_VERSION);
        if (err)
            err->errnum = ENOTSUP;
        return -1;
    }
    return version == STORE_VERSION || v->dirfd < 0 ? 0 : upgrade(v, err);
}

/* Every command reads the log from its start, 4 µs a page; folding it back takes some flushes. So that is done by a
 * command that finds it long, when it has done its work, and at last within one that goes on for long. */
#define FOLD_PAGES 250
#define FOLD_AT_ONCE_PAGES 1000

static int note_log(void *data, sqlite3 *db, const char *name, int pages)
{
    struct vmundo *v = data;
    v->log_pages = pages;
    if (pages >= FOLD_AT_ONCE_PAGES)
        (void)sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return SQLITE_OK;
}

static int open_path(struct vmundo *v, const char *path, const char *how, struct vmundo_error *err)
{
    if (sqlite3_open_v2(path, &v->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL) != SQLITE_OK)
        return v->db ? db_error(v, err) : error_nomem(err);
    sqlite3_busy_timeout(v->db, 10000);
    sqlite3_db_config(v->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_wal_hook(v->db, note_log, v);
    return db_exec(v, how, err);
}

static int open_file(struct vmundo *v, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    /* SQLite opens by path; the state directory is ours alone, so the path is as good as a descriptor. */
    AUTO_FREE char *path = str_printf(err, "%s/state.db", v->state_dir);
    if (!path)
        return -1;
    /* Made here for its mode, and closed before SQLite opens it: closing it later would drop SQLite's locks. */
    int fd = openat(v->dirfd, "state.db", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", path);
    close(fd);
    if (open_path(v, path, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", &e) == 0)
        return 0;
    if (e.errnum != ENOSPC) {
        if (err)
            *err = e;
        return -1;
    }
    /* Not even for the file with the index of the log, that processes share: alone it can be in memory. */
    store_close(v);
    return open_path(v, path, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", err);
}

int store_open(struct vmundo *v, struct vmundo_error *err)
{
    if (v->dirfd >= 0) {
        if (open_file(v, err) < 0)
            return -1;
    } else if (sqlite3_open(":memory:", &v->db) != SQLITE_OK) {
        return error_nomem(err);
    }
    return check_version(v, err);
}

void store_close(struct vmundo *v)
{
    if (v->db && v->log_pages >= FOLD_PAGES) /* one who reads or writes meanwhile is not waited for */
        (void)sqlite3_wal_checkpoint_v2(v->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    v->log_pages = 0;
    sqlite3_close(v->db);
    v->db = NULL;
}

int store_put_aside(struct vmundo *v, struct vmundo_error *err)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    store_close(v);
    int64_t now = sys_realtime_ms();
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        char from[32], to[64];
        snprintf(from, sizeof(from), "state.db%s", suffixes[i]);
        snprintf(to, sizeof(to), "state.db.damaged-%lld%s", (long long)now, suffixes[i]);
        if (renameat(v->dirfd, from, v->dirfd, to) < 0 && errno != ENOENT)
            return error_errno(err, errno, "cannot rename %s/%s", v->state_dir, from);
    }
    return sys_fsync_dir(v->dirfd) < 0 ? error_errno(err, errno, "cannot sync %s", v->state_dir) : 0;
}

int store_check(struct vmundo *v, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(v, "PRAGMA integrity_check(1)", &s, err) < 0)
        return -1;
    if (sqlite3_step(s) != SQLITE_ROW)
        return db_error(v, err);
    const char *text = (const char *)sqlite3_column_text(s, 0);
    if (str_eq(text, "ok"))
        return 0;
    error_set(err, VMUNDO_FAILED, "the state database is damaged: %.200s", text ? text : "");
    if (err)
        err->errnum = EUCLEAN;
    return -1;
}
