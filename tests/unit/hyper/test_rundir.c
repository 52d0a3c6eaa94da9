/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test_rundir.c: locks that outlive who took them, and the records beside them. */
#include "../util/tmpdir.h"

#include "hyper/rundir.h"
#include "util/process.h"

#include <signal.h>
#include <sys/wait.h>

static bool is_locked(const struct tmpdir *t)
{
    struct vmundo_error err = {0};
    bool locked;
    if (rundir_is_locked(t->fd, "lock", &locked, &err) < 0)
        fail_msg("%s", err.msg);
    return locked;
}

static void test_lock(void **state)
{
    const struct tmpdir *t = *state;
    assert_false(is_locked(t));
    assert_false(exists(t->fd, "lock"));
    AUTO_CLOSE int lock = rundir_lock(t->fd, "lock");
    assert_true(lock >= 0);
    assert_true(is_locked(t)); /* by our own process too */
    assert_int_equal(rundir_lock(t->fd, "lock"), -1);
    assert_int_equal(errno, EAGAIN);
    close(TAKE_FD(lock));
    assert_false(is_locked(t));
}

/* The child holds it by a descriptor that it knows nothing of, until the moment that it dies. */
static void test_lock_is_inherited(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_CLOSE int lock = rundir_lock(t->fd, "lock");
    const struct process_fd fd = {lock, 9};
    struct process_options o = PROCESS_OPTIONS_INIT;
    struct vmundo_error err = {0};
    pid_t pid;
    o.fds = &fd;
    o.n_fds = 1;
    assert_int_equal(process_spawn((const char *const[]){"sleep", "60", NULL}, &o, &pid, &err), 0);
    close(TAKE_FD(lock));
    assert_true(is_locked(t));
    assert_int_equal(rundir_lock(t->fd, "lock"), -1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_false(is_locked(t));
}

static void test_lock_refuses_links(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error err = {0};
    bool locked;
    assert_int_equal(symlinkat("/etc/passwd", t->fd, "lock"), 0);
    assert_int_equal(rundir_lock(t->fd, "lock"), -1);
    assert_int_equal(rundir_is_locked(t->fd, "lock", &locked, &err), -1);
}

static void test_record(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error err = {0};
    struct monitor_record r = {.process = {.pid = 4194304, .start = UINT64_C(0x7fffffffffffffff)},
                               .held = true,
                               .crowded = true,
                               .frozen = true},
                          got, least = {.process = r.process};
    AUTO_CLOSE int lock = rundir_lock(t->fd, RUNDIR_MONITOR_LOCK);
    assert_int_equal(monitor_record_read(t->fd, &got, &err), -1); /* empty: not written yet */
    assert_int_equal(monitor_record_write(lock, &r, &err), 0);
    assert_int_equal(monitor_record_read(t->fd, &got, &err), 0);
    assert_int_equal(got.process.pid, 4194304);
    assert_true(got.process.start == r.process.start);
    assert_true(got.held && got.frozen && got.crowded);
    assert_false(got.paused || got.no_room);
    assert_int_equal(monitor_record_write(lock, &least, &err), 0); /* "false" is the longest */
    assert_int_equal(monitor_record_read(t->fd, &got, &err), 0);
    assert_true(got.process.start == r.process.start);
    assert_false(got.held || got.frozen || got.crowded);
    /* A shorter one leaves nothing of the longer one behind. */
    r = (struct monitor_record){.process = {.pid = 1, .start = 2}, .paused = true};
    assert_int_equal(monitor_record_write(lock, &r, &err), 0);
    assert_int_equal(monitor_record_read(t->fd, &got, &err), 0);
    assert_int_equal(got.process.pid, 1);
    assert_true(got.paused);
    assert_false(got.held);
}

static void test_put_get(void **state)
{
    const struct tmpdir *t = *state;
    struct vmundo_error err = {0};
    struct sys_process self, got;
    AUTO_JSON json_t *back = NULL;
    assert_int_equal(sys_process_self(&self), 0);
    AUTO_JSON json_t *o = rundir_process_json(&self);
    assert_int_equal(rundir_get(t->fd, "file", &back, &err), -1);
    assert_int_equal(err.errnum, ENOENT);
    assert_int_equal(rundir_put(t->fd, "file", o, &err), 0);
    assert_int_equal(rundir_get(t->fd, "file", &back, &err), 0);
    assert_int_equal(rundir_process_parse(back, &got, &err), 0);
    assert_int_equal(got.pid, getpid());
    assert_true(got.start == self.start);
    put_file(t->fd, "file", "{\"pid\":\"1\"}");
    json_decref(TAKE(back));
    assert_int_equal(rundir_get(t->fd, "file", &back, &err), 0);
    assert_int_equal(rundir_process_parse(back, &got, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lock, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_lock_is_inherited, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_lock_refuses_links, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_record, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_put_get, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
