/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store.c: what is in the state database. Each function is one statement or one transaction.
 */
#include "core/store-db.h"
#include "core/store.h"

#include "core/record.h"
#include "util/sys.h"

#define LOG_KEPT 10000

/* ---- domains ------------------------------------------------------------------------------------------------------
 */

int store_get(struct vmundo *v, const char *name, char **ret_text, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(v, "SELECT record FROM domain WHERE name=?", &s, err) < 0)
        return -1;
    db_bind_text(s, 1, name);
    int r = sqlite3_step(s);
    if (r == SQLITE_DONE) {
        *ret_text = NULL;
        return 0;
    }
    return r == SQLITE_ROW ? db_column_copy(s, 0, ret_text, err) : db_error(v, err);
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
    if (db_column_copy(s, 0, &d->name, err) < 0 || db_column_copy(s, 1, &d->hypervisor, err) < 0 ||
        db_column_copy(s, 2, &d->config, err) < 0 || db_column_copy(s, 7, &d->pending, err) < 0)
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
    if (db_query(v,
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
        db_query(v,
                 "INSERT OR REPLACE INTO domain (name, hypervisor, config, generation, instance, running, created_ms,"
                 " record, bounded, every_ms) VALUES (?,?,?,?,?,?,?,?,?,?)",
                 &s, err) < 0)
        return -1;
    db_bind_text(s, 1, r->name);
    db_bind_text(s, 2, r->hypervisor);
    db_bind_text(s, 3, r->config_path);
    sqlite3_bind_int64(s, 4, (sqlite3_int64)r->generation);
    sqlite3_bind_int64(s, 5, (sqlite3_int64)r->instance);
    sqlite3_bind_int(s, 6, r->running);
    sqlite3_bind_int64(s, 7, r->created_ms);
    db_bind_text(s, 8, text);
    sqlite3_bind_int(s, 9, record_is_bounded(r));
    sqlite3_bind_int64(s, 10, (sqlite3_int64)r->every_ms);
    return db_run(v, s, err);
}

static int delete_from(struct vmundo *v, const char *sql, const char *name, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(v, sql, &s, err) < 0)
        return -1;
    db_bind_text(s, 1, name);
    return db_run(v, s, err);
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
    if (db_query(v, "SELECT record, parent FROM checkpoint WHERE domain=? ORDER BY id", &s, err) < 0)
        return -1;
    db_bind_text(s, 1, domain);
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
    if (db_query(v, "SELECT record, parent FROM checkpoint WHERE domain=? AND id=?", &s, err) < 0)
        return -1;
    db_bind_text(s, 1, domain);
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
    if (db_query(v,
                 label ? "SELECT id FROM checkpoint WHERE domain=? AND label=?"
                       : "SELECT id FROM checkpoint WHERE domain=? AND label IS NULL AND recorded=0",
                 &s, err) < 0)
        return -1;
    db_bind_text(s, 1, domain);
    if (label)
        db_bind_text(s, 2, label);
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
    return db_column_copy(s, 2, &row->label, err) < 0 ? -1 : db_column_copy(s, 8, &row->consistency, err);
}

int store_rows(struct vmundo *v, const char *domain, struct store_rows *ret, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    CLEANUP(store_rows_clear) struct store_rows rows = {0};
    size_t room = 0;
    int r;
    if (db_query(v,
                 "SELECT id, parent, label, created_ms, recorded, pinned, running, ram, consistency FROM checkpoint"
                 " WHERE domain=? ORDER BY id",
                 &s, err) < 0)
        return -1;
    db_bind_text(s, 1, domain);
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
        db_query(
            v,
            "INSERT INTO checkpoint (domain, id, parent, label, created_ms, recorded, pinned, running, ram, "
            "consistency,"
            " record) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (domain, id) DO UPDATE SET parent=excluded.parent,"
            " label=excluded.label, pinned=excluded.pinned, record=excluded.record",
            &s, err) < 0)
        return -1;
    db_bind_text(s, 1, c->record.name);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)c->id);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)c->parent);
    db_bind_text(s, 4, c->label);
    sqlite3_bind_int64(s, 5, c->created_ms);
    sqlite3_bind_int(s, 6, c->recorded);
    sqlite3_bind_int(s, 7, c->pinned);
    sqlite3_bind_int(s, 8, c->record.running);
    sqlite3_bind_int(s, 9, c->saved != NULL);
    db_bind_text(s, 10, c->consistency);
    db_bind_text(s, 11, text);
    return db_run(v, s, err);
}

static int delete_checkpoint(struct vmundo *v, const struct checkpoint *c, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(v, "DELETE FROM checkpoint WHERE domain=? AND id=?", &s, err) < 0)
        return -1;
    db_bind_text(s, 1, c->record.name);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)c->id);
    return db_run(v, s, err);
}

static int move_checkpoint(struct vmundo *v, const char *domain, const struct store_move *m, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(v, "UPDATE checkpoint SET parent=? WHERE domain=? AND id=?", &s, err) < 0)
        return -1;
    sqlite3_bind_int64(s, 1, (sqlite3_int64)m->parent);
    db_bind_text(s, 2, domain);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)m->id);
    return db_run(v, s, err);
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

static int insert_entry(struct vmundo *v, struct store_operation *op, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(v,
                 "INSERT INTO operation (domain, verb, stage, before, after, options, begun_ms) VALUES (?,?,?,?,?,?,?)",
                 &s, err) < 0)
        return -1;
    db_bind_text(s, 1, op->domain);
    db_bind_text(s, 2, op->verb);
    sqlite3_bind_int(s, 3, op->stage);
    db_bind_text(s, 4, op->before);
    db_bind_text(s, 5, op->after);
    db_bind_text(s, 6, op->options);
    sqlite3_bind_int64(s, 7, sys_realtime_ms());
    if (db_run(v, s, err) < 0)
        return -1;
    op->id = sqlite3_last_insert_rowid(v->db);
    return 0;
}

int store_begin(struct vmundo *v, struct store_operation *op, struct vmundo_error *err)
{
    return db_exec(v, "PRAGMA synchronous=FULL", err) < 0 ? -1 : insert_entry(v, op, err);
}

static int set_stage(struct vmundo *v, const struct store_operation *op, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(v, "UPDATE operation SET stage=?, after=?, options=? WHERE id=?", &s, err) < 0)
        return -1;
    sqlite3_bind_int(s, 1, op->stage);
    db_bind_text(s, 2, op->after);
    db_bind_text(s, 3, op->options);
    sqlite3_bind_int64(s, 4, op->id);
    return db_run(v, s, err);
}

/* One a second would soon be all that there is in the log, and take the numbers by which it is kept short. */
static int forget_entry(struct vmundo *v, int64_t id, struct vmundo_error *err)
{
    char sql[160];
    snprintf(sql, sizeof(sql),
             "DELETE FROM operation WHERE id=%lld;"
             "UPDATE sqlite_sequence SET seq=seq-1 WHERE name='operation' AND seq=%lld",
             (long long)id, (long long)id);
    return db_exec(v, sql, err);
}

static int end_entry(struct vmundo *v, const struct store_operation *op, const char *outcome, const char *message,
                     struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    int64_t id = op->id;
    if (str_eq(op->verb, STORE_RECORDING))
        return forget_entry(v, id, err);
    if (db_query(
            v,
            "UPDATE operation SET before=NULL, after=NULL, options=NULL, ended_ms=?, outcome=?, message=? WHERE id=?",
            &s, err) < 0)
        return -1;
    sqlite3_bind_int64(s, 1, sys_realtime_ms());
    db_bind_text(s, 2, outcome);
    db_bind_text(s, 3, message);
    sqlite3_bind_int64(s, 4, id);
    if (db_run(v, s, err) < 0)
        return -1;
    AUTO_STMT sqlite3_stmt *old = NULL;
    if (db_query(v, "DELETE FROM operation WHERE id<=? AND ended_ms IS NOT NULL", &old, err) < 0)
        return -1;
    sqlite3_bind_int64(old, 1, id - LOG_KEPT);
    return db_run(v, old, err);
}

/* A recorded checkpoint that is lost in a power cut has been promised to nobody, so that only the entry with which it
 * begins is flushed: what comes after that is in the same log, and is lost as a whole or not at all. Not so when others
 * go. */
static int begin_step(struct vmundo *v, const struct store_operation *op, struct vmundo_error *err)
{
    bool can_be_lost = str_eq(op->verb, STORE_RECORDING) && op->gone && op->gone->n == 0;
    return db_exec(
        v, can_be_lost ? "PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE" : "PRAGMA synchronous=FULL; BEGIN IMMEDIATE",
        err);
}

int store_switched(struct vmundo *v, struct store_operation *op, const struct record *after, struct vmundo_error *err)
{
    if (begin_step(v, op, err) < 0)
        return -1;
    int r = op->id ? set_stage(v, op, err) : insert_entry(v, op, err);
    if (r == 0 && after)
        r = store_put(v, after, err);
    if (r == 0)
        r = change_checkpoints(v, op, err);
    return db_end(v, r, err);
}

int store_finish(struct vmundo *v, const struct store_operation *op, const struct record *after, const char *outcome,
                 const char *message, struct vmundo_error *err)
{
    if (begin_step(v, op, err) < 0)
        return -1;
    int r = after ? store_put(v, after, err) : delete_domain(v, op->domain, err);
    if (r == 0)
        r = end_entry(v, op, outcome, message, err);
    return db_end(v, r, err);
}

int store_abandon(struct vmundo *v, const struct store_operation *op, const char *outcome, const char *message,
                  struct vmundo_error *err)
{
    if (db_exec(v, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    return db_end(v, end_entry(v, op, outcome, message, err), err);
}

int store_note(struct vmundo *v, const char *domain, const char *what, const char *outcome, const char *message,
               struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(v,
                 "INSERT INTO operation (domain, verb, stage, begun_ms, ended_ms, outcome, message)"
                 " VALUES (?1,?2,0,?3,?3,?4,?5)",
                 &s, err) < 0)
        return -1;
    db_bind_text(s, 1, domain);
    db_bind_text(s, 2, what);
    sqlite3_bind_int64(s, 3, sys_realtime_ms());
    db_bind_text(s, 4, outcome);
    db_bind_text(s, 5, message);
    return db_run(v, s, err);
}

int store_unfinished(struct vmundo *v, const char *name, int64_t after_id, struct store_operation *ret,
                     struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(
            v,
            "SELECT id, domain, verb, stage, before, after, options FROM operation WHERE ended_ms IS NULL AND id>?1"
            " AND (?2 IS NULL OR domain=?2) ORDER BY id LIMIT 1",
            &s, err) < 0)
        return -1;
    sqlite3_bind_int64(s, 1, after_id);
    db_bind_text(s, 2, name);
    CLEANUP(store_operation_clear) struct store_operation op = {0};
    int r = sqlite3_step(s);
    if (r == SQLITE_ROW) {
        op.id = sqlite3_column_int64(s, 0);
        op.stage = sqlite3_column_int(s, 3);
        if (db_column_copy(s, 1, &op.domain, err) < 0 || db_column_copy(s, 2, &op.verb, err) < 0 ||
            db_column_copy(s, 4, &op.before, err) < 0 || db_column_copy(s, 5, &op.after, err) < 0 ||
            db_column_copy(s, 6, &op.options, err) < 0)
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
    return db_column_copy(s, 1, &e->domain, err) < 0 || db_column_copy(s, 2, &e->operation, err) < 0 ||
                   db_column_copy(s, 5, &e->outcome, err) < 0 || db_column_copy(s, 6, &e->message, err) < 0
               ? -1
               : 0;
}

int store_log(struct vmundo *v, const char *name, unsigned limit, struct vmundo_log *ret, struct vmundo_error *err)
{
    AUTO_STMT sqlite3_stmt *s = NULL;
    if (db_query(
            v,
            "SELECT * FROM (SELECT id, domain, verb, begun_ms, coalesce(ended_ms,0), coalesce(outcome,'unfinished'),"
            " message FROM operation WHERE ?1 IS NULL OR domain=?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
            &s, err) < 0)
        return -1;
    db_bind_text(s, 1, name);
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
