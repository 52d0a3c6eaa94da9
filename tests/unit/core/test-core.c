/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-core.c: the engine through the public interface, with the null drivers: no root, no hypervisor, milliseconds.
 * Every test has a state directory and two images of its own in a temporary directory.
 */
#include "core/context.h"
#include "core/guard.h"
#include "core/lock.h"
#include "core/record.h"
#include "core/store.h"
#include "util/cleanup.h"
#include "util/process.h"
#include "util/sys.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

struct fixture {
    char dir[64], state[80], cfg[80];
    struct vmundo_options options;
    struct vmundo *v;
    struct vmundo_error err;
    unsigned actions, warnings;
};

static void put(const char *path, const char *text)
{
    AUTO_FCLOSE FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
}

static void put_image(const struct fixture *f, const char *name, char fill)
{
    char path[128], block[4096];
    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    memset(block, fill, sizeof(block));
    block[sizeof(block) - 1] = '\0';
    put(path, block);
}

static void count_event(void *data, const struct vmundo_event *e)
{
    struct fixture *f = data;
    f->actions += e->kind == VMUNDO_EVENT_ACTION;
    f->warnings += e->kind == VMUNDO_EVENT_WARNING;
}

static void reopen(struct fixture *f, bool dry_run)
{
    vmundo_close(f->v);
    f->v = NULL;
    f->options.dry_run = dry_run;
    assert_int_equal(vmundo_open(&f->options, &f->v, &f->err), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *tmp = getenv("TMPDIR");
    snprintf(f->dir, sizeof(f->dir), "%s/vmundo-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->state, sizeof(f->state), "%s/state", f->dir);
    snprintf(f->cfg, sizeof(f->cfg), "%s/web.cfg", f->dir);
    put_image(f, "a.img", 'a');
    put_image(f, "b.img", 'b');
    put(f->cfg, "# caf\xe9\nname = 'web'\nkernel = '/bin/true'\nmemory = 64\n"
                "disk = [ 'a.img,raw,xvda,rw', 'b.img,raw,xvdb,rw' ]\n");
    f->options = (struct vmundo_options){.state_dir = f->state, .report = count_event, .report_data = f};
    reopen(f, false);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    vmundo_close(f->v);
    char *base = strrchr(f->dir, '/');
    *base++ = '\0';
    AUTO_CLOSE int tmp = open(f->dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(sys_remove_tree(tmp, base, &f->err), 0);
    free(f);
    return 0;
}

static int run(struct fixture *f)
{
    struct vmundo_run_options o = {.config = f->cfg, .method = "null", .hypervisor = "null"};
    return vmundo_run(f->v, &o, &f->err);
}

static void assert_error(struct fixture *f, int r, enum vmundo_code code, const char *part)
{
    assert_int_equal(r, -1);
    if ((int)f->err.code != (int)code || !strstr(f->err.msg, part))
        fail_msg("expected %d '%s', got %d '%s'", code, part, f->err.code, f->err.msg);
    error_clear(&f->err);
}

static void assert_ok(struct fixture *f, int r)
{
    if (r != 0)
        fail_msg("failed: %s", f->err.msg);
}

static void assert_state(struct fixture *f, const char *state, unsigned generation)
{
    struct vmundo_domain d;
    assert_ok(f, vmundo_status(f->v, "web", &d, &f->err));
    assert_string_equal(d.state, state);
    assert_int_equal(d.generation, generation);
    assert_int_equal(d.n_disks, 2);
    assert_int_equal(access(d.disks[0].branch, F_OK), 0);
    vmundo_domain_free(&d);
}

static void test_life(void **state)
{
    struct fixture *f = *state;
    assert_ok(f, run(f));
    assert_state(f, "running", 1);
    assert_ok(f, vmundo_rollback(f->v, "web", NULL, &f->err));
    assert_state(f, "running", 2);
    assert_ok(f, vmundo_stop(f->v, "web", NULL, &f->err));
    assert_state(f, "off", 2);
    assert_ok(f, vmundo_start(f->v, "web", NULL, &f->err));
    assert_state(f, "running", 2);
    assert_error(f, vmundo_keep(f->v, "web", NULL, &f->err), VMUNDO_CONFLICT, "is running");
    assert_ok(f, vmundo_rollback(f->v, "web", &(struct vmundo_rollback_options){.off = true}, &f->err));
    assert_state(f, "off", 3);
    assert_ok(f, vmundo_drop(f->v, "web", &f->err));
    assert_error(f, vmundo_drop(f->v, "web", &f->err), VMUNDO_NOT_FOUND, "no domain 'web'");

    struct vmundo_log log;
    assert_ok(f, vmundo_log(f->v, "web", 0, &log, &f->err));
    assert_int_equal(log.n_entries, 6); /* drop of what is not there is no operation */
    assert_string_equal(log.entries[0].operation, "run");
    assert_string_equal(log.entries[5].outcome, "done");
    vmundo_log_free(&log);
}

static void test_nothing_is_left(void **state)
{
    struct fixture *f = *state;
    char path[128];
    assert_ok(f, run(f));
    assert_ok(f, vmundo_drop(f->v, "web", &f->err));
    snprintf(path, sizeof(path), "%s/.vmundo", f->dir);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/domains/web", f->state);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/locks/web", f->state);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_conflicts(void **state)
{
    struct fixture *f = *state;
    assert_ok(f, run(f));
    assert_error(f, run(f), VMUNDO_CONFLICT, "'web' is in use");
    assert_error(f, vmundo_start(f->v, "web", NULL, &f->err), VMUNDO_CONFLICT, "running already");
    struct lock lock = LOCK_INIT;
    assert_ok(f, lock_domain(f->v, "web", "keep", &lock, &f->err));
    assert_error(f, vmundo_rollback(f->v, "web", NULL, &f->err), VMUNDO_CONFLICT, "'keep (process ");
    lock_release(&lock);
    assert_ok(f, vmundo_rollback(f->v, "web", NULL, &f->err));
}

static void test_bad_names(void **state)
{
    static const char *const names[] = {"", "-x", "a/b", "..", ".a", "a\nb", "a b",
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_false(vmundo_name_is_valid(names[i]));
        assert_error(f, vmundo_drop(f->v, names[i], &f->err), VMUNDO_USAGE, "");
        struct vmundo_run_options o = {.config = f->cfg, .name = names[i], .method = "null", .hypervisor = "null"};
        assert_error(f, vmundo_run(f->v, &o, &f->err), VMUNDO_USAGE, "");
    }
    assert_true(vmundo_name_is_valid("a.b_c+d-1"));
}

static void test_bad_options(void **state)
{
    struct fixture *f = *state;
    struct vmundo_run_options good = {.config = f->cfg, .method = "null", .hypervisor = "null"}, o = good;
    o.method = "magic";
    assert_error(f, vmundo_run(f->v, &o, &f->err), VMUNDO_USAGE, "magic");
    o = good;
    o.hypervisor = "magic";
    assert_error(f, vmundo_run(f->v, &o, &f->err), VMUNDO_USAGE, "magic");
    o = good;
    o.net = "magic";
    assert_error(f, vmundo_run(f->v, &o, &f->err), VMUNDO_USAGE, "magic");
    o = good;
    o.unprotected = (const char *const[]){"xvdz", NULL};
    assert_error(f, vmundo_run(f->v, &o, &f->err), VMUNDO_USAGE, "xvdz");
    o = good;
    o.config = "/nonexistent";
    assert_error(f, vmundo_run(f->v, &o, &f->err), VMUNDO_FAILED, "/nonexistent");
}

/* Two names for one image would give two branches that disagree. */
static void test_same_image_twice(void **state)
{
    struct fixture *f = *state;
    char a[128], link[128];
    snprintf(a, sizeof(a), "%s/a.img", f->dir);
    snprintf(link, sizeof(link), "%s/b.img", f->dir);
    unlink(link);
    assert_int_equal(symlink(a, link), 0);
    assert_error(f, run(f), VMUNDO_FAILED, "are the same file");
}

static void test_dry_run_touches_nothing(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct vmundo_domains list;
    reopen(f, true);
    assert_ok(f, run(f));
    assert_true(f->actions >= 3);
    assert_ok(f, vmundo_list(f->v, &list, &f->err));
    assert_int_equal(list.n_domains, 0);
    vmundo_domains_free(&list);
    snprintf(path, sizeof(path), "%s/.vmundo", f->dir);
    assert_int_equal(access(path, F_OK), -1);
    reopen(f, false);
    assert_ok(f, run(f));
    reopen(f, true);
    f->actions = 0;
    assert_ok(f, vmundo_rollback(f->v, "web", NULL, &f->err));
    assert_ok(f, vmundo_drop(f->v, "web", &f->err));
    assert_true(f->actions >= 8);
    assert_state(f, "running", 1);
}

static void test_unprotected(void **state)
{
    struct fixture *f = *state;
    struct vmundo_run_options o = {.config = f->cfg, .method = "null", .hypervisor = "null",
                                   .unprotected = (const char *const[]){"xvdb", NULL}};
    struct vmundo_plan p;
    assert_ok(f, vmundo_plan(f->v, &o, &p, &f->err));
    assert_string_equal(p.disks[0].driver, "null");
    assert_null(p.disks[1].driver);
    assert_non_null(strstr(p.disks[1].why, "UNPROTECTED"));
    vmundo_plan_free(&p);
}

/* An image that somebody has open for writing. */
static void test_in_use(void **state)
{
    struct fixture *f = *state;
    char path[128];
    snprintf(path, sizeof(path), "%s/a.img", f->dir);
    int ready[2], status;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = open(path, O_RDWR);
        char c = fd >= 0;
        if (write(ready[1], &c, 1) == 1)
            pause();
        _exit(1);
    }
    char c = 0;
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_error(f, run(f), VMUNDO_CONFLICT, "a.img is being written to");
    struct vmundo_run_options o = {.config = f->cfg, .method = "null", .hypervisor = "null", .allow_in_use = true};
    assert_ok(f, vmundo_run(f->v, &o, &f->err));
    struct vmundo_domain d;
    assert_ok(f, vmundo_status(f->v, "web", &d, &f->err));
    assert_string_equal(d.disks[0].consistency, "crash");
    assert_string_equal(d.disks[1].consistency, "off");
    vmundo_domain_free(&d);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    close(ready[0]);
    close(ready[1]);
}

static void test_keep_refuses_a_changed_origin(void **state)
{
    struct fixture *f = *state;
    assert_ok(f, run(f));
    assert_ok(f, vmundo_stop(f->v, "web", &(struct vmundo_stop_options){.force = true}, &f->err));
    put_image(f, "b.img", 'X');
    assert_error(f, vmundo_keep(f->v, "web", NULL, &f->err), VMUNDO_REFUSED, "b.img has changed");
    assert_state(f, "off", 1);
}

static void guard_once(struct fixture *f)
{
    assert_ok(f, vmundo_guard(f->v, &(struct vmundo_guard_options){.name = "web", .once = true}, &f->err));
}

/* With a limit the null driver's branch is as full as its file is long. */
/* With the qcow2 driver, whose branches are nothing without their origin. */
static void test_start_refuses_a_changed_base(void **state)
{
    struct fixture *f = *state;
    struct vmundo_run_options o = {.config = f->cfg, .method = "qcow2", .hypervisor = "null"};
    if (!process_have("qemu-img"))
        skip();
    assert_ok(f, vmundo_run(f->v, &o, &f->err));
    assert_ok(f, vmundo_stop(f->v, "web", &(struct vmundo_stop_options){.force = true}, &f->err));
    assert_ok(f, vmundo_start(f->v, "web", NULL, &f->err));
    assert_ok(f, vmundo_stop(f->v, "web", &(struct vmundo_stop_options){.force = true}, &f->err));
    put_image(f, "b.img", 'X');
    assert_error(f, vmundo_start(f->v, "web", NULL, &f->err), VMUNDO_REFUSED, "has changed under the branch");
    assert_ok(f, vmundo_rollback(f->v, "web", NULL, &f->err));
}

static void test_guard(void **state)
{
    struct fixture *f = *state;
    struct vmundo_domain d;
    struct vmundo_run_options o = {.config = f->cfg, .method = "null", .hypervisor = "null", .size = 1 << 20};
    assert_ok(f, vmundo_run(f->v, &o, &f->err));
    guard_once(f);
    assert_state(f, "running", 1);
    assert_ok(f, vmundo_status(f->v, "web", &d, &f->err));
    assert_int_equal(truncate(d.disks[1].branch, (1 << 20) * 95 / 100), 0);
    guard_once(f);
    assert_state(f, "paused", 1);
    guard_once(f);
    assert_state(f, "paused", 1);
    assert_int_equal(truncate(d.disks[1].branch, (1 << 20) * 60 / 100), 0);
    vmundo_domain_free(&d);
    assert_ok(f, vmundo_status(f->v, "web", &d, &f->err));
    assert_non_null(strstr(d.detail, "95% full"));
    assert_non_null(strstr(d.detail, "no more room"));
    assert_non_null(strstr(d.detail, "nobody watches"));
    vmundo_domain_free(&d);
    guard_once(f);
    assert_state(f, "running", 1);

    struct vmundo_log log;
    assert_ok(f, vmundo_log(f->v, "web", 0, &log, &f->err));
    assert_string_equal(log.entries[log.n_entries - 1].outcome, "resumed");
    vmundo_log_free(&log);
    assert_error(f, vmundo_guard(f->v, &(struct vmundo_guard_options){.extend_at = 95, .once = true}, &f->err),
                 VMUNDO_USAGE, "make no sense");
    assert_error(f, vmundo_guard(f->v, &(struct vmundo_guard_options){.name = "nosuch", .once = true}, &f->err),
                 VMUNDO_NOT_FOUND, "there is no domain 'nosuch'");
}

static void run_bounded(struct fixture *f, unsigned extend_at, unsigned pause_at, bool no_guard)
{
    struct vmundo_run_options o = {.config = f->cfg, .method = "null", .hypervisor = "null", .size = 100 << 20,
                                   .extend_at = extend_at, .pause_at = pause_at, .no_guard = no_guard};
    assert_ok(f, vmundo_run(f->v, &o, &f->err));
}

static void fill_branch(struct fixture *f, unsigned percent)
{
    struct vmundo_domain d;
    assert_ok(f, vmundo_status(f->v, "web", &d, &f->err));
    assert_int_equal(truncate(d.disks[1].branch, (off_t)percent << 20), 0);
    vmundo_domain_free(&d);
}

static void assert_detail(struct fixture *f, const char *part)
{
    struct vmundo_domains l;
    struct vmundo_domain d;
    assert_ok(f, vmundo_list(f->v, &l, &f->err));
    assert_int_equal(l.n_domains, 1);
    assert_ok(f, vmundo_status(f->v, "web", &d, &f->err));
    if (part)
        assert_true(l.domains[0].detail && strstr(l.domains[0].detail, part) && strstr(d.detail, part));
    else
        assert_null(l.domains[0].detail);
    vmundo_domains_free(&l);
    vmundo_domain_free(&d);
}

/* What run was told is in the record, and what guard is told counts more. */
static void test_guard_levels(void **state)
{
    struct fixture *f = *state;
    struct vmundo_run_options bad = {.config = f->cfg, .method = "null", .hypervisor = "null", .pause_at = 100};
    assert_error(f, vmundo_run(f->v, &bad, &f->err), VMUNDO_USAGE, "make no sense");
    run_bounded(f, 20, 40, false);
    fill_branch(f, 35);
    guard_once(f);
    assert_state(f, "running", 1);
    fill_branch(f, 45);
    assert_ok(f, vmundo_guard(f->v, &(struct vmundo_guard_options){.name = "web", .once = true, .extend_at = 20, .pause_at = 60},
                              &f->err));
    assert_state(f, "running", 1);
    guard_once(f);
    assert_state(f, "paused", 1);
    /* After a rollback the branch is another. */
    assert_ok(f, vmundo_rollback(f->v, "web", NULL, &f->err));
    assert_state(f, "running", 2);
    assert_detail(f, NULL);
    guard_once(f);
    assert_state(f, "running", 2);
}

static void test_guard_unwanted(void **state)
{
    struct fixture *f = *state;
    unsigned done = 0;
    run_bounded(f, 0, 0, true);
    fill_branch(f, 95);
    assert_ok(f, vmundo_guard(f->v, &(struct vmundo_guard_options){.once = true}, &f->err));
    assert_state(f, "running", 1);
    assert_detail(f, NULL);
    assert_ok(f, vmundo_recover(&f->options, &done, &f->err));
    assert_int_equal(done, 0);
    guard_once(f); /* asked for by name */
    assert_state(f, "paused", 1);
}

/* One that is guarded by another process is left to it. */
static void test_guard_of_another(void **state)
{
    struct fixture *f = *state;
    AUTO_CLOSE int lock = -1;
    run_bounded(f, 0, 0, false);
    fill_branch(f, 95);
    assert_false(guard_is_alive(f->v, "web"));
    assert_ok(f, guard_lock(f->v, "web", &lock, &f->err));
    assert_true(guard_is_alive(f->v, "web"));
    assert_error(f, vmundo_guard(f->v, &(struct vmundo_guard_options){.name = "web", .once = true}, &f->err),
                 VMUNDO_CONFLICT, "guarded already");
    assert_ok(f, vmundo_guard(f->v, &(struct vmundo_guard_options){.once = true}, &f->err));
    assert_state(f, "running", 1);
    close(lock);
    lock = -1;
    assert_ok(f, vmundo_guard(f->v, &(struct vmundo_guard_options){.once = true}, &f->err));
    assert_state(f, "paused", 1);
}

/* A guard that gets the lock handed down works under it, and goes when the domain is off. */
static void test_guard_until_off(void **state)
{
    struct fixture *f = *state;
    int lock = -1;
    run_bounded(f, 0, 0, false);
    assert_ok(f, guard_lock(f->v, "web", &lock, &f->err));
    assert_ok(f, vmundo_stop(f->v, "web", &(struct vmundo_stop_options){.force = true}, &f->err));
    assert_ok(f, vmundo_guard(f->v, &(struct vmundo_guard_options){.name = "web", .until_off = true, .lock_fd = lock},
                              &f->err));
    assert_false(guard_is_alive(f->v, "web"));
}

static void test_lost(void **state)
{
    struct fixture *f = *state;
    run_bounded(f, 0, 0, true);
    fill_branch(f, 100);
    assert_detail(f, "LOST: the branch");
    guard_once(f);
    assert_state(f, "running", 1);
    struct vmundo_log log;
    assert_ok(f, vmundo_log(f->v, "web", 0, &log, &f->err));
    assert_string_equal(log.entries[log.n_entries - 1].outcome, "lost");
    vmundo_log_free(&log);
    assert_error(f, vmundo_keep(f->v, "web", &(struct vmundo_keep_options){.stop = true}, &f->err), VMUNDO_REFUSED,
                 "cannot be kept: it is overflow");
    assert_state(f, "running", 1);
    assert_ok(f, vmundo_rollback(f->v, "web", NULL, &f->err));
    assert_detail(f, NULL);
}

/* No room for two generations: the old one goes first, and the outcome is the same. */
static void test_old_first(void **state)
{
    struct fixture *f = *state;
    struct vmundo_run_options o = {.config = f->cfg, .method = "null", .hypervisor = "null", .size = 1 << 20};
    assert_ok(f, vmundo_run(f->v, &o, &f->err));
    f->warnings = 0;
    assert_ok(f, vmundo_rollback(f->v, "web", NULL, &f->err));
    assert_true(f->warnings >= 1);
    assert_state(f, "running", 2);
    assert_ok(f, vmundo_stop(f->v, "web", &(struct vmundo_stop_options){.force = true}, &f->err));
    assert_ok(f, vmundo_keep(f->v, "web", NULL, &f->err)); /* the record knows what the new branches are based on */
}

static void test_newer_version(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(sqlite3_exec(f->v->db, "PRAGMA user_version=999", NULL, NULL, NULL), SQLITE_OK);
    vmundo_close(f->v);
    f->v = NULL;
    assert_error(f, vmundo_open(&f->options, &f->v, &f->err), VMUNDO_FAILED, "newer vmundo");
    unsigned done;
    assert_error(f, vmundo_recover(&f->options, &done, &f->err), VMUNDO_FAILED, "newer vmundo");
}

/* A database of format 1 is brought to the present one. */
static void test_older_version(void **state)
{
    static const char to_1[] =
        "DROP INDEX checkpoint_label; DROP INDEX checkpoint_left; ALTER TABLE domain DROP COLUMN every_ms;"
        "ALTER TABLE checkpoint RENAME TO newer;"
        "CREATE TABLE checkpoint (domain TEXT NOT NULL, id INTEGER NOT NULL, label TEXT, record TEXT NOT NULL,"
        " PRIMARY KEY (domain, id), UNIQUE (domain, label)) WITHOUT ROWID;"
        "INSERT INTO checkpoint SELECT domain, id, label, record FROM newer; DROP TABLE newer; PRAGMA user_version=1";
    struct fixture *f = *state;
    struct vmundo_tree t;
    assert_ok(f, run(f));
    assert_ok(f, vmundo_checkpoint(f->v, "web", &(struct vmundo_checkpoint_options){.label = "one"}, &f->err));
    assert_ok(f, vmundo_checkpoint(f->v, "web", &(struct vmundo_checkpoint_options){.label = "two"}, &f->err));
    assert_ok(f, vmundo_rollback(f->v, "web", &(struct vmundo_rollback_options){.checkpoint = "one"}, &f->err));
    assert_int_equal(sqlite3_exec(f->v->db, to_1, NULL, NULL, NULL), SQLITE_OK);
    reopen(f, false);
    assert_ok(f, vmundo_tree(f->v, "web", NULL, &t, &f->err));
    assert_int_equal(t.n_nodes, 3);
    assert_string_equal(t.nodes[1].label, "one");
    assert_string_equal(t.nodes[2].label, "two");
    assert_int_equal(t.nodes[2].parent, t.nodes[1].id);
    assert_int_equal(t.current, t.nodes[1].id);
    vmundo_tree_free(&t);
    assert_ok(f, vmundo_rollback(f->v, "web", &(struct vmundo_rollback_options){.undo = true}, &f->err));
    assert_state(f, "running", 5);
}

static void test_damaged_database(void **state)
{
    struct fixture *f = *state;
    char path[128];
    unsigned done = 0;
    assert_ok(f, run(f));
    vmundo_close(f->v);
    f->v = NULL;
    snprintf(path, sizeof(path), "%s/state.db-wal", f->state);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/state.db", f->state);
    put(path, "this is not a database, and it is long enough to look at: ...............................................");
    assert_error(f, vmundo_open(&f->options, &f->v, &f->err), VMUNDO_FAILED, "'vmundo recover' rebuilds");
    assert_ok(f, vmundo_recover(&f->options, &done, &f->err));
    assert_true(done > 0);
    reopen(f, false);
    assert_state(f, "running", 1);
    assert_ok(f, vmundo_recover(&f->options, &done, &f->err));
    assert_int_equal(done, 0);
    assert_ok(f, vmundo_rollback(f->v, "web", NULL, &f->err));
}

/* The journal entry of a rollback that was cut off right after it was begun, and of one right after the switch. */
static void cut_off(struct fixture *f, bool switched)
{
    AUTO_FREE char *text = NULL;
    CLEANUP(record_clear) struct record r = {0};
    assert_ok(f, store_get(f->v, "web", &text, &f->err));
    assert_ok(f, record_from_text(text, &r, &f->err));
    struct store_operation op = {.domain = r.name, .verb = strdup("drop"), .stage = 1, .before = text};
    assert_ok(f, store_begin(f->v, &op, &f->err));
    op.stage = 7;
    if (switched)
        assert_ok(f, store_switched(f->v, &op, NULL, &f->err));
    free(op.verb);
}

static void test_recover_undoes(void **state)
{
    struct fixture *f = *state;
    unsigned done;
    assert_ok(f, run(f));
    cut_off(f, false);
    assert_ok(f, vmundo_recover(&f->options, &done, &f->err));
    assert_int_equal(done, 1);
    assert_state(f, "running", 1);
    assert_ok(f, vmundo_recover(&f->options, &done, &f->err));
    assert_int_equal(done, 0);
}

static void test_recover_finishes(void **state)
{
    struct fixture *f = *state;
    struct vmundo_domains list;
    assert_ok(f, run(f));
    cut_off(f, true);
    assert_ok(f, vmundo_list(f->v, &list, &f->err));
    assert_string_equal(list.domains[0].state, "unfinished");
    vmundo_domains_free(&list);
    f->warnings = 0;
    assert_error(f, vmundo_rollback(f->v, "web", NULL, &f->err), VMUNDO_NOT_FOUND, "web"); /* it was dropped */
    assert_int_equal(f->warnings, 1);
    test_nothing_is_left(state);
}

static void test_record_round_trip(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *one = NULL, *two = NULL;
    CLEANUP(record_clear) struct record r = {0}, copy = {0};
    assert_ok(f, run(f));
    assert_ok(f, store_get(f->v, "web", &one, &f->err));
    assert_ok(f, record_from_text(one, &r, &f->err));
    assert_non_null(strstr(r.config_text, "caf\xe9\n")); /* not UTF-8, and still there byte for byte */
    assert_ok(f, record_copy(&r, &copy, &f->err));
    assert_ok(f, record_to_text(&copy, &two, &f->err));
    assert_string_equal(one, two);
}

static void test_sizes(void **state)
{
    static const char *const bad[] = {"", "x", "-1", "0", "1.5", "6X", "6GG", "1e9", "99999999999999999999", "9000000T", " 6G", "0x10", "nan", "6 G"};
    uint64_t n;
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (!str_eq(bad[i], "1.5"))
            assert_error(f, vmundo_parse_size(bad[i], &n, &f->err), VMUNDO_USAGE, "size");
    assert_ok(f, vmundo_parse_size("6G", &n, &f->err));
    assert_true(n == 6ULL << 30);
    assert_ok(f, vmundo_parse_size("1.5M", &n, &f->err));
    assert_true(n == 3 << 19);
    assert_ok(f, vmundo_parse_size("4096", &n, &f->err));
    assert_true(n == 4096);
    assert_ok(f, vmundo_parse_size("2KiB", &n, &f->err));
    assert_true(n == 2048);
}

static void test_state_dir_of_others(void **state)
{
    struct fixture *f = *state;
    vmundo_close(f->v);
    f->v = NULL;
    assert_int_equal(chmod(f->state, 0777), 0);
    assert_error(f, vmundo_open(&f->options, &f->v, &f->err), VMUNDO_FAILED, "others may write");
    assert_int_equal(chmod(f->state, 0700), 0);
    reopen(f, false);
}

/* Somebody writes in the folder of a domain that goes, as a recorder does that has not noticed yet. */
static void test_folder_still_written(void **state)
{
    struct fixture *f = *state;
    int dir = -1;
    assert_ok(f, context_domain_dir(f->v, "vm", true, &dir, &f->err));
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < 20000; i++) {
            char name[16];
            snprintf(name, sizeof(name), "%u", i);
            close(openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        }
        _exit(0);
    }
    for (int i = 0; i < 5000 && faccessat(dir, "2000", F_OK, 0) < 0; i++)
        usleep(1000);
    int r = context_remove_domain_dir(f->v, "vm", &f->err);
    waitpid(child, NULL, 0);
    assert_ok(f, r);
    assert_int_equal(context_domain_dir(f->v, "vm", false, &dir, &f->err), -1);
    assert_int_equal(f->err.errnum, ENOENT);
    close(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folder_still_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_options, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_image_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dry_run_touches_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unprotected, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keep_refuses_a_changed_origin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_start_refuses_a_changed_base, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_unwanted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_of_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_until_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_version, setup, teardown),
        cmocka_unit_test_setup_teardown(test_older_version, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_database, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recover_undoes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recover_finishes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_state_dir_of_others, setup, teardown),
    };
    setenv("VMUNDO_LIBEXEC_DIR", "/nowhere", 1); /* no guard of a vmundo that is installed */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
