/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test_hyper.c: the registry, the checked calls, the null driver, and what of the qemu driver needs no QEMU. */
#include "../util/tmpdir.h"

#include "hyper/drivers.h"
#include "hyper/rundir.h"

#include <sys/socket.h>

static char name[] = "web";
static const struct domain domain = {.name = name};

static struct instance instance_in(const struct tmpdir *t, const struct hyper_driver *driver)
{
    return (struct instance){.driver = driver, .domain = &domain, .dir = t->path, .console_log = "/dev/null"};
}

static void assert_power(const struct instance *i, enum hyper_power power, const char *ended)
{
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    CLEANUP(hyper_status_clear) struct hyper_status g = {0};
    struct vmundo_error err = {0};
    if (hyper_state(i, &s, &err) < 0 || hyper_glance(i, &g, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(s.power, power);
    assert_int_equal(g.power, power);
    if (!str_eq(s.ended, ended) || !str_eq(g.ended, ended))
        fail_msg("ended: %s", s.ended ? s.ended : "NULL");
}

/* ---- registry --------------------------------------------------------------------------------------------------- */

static void test_find(void **state)
{
    (void)state;
    assert_ptr_equal(hyper_find("null"), &hyper_null);
    assert_ptr_equal(hyper_find("qemu"), &hyper_qemu);
    assert_null(hyper_find("QEMU"));
    assert_null(hyper_find(NULL));
}

static void test_choose(void **state)
{
    (void)state;
    const struct hyper_driver *h = NULL;
    AUTO_FREE char *why = NULL, *why2 = NULL;
    struct vmundo_error err = {0};
    assert_int_equal(hyper_choose("vmware", &h, &why, &err), -1);
    assert_int_equal(err.code, VMUNDO_USAGE);
    assert_non_null(strstr(err.msg, "no hypervisor driver 'vmware'; there are: qemu, "));
    assert_null(h);
    assert_int_equal(hyper_choose("null", &h, &why, &err), 0);
    assert_ptr_equal(h, &hyper_null);
    assert_string_equal(why, "asked for");

    setenv("VMUNDO_QEMU", "/nowhere/qemu", 1);
    assert_int_equal(hyper_choose("qemu", &h, &why2, &err), -1);
    assert_int_equal(err.code, VMUNDO_FAILED);
    assert_string_equal(err.msg, "/nowhere/qemu is not installed: apt install qemu-system-x86");
    setenv("VMUNDO_QEMU", "/bin/true", 1);
    assert_int_equal(hyper_choose("qemu", &h, &why2, &err), 0);
    unsetenv("VMUNDO_QEMU");
}

static void test_missing_callbacks(void **state)
{
    static const struct hyper_driver empty = {.name = "empty"};
    struct instance i = instance_in(*state, &empty);
    struct hyper_options o = {0};
    struct hyper_status s = {.pid = 7};
    struct strv ignored = {0};
    struct vmundo_error err = {0};
    bool b = true;
    int fd = -7;
    assert_int_equal(hyper_check(&empty, &domain, &o, &ignored, &err), 0);
    assert_int_equal(hyper_rewatch(&i, &err), 0);
    assert_int_equal(hyper_name_taken(&empty, "web", &b, &err), 0);
    assert_false(b);
    assert_int_equal(hyper_start(&i, &err), -1);
    assert_string_equal(err.msg, "the hypervisor driver empty cannot start domains");
    assert_int_equal(hyper_resume(&i, &err), -1);
    assert_int_equal(hyper_pause(&i, &err), -1);
    assert_int_equal(hyper_step_aside(&i, &err), -1);
    assert_int_equal(hyper_shutdown(&i, 0, &b, &err), -1);
    assert_int_equal(hyper_destroy(&i, &err), -1);
    assert_int_equal(hyper_state(&i, &s, &err), -1);
    assert_int_equal(hyper_glance(&i, &s, &err), -1);
    assert_int_equal(hyper_hold(&i, 1, false, &fd, &err), -1);
    assert_int_equal(hyper_release(&empty, -1, &b, &err), -1);
    assert_int_equal(hyper_console(&i, &fd, &err), -1);
    assert_int_equal(hyper_save(&i, "/nowhere/x", &err), -1);
    assert_string_equal(err.msg, "the hypervisor driver empty cannot save guests with their RAM");
    assert_int_equal(hyper_ram_size(&empty, &domain), 0);
    i.ram = "/nowhere/ram";
    assert_int_equal(hyper_start(&i, &err), -1);
    assert_string_equal(err.msg, "the hypervisor driver empty cannot keep a guest's RAM in a file");
    i.ram = NULL;
    i.saved = "/nowhere/saved";
    assert_int_equal(hyper_start(&i, &err), -1);
    assert_string_equal(err.msg, "the hypervisor driver empty cannot bring back guests with their RAM");
    assert_int_equal(s.pid, 7);
    assert_int_equal(fd, -7);
    assert_false(b);
}

/* ---- null ------------------------------------------------------------------------------------------------------- */

static void test_null_life(void **state)
{
    struct instance i = instance_in(*state, &hyper_null);
    struct vmundo_error err = {0};
    bool off = false;
    assert_power(&i, HYPER_OFF, NULL);
    assert_int_equal(hyper_resume(&i, &err), -1);
    assert_int_equal(err.code, VMUNDO_CONFLICT);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(hyper_start(&i, &err), 0);
        assert_power(&i, HYPER_PAUSED, NULL);
    }
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(hyper_resume(&i, &err), 0);
        assert_power(&i, HYPER_RUNNING, NULL);
    }
    assert_int_equal(hyper_start(&i, &err), 0); /* of one that runs: it runs on */
    assert_power(&i, HYPER_RUNNING, NULL);
    assert_int_equal(hyper_pause(&i, &err), 0);
    assert_power(&i, HYPER_PAUSED, NULL);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(hyper_shutdown(&i, 1000, &off, &err), 0);
        assert_true(off);
        assert_power(&i, HYPER_OFF, NULL);
    }
    assert_int_equal(hyper_step_aside(&i, &err), 0); /* one that is off */
    assert_power(&i, HYPER_OFF, NULL);
    assert_int_equal(hyper_start(&i, &err), 0);
    assert_int_equal(hyper_resume(&i, &err), 0);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(hyper_step_aside(&i, &err), 0);
        assert_power(&i, HYPER_PAUSED, NULL);
    }
    for (int twice = 0; twice < 2; twice++)
        assert_int_equal(hyper_destroy(&i, &err), 0);
    assert_power(&i, HYPER_OFF, NULL);
}

static void test_null_saved(void **state)
{
    const struct tmpdir *t = *state;
    struct instance i = instance_in(t, &hyper_null);
    struct vmundo_error err = {0};
    AUTO_FREE char *path = str_printf(NULL, "%s/saved", t->path), *bad = str_printf(NULL, "%s/bad", t->path);
    AUTO_FREE char *file = str_printf(NULL, "%s/ram.file", t->path), *back = NULL;
    assert_int_equal(hyper_save(&i, path, &err), -1);
    assert_string_equal(err.msg, "the domain is off");
    assert_int_equal(hyper_start(&i, &err), 0);
    put_file(t->fd, "ram", "what it knows");
    assert_int_equal(hyper_resume(&i, &err), 0);
    assert_int_equal(hyper_save(&i, path, &err), -1);
    assert_int_equal(err.code, VMUNDO_CONFLICT);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(hyper_pause(&i, &err), 0);
    assert_int_equal(hyper_save(&i, path, &err), 0);
    assert_int_equal(hyper_save(&i, path, &err), -1); /* never over an older one */
    assert_power(&i, HYPER_PAUSED, NULL);
    assert_int_equal(hyper_destroy(&i, &err), 0);
    put_file(t->fd, "ram", "something else");
    i.saved = path;
    assert_int_equal(hyper_start(&i, &err), 0);
    assert_power(&i, HYPER_PAUSED, NULL);
    assert_int_equal(sys_read_file(t->fd, "ram", 100, &back, NULL, &err), 0);
    assert_string_equal(back, "what it knows");
    assert_int_equal(hyper_destroy(&i, &err), 0);
    put_file(t->fd, "bad", "rubbish");
    i.saved = bad;
    assert_int_equal(hyper_start(&i, &err), -1);
    assert_non_null(strstr(err.msg, "is damaged"));
    i.saved = NULL;
    put_file(t->fd, "ram.file", "too short");
    i.ram = file;
    assert_int_equal(hyper_start(&i, &err), -1);
    assert_int_equal(err.code, VMUNDO_CONFLICT);
    assert_int_equal(truncate(file, (off_t)hyper_ram_size(&hyper_null, &domain)), 0);
    assert_int_equal(hyper_start(&i, &err), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(hyper_save(&i, path, &err), 0);
    assert_int_equal(hyper_destroy(&i, &err), 0);
    i.saved = path;
    i.ram = NULL;
    assert_int_equal(hyper_start(&i, &err), -1);
    assert_non_null(strstr(err.msg, "without its RAM"));
}

static void test_null_ends_by_itself(void **state)
{
    const struct tmpdir *t = *state;
    struct instance i = instance_in(t, &hyper_null);
    struct vmundo_error err = {0};
    bool off = true;
    assert_int_equal(hyper_start(&i, &err), 0);
    put_file(t->fd, "stubborn", "");
    assert_int_equal(hyper_shutdown(&i, 1, &off, &err), 0);
    assert_false(off);
    assert_power(&i, HYPER_PAUSED, NULL);
    put_file(t->fd, "running", "guest crashed");
    assert_power(&i, HYPER_OFF, "guest crashed");
    assert_int_equal(hyper_resume(&i, &err), -1);
    assert_int_equal(hyper_start(&i, &err), 0);
    assert_power(&i, HYPER_PAUSED, NULL);
}

static void test_null_console(void **state)
{
    struct instance i = instance_in(*state, &hyper_null);
    struct vmundo_error err = {0};
    AUTO_CLOSE int fd = -1;
    char buf[128];
    assert_int_equal(hyper_console(&i, &fd, &err), -1);
    assert_int_equal(err.code, VMUNDO_CONFLICT);
    assert_int_equal(hyper_start(&i, &err), 0);
    assert_int_equal(hyper_console(&i, &fd, &err), 0);
    assert_true(read(fd, buf, sizeof(buf)) > 0);
    assert_int_equal(read(fd, buf, sizeof(buf)), 0);
}

/* Whatever the driver: an instance whose directory is gone is off, and destroying it is done. */
static void test_no_directory(void **state)
{
    (void)state;
    static const struct hyper_driver *const all[] = {&hyper_null, &hyper_qemu};
    for (size_t n = 0; n < ARRAY_SIZE(all); n++) {
        struct instance i = {.driver = all[n], .domain = &domain, .dir = "/nowhere/run.1", .console_log = "/dev/null"};
        struct vmundo_error err = {0};
        bool off = false;
        int fd;
        assert_power(&i, HYPER_OFF, NULL);
        assert_int_equal(hyper_destroy(&i, &err), 0);
        assert_int_equal(hyper_shutdown(&i, 1000, &off, &err), 0);
        assert_true(off);
        assert_int_equal(hyper_resume(&i, &err), -1);
        assert_int_equal(err.code, VMUNDO_CONFLICT);
        assert_int_equal(hyper_console(&i, &fd, &err), -1);
        assert_int_equal(err.code, VMUNDO_CONFLICT);
        assert_int_equal(hyper_start(&i, &err), -1);
    }
}

/* ---- qemu ------------------------------------------------------------------------------------------------------- */

static void test_qemu_options(void **state)
{
    (void)state;
    struct strv ignored = {0};
    struct vmundo_error err = {0};
    char unreadable[] = "/nowhere/vmlinuz";
    struct domain d = {.name = name, .memory_mib = 128, .vcpus = 1, .type = DOMAIN_HVM};
    struct hyper_options o = {.accel = "hax", .net = "none"};
    assert_int_equal(hyper_check(&hyper_qemu, &d, &o, &ignored, &err), -1);
    assert_int_equal(err.code, VMUNDO_USAGE);
    o = (struct hyper_options){.accel = "tcg", .net = "wifi"};
    assert_int_equal(hyper_check(&hyper_qemu, &d, &o, &ignored, &err), -1);
    assert_int_equal(err.code, VMUNDO_USAGE);
    o.net = "none";
    assert_int_equal(hyper_check(&hyper_qemu, &d, &o, &ignored, &err), 0);
    assert_int_equal(ignored.n, 0);
    d.kernel = unreadable;
    assert_int_equal(hyper_check(&hyper_qemu, &d, &o, &ignored, &err), -1);
    assert_string_equal(err.msg, "kernel: cannot read /nowhere/vmlinuz: No such file or directory");
    assert_int_equal(err.errnum, ENOENT);
}

static void test_qemu_bridge(void **state)
{
    (void)state;
    struct strv ignored = {0};
    struct vmundo_error err = {0};
    char bridge[] = "nobridge0", up[] = "../lo";
    struct domain_vif vif = {.bridge = bridge};
    struct domain d = {.name = name, .memory_mib = 128, .vcpus = 1, .type = DOMAIN_HVM, .vifs = &vif, .n_vifs = 1};
    struct hyper_options o = {.accel = "tcg"};
    assert_int_equal(hyper_check(&hyper_qemu, &d, &o, &ignored, &err), -1);
    assert_non_null(strstr(err.msg, "no bridge nobridge0"));
    vif.bridge = up;
    assert_int_equal(hyper_check(&hyper_qemu, &d, &o, &ignored, &err), -1);
}

/* What another process left in the directory tells how it ended, or that nobody saw it. */
static void test_qemu_ended(void **state)
{
    const struct tmpdir *t = *state;
    struct instance i = instance_in(t, &hyper_qemu);
    struct vmundo_error err = {0};
    assert_power(&i, HYPER_OFF, NULL);
    put_file(t->fd, RUNDIR_QEMU_PID, "{\"pid\":1,\"start\":1,\"since\":1}");
    assert_power(&i, HYPER_OFF, "ended together with its monitor: killed, or the host was restarted");
    put_file(t->fd, RUNDIR_END, "{\"ended\":\"guest powered off\"}");
    assert_power(&i, HYPER_OFF, "guest powered off");
    /* pid 1 is not ours: it must survive this. */
    put_file(t->fd, RUNDIR_MONITOR_LOCK, "{\"pid\":1,\"start\":1,\"paused\":false,\"held\":false}");
    assert_int_equal(hyper_destroy(&i, &err), 0);
    assert_false(exists(t->fd, RUNDIR_QEMU_PID));
}

static void test_qemu_damaged_files(void **state)
{
    const struct tmpdir *t = *state;
    struct instance i = instance_in(t, &hyper_qemu);
    struct hyper_status s = {0};
    struct vmundo_error err = {0};
    put_file(t->fd, RUNDIR_END, "{\"end");
    assert_int_equal(hyper_state(&i, &s, &err), -1);
    assert_non_null(strstr(err.msg, "end.json"));
    put_file(t->fd, RUNDIR_MONITOR_LOCK, "nonsense");
    put_file(t->fd, RUNDIR_QEMU_PID, "\xff");
    assert_int_equal(hyper_destroy(&i, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_choose),
        cmocka_unit_test_setup_teardown(test_missing_callbacks, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_null_life, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_null_saved, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_null_ends_by_itself, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_null_console, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_no_directory),
        cmocka_unit_test(test_qemu_options),
        cmocka_unit_test(test_qemu_bridge),
        cmocka_unit_test_setup_teardown(test_qemu_ended, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_qemu_damaged_files, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
