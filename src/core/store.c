/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store.c: the state database. Each function is one statement or one transaction; query() prepares and binds, the
 * caller steps. Errors of SQLite are told apart in one place, db_error(): a damaged database, a full disk and a lock
 * that others hold want different advice.
 *
 * The write-ahead log is not folded back at every close (that would cost each command several fsyncs), only when SQLite
 * finds it long enough.
 */
#include "core/store.h"

#include "core/record.h"
#include "util/cleanup.h"
#include "util/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#define APPLICATION_ID 0x766d756e /* "vmun" */
#define LOG_KEPT 10000

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

static int end_transaction(struct vmundo *v, int work, struct vmundo_error *err);

static void cleanup_stmt(sqlite3_stmt **s)
{
    sqlite3_finalize(*s);
}
#define AUTO_STMT CLEANUP(cleanup_stmt)

static int damaged(const struct vmundo *v, const char *how, struct vmundo_error *err)
{
    error_set(err, VMUNDO_FAILED,
              "the state database %s/state.db is damaged (%s): 'vmundo recover' rebuilds it from what is on disk",
              v->state_dir, how);
    if (err)
        err->errnum = EUCLEAN;
    return -1;
}

static int db_error(struct vmundo *v, struct vmundo_error *err)
{
    int code = sqlite3_errcode(v->db);
    const char *msg = sqlite3_errmsg(v->db);
    /* The file beside the database by which processes share its index cannot be made: that, too, is no room. */
    if ((code & 0xff) == SQLITE_IOERR && sqlite3_system_errno(v->db) == ENOSPC)
        code = SQLITE_FULL;
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return damaged(v, msg, err);
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

static int exec(struct vmundo *v, const char *sql, struct vmundo_error *err)
{
    return sqlite3_exec(v->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_error(v, err);
}

static int query(struct vmundo *v, const char *sql, sqlite3_stmt **ret, struct vmundo_error *err)
{
    return sqlite3_prepare_v2(v->db, sql, -1, ret, NULL) == SQLITE_OK ? 0 : db_error(v, err);
}

static int bind_text(sqlite3_stmt *s, int i, const char *text)
{
    return sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC);
}

static int column_copy(sqlite3_stmt *s, int i, char **ret, struct vmundo_error *err)
{
    return str_copy((const char *)sqlite3_column_text(s, i), ret, err);
}

static int pragma_number(struct vmundo *v, const char *sql, int *ret, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v, sql, &s, err) < 0)
        return -1;
    if (sqlite3_step(s) != SQLITE_ROW)
        return db_error(v, err);
    *ret = sqlite3_column_int(s, 0);
    return 0;
}

/* When the flush of a commit fails, the commit has failed, and yet is whole in the log: the next process that reads the log
 * anew would find it there, and believe it. Any commit after it overwrites it, so one is made, which changes nothing. Where
 * that fails, too, nobody knows now what will be found: VMUNDO_INTERRUPTED. */
static int disown(struct vmundo *v, int code, struct vmundo_error *err)
{
    char sql[64];
    int version;
    if ((code & 0xff) == SQLITE_FULL || (code & 0xff) == SQLITE_BUSY || code == SQLITE_IOERR_WRITE)
        return -1; /* it is not whole */
    if (pragma_number(v, "PRAGMA user_version", &version, NULL) == 0) {
        snprintf(sql, sizeof(sql), "PRAGMA user_version=%d", version);
        if (exec(v, sql, NULL) == 0)
            return -1;
    }
    if (err)
        err->code = VMUNDO_INTERRUPTED;
    return error_wrap(err, "what the state database holds now is uncertain ('vmundo recover' will tell)");
}

/* Step a statement that gives no rows. Outside of a transaction it is one. */
static int run(struct vmundo *v, sqlite3_stmt *s, struct vmundo_error *err)
{
    if (sqlite3_step(s) == SQLITE_DONE)
        return 0;
    int code = sqlite3_extended_errcode(v->db);
    db_error(v, err);
    return sqlite3_get_autocommit(v->db) ? disown(v, code, err) : -1;
}

/* ---- opening ------------------------------------------------------------------------------------------------------
 */

static int make_schema(struct vmundo *v, struct vmundo_error *err)
{
    char sql[64];
    int version;
    if (exec(v, "BEGIN IMMEDIATE", err) < 0 || pragma_number(v, "PRAGMA user_version", &version, err) < 0)
        return -1;
    if (version) /* another process was quicker */
        return exec(v, "COMMIT", err);
    snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d", APPLICATION_ID,
             v->rebuilding ? 0 : STORE_VERSION);
    return exec(v, schema, err) < 0 || exec(v, sql, err) < 0 ? -1 : exec(v, "COMMIT", err);
}

int store_rebuilt(struct vmundo *v, struct vmundo_error *err)
{
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA user_version=%d", STORE_VERSION);
    v->rebuilding = false;
    return exec(v, sql, err);
}

static void cleanup_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

int store_records(const struct vmundo *v, struct strv *ret, struct vmundo_error *err)
{
    if (v->dirfd < 0)
        return 0;
    int fd = openat(v->dirfd, "domains", O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    CLEANUP(cleanup_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return error_errno(err, errno, "cannot read %s/domains", v->state_dir);
    const struct dirent *e;
    int r;
    while ((r = sys_next_entry(d, &e, err)) > 0) {
        char path[NAME_MAX + sizeof("/record.json")];
        snprintf(path, sizeof(path), "%s/record.json", e->d_name);
        if (vmundo_name_is_valid(e->d_name) && faccessat(fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
            strv_add(ret, e->d_name, err) < 0)
            return -1;
    }
    return r;
}

/* A database without content: the first of a new state directory, or what is left where one was lost. */
static int begin_new(struct vmundo *v, bool ours, struct vmundo_error *err)
{
    AUTO_STRV struct strv records = {0};
    if (!v->rebuilding && ours)
        return damaged(v, "its rebuilding was interrupted", err);
    if (!v->rebuilding && store_records(v, &records, err) < 0)
        return -1;
    return records.n ? damaged(v, "it is empty, but there are records of domains", err) : make_schema(v, err);
}

/* Format 1 had neither recording nor the columns beside a checkpoint's record. */
static int copy_checkpoints_1(struct vmundo *v, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    int r;
    if (query(v, "SELECT record FROM checkpoint_1", &s, err) < 0)
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
    if (exec(v, "BEGIN IMMEDIATE", err) < 0 || pragma_number(v, "PRAGMA user_version", &version, err) < 0)
        return -1;
    if (version == STORE_VERSION) /* another process was quicker */
        return exec(v, "COMMIT", err);
    return end_transaction(v,
                           exec(v,
                                "ALTER TABLE domain ADD COLUMN every_ms INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE checkpoint RENAME TO checkpoint_1;" CHECKPOINT_SCHEMA,
                                err) < 0 ||
                               copy_checkpoints_1(v, err) < 0 ||
                               exec(v, "DROP TABLE checkpoint_1; PRAGMA user_version=2", err) < 0,
                           err);
}

static int check_version(struct vmundo *v, struct vmundo_error *err)
{
    int version, application;
    if (pragma_number(v, "PRAGMA user_version", &version, err) < 0 ||
        pragma_number(v, "PRAGMA application_id", &application, err) < 0)
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

static int open_path(struct vmundo *v, const char *path, const char *how, struct vmundo_error *err)
{
    if (sqlite3_open_v2(path, &v->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL) != SQLITE_OK)
        return v->db ? db_error(v, err) : error_nomem(err);
    sqlite3_busy_timeout(v->db, 10000);
    sqlite3_db_config(v->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return exec(v, how, err);
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
    if (query(v, "PRAGMA integrity_check(1)", &s, err) < 0)
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

/* ---- domains ------------------------------------------------------------------------------------------------------
 */

int store_get(struct vmundo *v, const char *name, char **ret_text, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v, "SELECT record FROM domain WHERE name=?", &s, err) < 0)
        return -1;
    bind_text(s, 1, name);
    int r = sqlite3_step(s);
    if (r == SQLITE_DONE) {
        *ret_text = NULL;
        return 0;
    }
    return r == SQLITE_ROW ? column_copy(s, 0, ret_text, err) : db_error(v, err);
}

int store_get_record(struct vmundo *v, const char *name, struct record *ret, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    if (store_get(v, name, &text, err) < 0)
        return -1;
    if (!text)
        return error_set(err, VMUNDO_NOT_FOUND, "there is no domain '%.63s': 'vmundo list' shows those that there are",
                         name);
    return record_from_text(text, ret, err) < 0 ? error_wrap(err, "%s", name) : 0;
}

void store_domains_free(struct store_domain *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(rows[i].name);
        free(rows[i].hypervisor);
        free(rows[i].config);
        free(rows[i].text);
        free(rows[i].pending);
    }
    free(rows);
}

static int read_row(sqlite3_stmt *s, struct store_domain *d, struct vmundo_error *err)
{
    if (column_copy(s, 0, &d->name, err) < 0 || column_copy(s, 1, &d->hypervisor, err) < 0 ||
        column_copy(s, 2, &d->config, err) < 0 || column_copy(s, 7, &d->pending, err) < 0)
        return -1;
    d->generation = (uint64_t)sqlite3_column_int64(s, 3);
    d->instance = (uint64_t)sqlite3_column_int64(s, 4);
    d->running = sqlite3_column_int(s, 5);
    d->created_ms = sqlite3_column_int64(s, 6);
    d->bounded = sqlite3_column_int(s, 8);
    d->every_ms = (uint64_t)sqlite3_column_int64(s, 9);
    return 0;
}

int store_list(struct vmundo *v, struct store_domain **ret, size_t *ret_n, struct vmundo_error *err)
{
    /* The second half: domains that an unfinished run has not yet put into the table. */
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v,
              "SELECT d.name, hypervisor, config, generation, instance, running, created_ms,"
              " (SELECT verb FROM operation o WHERE o.domain=d.name AND ended_ms IS NULL AND verb<>'" STORE_RECORDING
              "' LIMIT 1), bounded, every_ms"
              " FROM domain d UNION ALL"
              " SELECT domain, '', '', 0, 0, 0, begun_ms, verb, 0, 0 FROM operation WHERE ended_ms IS NULL"
              " AND domain NOT IN (SELECT name FROM domain) ORDER BY 1",
              &s, err) < 0)
        return -1;
    struct store_domain *rows = NULL;
    size_t n = 0, room = 0;
    int r, failed = 0;
    while (!failed && (r = sqlite3_step(s)) == SQLITE_ROW) {
        if (n == room) {
            room = room ? 2 * room : 16;
            struct store_domain *more = reallocarray(rows, room, sizeof(*rows));
            if (!more) {
                failed = error_nomem(err);
                break;
            }
            rows = more;
        }
        rows[n] = (struct store_domain){0};
        failed = read_row(s, &rows[n++], err);
    }
    if (!failed && r != SQLITE_DONE)
        failed = db_error(v, err);
    if (failed) {
        store_domains_free(rows, n);
        return -1;
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}

int store_put(struct vmundo *v, const struct record *r, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (record_to_text(r, &text, err) < 0 ||
        query(v,
              "INSERT OR REPLACE INTO domain (name, hypervisor, config, generation, instance, running, created_ms,"
              " record, bounded, every_ms) VALUES (?,?,?,?,?,?,?,?,?,?)",
              &s, err) < 0)
        return -1;
    bind_text(s, 1, r->name);
    bind_text(s, 2, r->hypervisor);
    bind_text(s, 3, r->config_path);
    sqlite3_bind_int64(s, 4, (sqlite3_int64)r->generation);
    sqlite3_bind_int64(s, 5, (sqlite3_int64)r->instance);
    sqlite3_bind_int(s, 6, r->running);
    sqlite3_bind_int64(s, 7, r->created_ms);
    bind_text(s, 8, text);
    sqlite3_bind_int(s, 9, record_is_bounded(r));
    sqlite3_bind_int64(s, 10, (sqlite3_int64)r->every_ms);
    return run(v, s, err);
}

static int delete_from(struct vmundo *v, const char *sql, const char *name, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v, sql, &s, err) < 0)
        return -1;
    bind_text(s, 1, name);
    return run(v, s, err);
}

static int delete_domain(struct vmundo *v, const char *name, struct vmundo_error *err)
{
    return delete_from(v, "DELETE FROM checkpoint WHERE domain=?", name, err) < 0
               ? -1
               : delete_from(v, "DELETE FROM domain WHERE name=?", name, err);
}

/* ---- checkpoints --------------------------------------------------------------------------------------------------
 */

/* Where a row's place in the tree is changed, its record is left as it was. */
static int read_checkpoint(sqlite3_stmt *s, struct checkpoint *ret, struct vmundo_error *err)
{
    if (checkpoint_from_text((const char *)sqlite3_column_text(s, 0), ret, err) < 0)
        return -1;
    ret->parent = (uint64_t)sqlite3_column_int64(s, 1);
    return 0;
}

static int add_checkpoint(sqlite3_stmt *s, struct checkpoints *all, struct vmundo_error *err)
{
    struct checkpoint *more = reallocarray(all->items, all->n + 1, sizeof(*more));
    if (!more)
        return error_nomem(err);
    all->items = more;
    if (read_checkpoint(s, &more[all->n], err) < 0)
        return -1;
    all->n++;
    return 0;
}

int store_checkpoints(struct vmundo *v, const char *domain, struct checkpoints *ret, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    AUTO_CHECKPOINTS struct checkpoints all = {0};
    int r;
    if (query(v, "SELECT record, parent FROM checkpoint WHERE domain=? ORDER BY id", &s, err) < 0)
        return -1;
    bind_text(s, 1, domain);
    while ((r = sqlite3_step(s)) == SQLITE_ROW)
        if (add_checkpoint(s, &all, err) < 0)
            return -1;
    if (r != SQLITE_DONE)
        return db_error(v, err);
    *ret = all;
    all = (struct checkpoints){0};
    return 0;
}

int store_checkpoint(struct vmundo *v, const char *domain, uint64_t id, struct checkpoint *ret,
                     struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v, "SELECT record, parent FROM checkpoint WHERE domain=? AND id=?", &s, err) < 0)
        return -1;
    bind_text(s, 1, domain);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)id);
    int r = sqlite3_step(s);
    if (r == SQLITE_DONE)
        return error_set(err, VMUNDO_NOT_FOUND, "%s has no checkpoint number %llu", domain, (unsigned long long)id);
    return r == SQLITE_ROW ? read_checkpoint(s, ret, err) : db_error(v, err);
}

int store_find_checkpoint(struct vmundo *v, const char *domain, const char *label, uint64_t *ret,
                          struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v,
              label ? "SELECT id FROM checkpoint WHERE domain=? AND label=?"
                    : "SELECT id FROM checkpoint WHERE domain=? AND label IS NULL AND recorded=0",
              &s, err) < 0)
        return -1;
    bind_text(s, 1, domain);
    if (label)
        bind_text(s, 2, label);
    int r = sqlite3_step(s);
    if (r != SQLITE_ROW && r != SQLITE_DONE)
        return db_error(v, err);
    *ret = r == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    return 0;
}

int store_no_checkpoint(const char *domain, const char *label, struct vmundo_error *err)
{
    return error_set(err, VMUNDO_NOT_FOUND, "%s has no checkpoint '%.63s': 'vmundo tree %s' shows those that there are",
                     domain, label, domain);
}

int store_get_checkpoint(struct vmundo *v, const char *domain, const char *label, struct checkpoint *ret,
                         struct vmundo_error *err)
{
    uint64_t id = 0;
    if (store_find_checkpoint(v, domain, label, &id, err) < 0)
        return -1;
    return id ? store_checkpoint(v, domain, id, ret, err) : store_no_checkpoint(domain, label, err);
}

void store_rows_clear(struct store_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        free(rows->items[i].label);
        free(rows->items[i].consistency);
    }
    free(rows->items);
    *rows = (struct store_rows){0};
}

static int read_checkpoint_row(sqlite3_stmt *s, struct store_row *row, struct vmundo_error *err)
{
    *row = (struct store_row){
        .id = (uint64_t)sqlite3_column_int64(s, 0),
        .parent = (uint64_t)sqlite3_column_int64(s, 1),
        .created_ms = sqlite3_column_int64(s, 3),
        .recorded = sqlite3_column_int(s, 4),
        .pinned = sqlite3_column_int(s, 5),
        .running = sqlite3_column_int(s, 6),
        .ram = sqlite3_column_int(s, 7),
    };
    return column_copy(s, 2, &row->label, err) < 0 ? -1 : column_copy(s, 8, &row->consistency, err);
}

int store_rows(struct vmundo *v, const char *domain, struct store_rows *ret, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    CLEANUP(store_rows_clear) struct store_rows rows = {0};
    size_t room = 0;
    int r;
    if (query(v,
              "SELECT id, parent, label, created_ms, recorded, pinned, running, ram, consistency FROM checkpoint"
              " WHERE domain=? ORDER BY id",
              &s, err) < 0)
        return -1;
    bind_text(s, 1, domain);
    while ((r = sqlite3_step(s)) == SQLITE_ROW) {
        if (rows.n == room) {
            room = room ? 2 * room : 64;
            struct store_row *more = reallocarray(rows.items, room, sizeof(*more));
            if (!more)
                return error_nomem(err);
            rows.items = more;
        }
        if (read_checkpoint_row(s, &rows.items[rows.n++], err) < 0)
            return -1;
    }
    if (r != SQLITE_DONE)
        return db_error(v, err);
    *ret = rows;
    rows = (struct store_rows){0};
    return 0;
}

int store_put_checkpoint(struct vmundo *v, const struct checkpoint *c, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (checkpoint_to_text(c, &text, err) < 0 ||
        query(v,
              "INSERT INTO checkpoint (domain, id, parent, label, created_ms, recorded, pinned, running, ram, "
              "consistency,"
              " record) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (domain, id) DO UPDATE SET parent=excluded.parent,"
              " label=excluded.label, pinned=excluded.pinned, record=excluded.record",
              &s, err) < 0)
        return -1;
    bind_text(s, 1, c->record.name);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)c->id);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)c->parent);
    bind_text(s, 4, c->label);
    sqlite3_bind_int64(s, 5, c->created_ms);
    sqlite3_bind_int(s, 6, c->recorded);
    sqlite3_bind_int(s, 7, c->pinned);
    sqlite3_bind_int(s, 8, c->record.running);
    sqlite3_bind_int(s, 9, c->saved != NULL);
    bind_text(s, 10, c->consistency);
    bind_text(s, 11, text);
    return run(v, s, err);
}

static int delete_checkpoint(struct vmundo *v, const struct checkpoint *c, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v, "DELETE FROM checkpoint WHERE domain=? AND id=?", &s, err) < 0)
        return -1;
    bind_text(s, 1, c->record.name);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)c->id);
    return run(v, s, err);
}

static int move_checkpoint(struct vmundo *v, const char *domain, const struct store_move *m, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v, "UPDATE checkpoint SET parent=? WHERE domain=? AND id=?", &s, err) < 0)
        return -1;
    sqlite3_bind_int64(s, 1, (sqlite3_int64)m->parent);
    bind_text(s, 2, domain);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)m->id);
    return run(v, s, err);
}

static int change_checkpoints(struct vmundo *v, const struct store_operation *op, struct vmundo_error *err)
{
    for (size_t i = 0; op->gone && i < op->gone->n; i++)
        if (delete_checkpoint(v, &op->gone->items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < op->n_moved; i++)
        if (move_checkpoint(v, op->domain, &op->moved[i], err) < 0)
            return -1;
    return op->made ? store_put_checkpoint(v, op->made, err) : 0;
}

/* ---- journal ------------------------------------------------------------------------------------------------------
 */

int store_begin(struct vmundo *v, struct store_operation *op, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (exec(v, "PRAGMA synchronous=FULL", err) < 0 ||
        query(v, "INSERT INTO operation (domain, verb, stage, before, after, options, begun_ms) VALUES (?,?,?,?,?,?,?)",
              &s, err) < 0)
        return -1;
    bind_text(s, 1, op->domain);
    bind_text(s, 2, op->verb);
    sqlite3_bind_int(s, 3, op->stage);
    bind_text(s, 4, op->before);
    bind_text(s, 5, op->after);
    bind_text(s, 6, op->options);
    sqlite3_bind_int64(s, 7, sys_realtime_ms());
    if (run(v, s, err) < 0)
        return -1;
    op->id = sqlite3_last_insert_rowid(v->db);
    return 0;
}

static int set_stage(struct vmundo *v, const struct store_operation *op, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v, "UPDATE operation SET stage=?, after=?, options=? WHERE id=?", &s, err) < 0)
        return -1;
    sqlite3_bind_int(s, 1, op->stage);
    bind_text(s, 2, op->after);
    bind_text(s, 3, op->options);
    sqlite3_bind_int64(s, 4, op->id);
    return run(v, s, err);
}

/* One a second would soon be all that there is in the log, and take the numbers by which it is kept short. */
static int forget_entry(struct vmundo *v, int64_t id, struct vmundo_error *err)
{
    char sql[160];
    snprintf(sql, sizeof(sql),
             "DELETE FROM operation WHERE id=%lld;"
             "UPDATE sqlite_sequence SET seq=seq-1 WHERE name='operation' AND seq=%lld",
             (long long)id, (long long)id);
    return exec(v, sql, err);
}

static int end_entry(struct vmundo *v, const struct store_operation *op, const char *outcome, const char *message,
                     struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    int64_t id = op->id;
    if (str_eq(op->verb, STORE_RECORDING))
        return forget_entry(v, id, err);
    if (query(v,
              "UPDATE operation SET before=NULL, after=NULL, options=NULL, ended_ms=?, outcome=?, message=? WHERE id=?",
              &s, err) < 0)
        return -1;
    sqlite3_bind_int64(s, 1, sys_realtime_ms());
    bind_text(s, 2, outcome);
    bind_text(s, 3, message);
    sqlite3_bind_int64(s, 4, id);
    if (run(v, s, err) < 0)
        return -1;
    AUTO_STMT sqlite3_stmt *old = NULL;
    if (query(v, "DELETE FROM operation WHERE id<=? AND ended_ms IS NOT NULL", &old, err) < 0)
        return -1;
    sqlite3_bind_int64(old, 1, id - LOG_KEPT);
    return run(v, old, err);
}

/* End the transaction that work has filled: 0 commits, anything else rolls back. */
static int end_transaction(struct vmundo *v, int work, struct vmundo_error *err)
{
    if (work == 0 && exec(v, "COMMIT", err) == 0)
        return 0;
    int code = sqlite3_extended_errcode(v->db);
    sqlite3_exec(v->db, "ROLLBACK", NULL, NULL, NULL);
    return work == 0 ? disown(v, code, err) : -1;
}

/* A recorded checkpoint that is lost in a power cut has been promised to nobody, so that only the entry with which it
 * begins is flushed: what comes after that is in the same log, and is lost as a whole or not at all. Not so when others
 * go. */
static int begin_step(struct vmundo *v, const struct store_operation *op, struct vmundo_error *err)
{
    bool can_be_lost = str_eq(op->verb, STORE_RECORDING) && op->gone && op->gone->n == 0;
    return exec(v,
                can_be_lost ? "PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE" : "PRAGMA synchronous=FULL; BEGIN IMMEDIATE",
                err);
}

int store_switched(struct vmundo *v, const struct store_operation *op, const struct record *after,
                   struct vmundo_error *err)
{
    if (begin_step(v, op, err) < 0)
        return -1;
    int r = set_stage(v, op, err);
    if (r == 0 && after)
        r = store_put(v, after, err);
    if (r == 0)
        r = change_checkpoints(v, op, err);
    return end_transaction(v, r, err);
}

int store_finish(struct vmundo *v, const struct store_operation *op, const struct record *after, const char *outcome,
                 const char *message, struct vmundo_error *err)
{
    if (begin_step(v, op, err) < 0)
        return -1;
    int r = after ? store_put(v, after, err) : delete_domain(v, op->domain, err);
    if (r == 0)
        r = end_entry(v, op, outcome, message, err);
    return end_transaction(v, r, err);
}

int store_abandon(struct vmundo *v, const struct store_operation *op, const char *outcome, const char *message,
                  struct vmundo_error *err)
{
    if (exec(v, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    return end_transaction(v, end_entry(v, op, outcome, message, err), err);
}

int store_note(struct vmundo *v, const char *domain, const char *what, const char *outcome, const char *message,
               struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v,
              "INSERT INTO operation (domain, verb, stage, begun_ms, ended_ms, outcome, message)"
              " VALUES (?1,?2,0,?3,?3,?4,?5)",
              &s, err) < 0)
        return -1;
    bind_text(s, 1, domain);
    bind_text(s, 2, what);
    sqlite3_bind_int64(s, 3, sys_realtime_ms());
    bind_text(s, 4, outcome);
    bind_text(s, 5, message);
    return run(v, s, err);
}

int store_unfinished(struct vmundo *v, const char *name, int64_t after_id, struct store_operation *ret,
                     struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v,
              "SELECT id, domain, verb, stage, before, after, options FROM operation WHERE ended_ms IS NULL AND id>?1"
              " AND (?2 IS NULL OR domain=?2) ORDER BY id LIMIT 1",
              &s, err) < 0)
        return -1;
    sqlite3_bind_int64(s, 1, after_id);
    bind_text(s, 2, name);
    CLEANUP(store_operation_clear) struct store_operation op = {0};
    int r = sqlite3_step(s);
    if (r == SQLITE_ROW) {
        op.id = sqlite3_column_int64(s, 0);
        op.stage = sqlite3_column_int(s, 3);
        if (column_copy(s, 1, &op.domain, err) < 0 || column_copy(s, 2, &op.verb, err) < 0 ||
            column_copy(s, 4, &op.before, err) < 0 || column_copy(s, 5, &op.after, err) < 0 ||
            column_copy(s, 6, &op.options, err) < 0)
            return -1;
    } else if (r != SQLITE_DONE) {
        return db_error(v, err);
    }
    *ret = op;
    op = (struct store_operation){0};
    return 0;
}

void store_operation_clear(struct store_operation *op)
{
    free(op->domain);
    free(op->verb);
    free(op->before);
    free(op->after);
    free(op->options);
    *op = (struct store_operation){0};
}

/* ---- log ----------------------------------------------------------------------------------------------------------
 */

static int read_log_entry(sqlite3_stmt *s, struct vmundo_log_entry *e, struct vmundo_error *err)
{
    e->id = (uint64_t)sqlite3_column_int64(s, 0);
    e->begun_ms = sqlite3_column_int64(s, 3);
    e->ended_ms = sqlite3_column_int64(s, 4);
    return column_copy(s, 1, &e->domain, err) < 0 || column_copy(s, 2, &e->operation, err) < 0 ||
                   column_copy(s, 5, &e->outcome, err) < 0 || column_copy(s, 6, &e->message, err) < 0
               ? -1
               : 0;
}

int store_log(struct vmundo *v, const char *name, unsigned limit, struct vmundo_log *ret, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (query(v,
              "SELECT * FROM (SELECT id, domain, verb, begun_ms, coalesce(ended_ms,0), coalesce(outcome,'unfinished'),"
              " message FROM operation WHERE ?1 IS NULL OR domain=?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
              &s, err) < 0)
        return -1;
    bind_text(s, 1, name);
    sqlite3_bind_int64(s, 2, limit ? (sqlite3_int64)limit : -1);
    CLEANUP(vmundo_log_free) struct vmundo_log log = {0};
    int r;
    while ((r = sqlite3_step(s)) == SQLITE_ROW) {
        struct vmundo_log_entry *more = reallocarray(log.entries, log.n_entries + 1, sizeof(*more));
        if (!more)
            return error_nomem(err);
        log.entries = more;
        more[log.n_entries] = (struct vmundo_log_entry){0};
        if (read_log_entry(s, &more[log.n_entries++], err) < 0)
            return -1;
    }
    if (r != SQLITE_DONE)
        return db_error(v, err);
    *ret = log;
    log = (struct vmundo_log){0};
    return 0;
}
