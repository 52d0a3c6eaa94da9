/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an instance's directory tells: with locks and logs, without Xen. */
#include "../util/tmpdir.h"

#include "hyper/rundir.h"
#include "hyper/xen.h"

#include <poll.h>
#include <pthread.h>

#define UUID "109971aa-014c-4d83-8b51-1b01ad68873a"
#define CREATED "Waiting for domain web--new (domid 7) to die [pid 217]\n"

static struct instance instance_in(const struct tmpdir *t)
{
    return (struct instance){.dir = t->path};
}

static void open_run(const struct tmpdir *t, struct xen_run *n)
{
    struct instance i = instance_in(t);
    struct vmundo_error err = {0};
    if (xen_run_open(&i, n, &err) < 0)
        fail_msg("%s", err.msg);
}

static void write_run(const struct tmpdir *t)
{
    struct vmundo_error err = {0};
    if (xen_run_write(t->fd, UUID, true, &err) < 0)
        fail_msg("%s", err.msg);
}

static void write_log(const struct tmpdir *t, const char *text)
{
    assert_int_equal(sys_put_file(t->fd, XEN_LOG, text, strlen(text), NULL), 0);
}

static void test_no_directory(void **state)
{
    (void)state;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    struct instance i = {.dir = "/no/such/directory"};
    assert_int_equal(xen_run_open(&i, &n, NULL), 0);
    assert_false(n.known);
    bool settled = false;
    assert_int_equal(xen_run_settle(&n, 0, &settled, NULL), 0);
    assert_true(settled);
}

static void test_nothing_was_started(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    write_log(t, CREATED); /* means nothing by itself */
    open_run(t, &n);
    assert_false(n.known);
}

static void test_known(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    write_run(t);
    write_log(t, CREATED);
    open_run(t, &n);
    assert_true(n.known);
    assert_true(n.own_uuid);
    assert_true(n.same_boot);
    assert_false(n.xl_lives);
    assert_string_equal(n.uuid, UUID);
    assert_int_equal(n.log.domid, 7);
    assert_true(n.since > 1600000000);
}

/* Killed before xl could write anything. */
static void test_known_without_log(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    write_run(t);
    open_run(t, &n);
    assert_true(n.known);
    assert_int_equal(n.log.phase, XL_CREATING);
}

static void test_another_boot(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    static const char text[] = "{\"uuid\":\"" UUID "\",\"own\":false,\"boot\":\"other\",\"since\":5}";
    assert_int_equal(sys_put_file(t->fd, XEN_RUN, text, strlen(text), NULL), 0);
    open_run(t, &n);
    assert_true(n.known);
    assert_false(n.same_boot);
    assert_false(n.own_uuid);
    assert_int_equal(n.since, 5);
}

static void test_damaged(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    struct instance i = instance_in(t);
    struct vmundo_error err = {0};
    assert_int_equal(sys_put_file(t->fd, XEN_RUN, "{", 1, NULL), 0);
    assert_int_equal(xen_run_open(&i, &n, &err), -1);
    assert_non_null(strstr(err.msg, t->path));
}

/* xl lives and makes the domain: that is waited for. */
static void test_settle_times_out(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    AUTO_CLOSE int lock = rundir_lock(t->fd, XEN_XL_LOCK);
    bool settled = true;
    assert_true(lock >= 0);
    write_run(t);
    write_log(t, "");
    open_run(t, &n);
    assert_true(n.xl_lives);
    assert_int_equal(xen_run_settle(&n, 1, &settled, NULL), 0);
    assert_false(settled);
}

static void *write_later(void *data)
{
    const struct tmpdir *t = data;
    poll(NULL, 0, 30);
    int fd = openat(t->fd, XEN_LOG, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, CREATED, strlen(CREATED)), (ssize_t)strlen(CREATED));
    close(fd);
    return NULL;
}

static void test_settle_sees_the_domain(void **state)
{
    struct tmpdir *t = *state;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    AUTO_CLOSE int lock = rundir_lock(t->fd, XEN_XL_LOCK);
    bool settled = false;
    pthread_t thread;
    assert_true(lock >= 0);
    write_run(t);
    write_log(t, "");
    open_run(t, &n);
    assert_int_equal(pthread_create(&thread, NULL, write_later, t), 0);
    assert_int_equal(xen_run_settle(&n, 20000, &settled, NULL), 0);
    pthread_join(thread, NULL);
    assert_true(settled);
    assert_int_equal(n.log.phase, XL_WATCHING);
    assert_int_equal(n.log.domid, 7);
}

/* xl has given up, and can say nothing more. */
static void test_settle_sees_the_end(void **state)
{
    const struct tmpdir *t = *state;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    bool settled = false;
    write_run(t);
    write_log(t, "libxl: error: libxl_a.c:1:f: no\n");
    open_run(t, &n);
    assert_int_equal(xen_run_settle(&n, 20000, &settled, NULL), 0);
    assert_true(settled);
    assert_int_equal(n.log.phase, XL_CREATING);
}

#define IN_TMPDIR(test) cmocka_unit_test_setup_teardown(test, tmpdir_setup, tmpdir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_directory),
        IN_TMPDIR(test_nothing_was_started),
        IN_TMPDIR(test_known),
        IN_TMPDIR(test_known_without_log),
        IN_TMPDIR(test_another_boot),
        IN_TMPDIR(test_damaged),
        IN_TMPDIR(test_settle_times_out),
        IN_TMPDIR(test_settle_sees_the_domain),
        IN_TMPDIR(test_settle_sees_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
