/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test_parse.c: does a configuration mean what xl takes it to mean? */
#include "common.h"

static const char full[] = "# a domain with everything\n"
                           "name = 'web-1.test'\n"
                           "uuid = \"0D5D8E23-6C85-4D4B-9C6F-0A1B2C3D4E5F\"\n"
                           "type = \"hvm\"\n"
                           "memory = 512; maxmem = 0x400\n"
                           "vcpus = 2\n"
                           "maxvcpus = 4\n"
                           "kernel = \"boot/vmlinuz\"\n"
                           "ramdisk = '/boot/initrd'\n"
                           "root = \"/dev/xvda1\"\n"
                           "extra = \"ro quiet\"\n"
                           "bootloader = \"pygrub\"\n"
                           "firmware = \"ovmf\"\n"
                           "boot = \"dc\"\n"
                           "disk = [ 'file:/img/a,xvda,w,   discard', # the root\n"
                           "         \"format=qcow2, vdev=xvdb, access=ro, target=b.qcow2\",\n"
                           "         ',,hdc:cdrom', ]\n"
                           "vif = [ 'mac=00:16:3E:1:2:fF, bridge=xenbr0,model=e1000,type=ioemu', '',\n"
                           "        'ip=10.0.0.1,script=vif-route,vifname=v1,rate=10Mb/s,mtu=9000' ]\n"
                           "serial = [ 'pty', 'null' ]\n"
                           "on_poweroff = 'preserve'\n"
                           "on_reboot = 'destroy'\n"
                           "on_crash = 'coredump-restart'\n"
                           "vnc = 1\n"
                           "vnc = 0\n";

static void test_full_machine(void **state)
{
    (void)state;
    AUTO_DOMAIN struct domain d = parse_ok(full);
    assert_text(d.name, "web-1.test");
    assert_text(d.uuid, "0d5d8e23-6c85-4d4b-9c6f-0a1b2c3d4e5f");
    assert_int_equal(d.type, DOMAIN_HVM);
    assert_int_equal(d.memory_mib, 512);
    assert_int_equal(d.maxmem_mib, 1024);
    assert_int_equal(d.vcpus, 2);
    assert_int_equal(d.maxvcpus, 4);
    assert_text(d.kernel, "/cfg/boot/vmlinuz");
    assert_text(d.ramdisk, "/boot/initrd");
    assert_text(d.cmdline, "root=/dev/xvda1 ro quiet");
    assert_text(d.bootloader, "pygrub");
    assert_text(d.firmware, "ovmf");
    assert_text(d.boot, "dc");
    assert_int_equal(d.on_poweroff, ACTION_PRESERVE);
    assert_int_equal(d.on_reboot, ACTION_DESTROY);
    assert_int_equal(d.on_crash, ACTION_RESTART);
}

static void test_full_devices(void **state)
{
    (void)state;
    AUTO_DOMAIN struct domain d = parse_ok(full);
    assert_int_equal(d.n_disks, 3);
    assert_text(d.disks[0].target, "/img/a");
    assert_false(d.disks[0].readonly);
    assert_text(d.disks[1].target, "/cfg/b.qcow2");
    assert_int_equal(d.disks[1].format, FORMAT_QCOW2);
    assert_true(d.disks[1].readonly);
    assert_int_equal(d.disks[2].format, FORMAT_EMPTY);
    assert_true(d.disks[2].cdrom);
    assert_ptr_equal(domain_find_disk(&d, "xvdb"), &d.disks[1]);
    assert_null(domain_find_disk(&d, "xvdz"));

    assert_int_equal(d.n_vifs, 3);
    assert_text(d.vifs[0].mac, "00:16:3e:01:02:ff");
    assert_text(d.vifs[0].bridge, "xenbr0");
    assert_text(d.vifs[0].model, "e1000");
    assert_text(d.vifs[0].type, "ioemu");
    assert_text(d.vifs[1].mac, NULL);
    assert_text(d.vifs[2].ip, "10.0.0.1");
    assert_text(d.vifs[2].script, "vif-route");
    assert_text(d.vifs[2].vifname, "v1");

    assert_int_equal(d.serials.n, 2);
    assert_text(d.serials.items[1], "null");
    static const char *const keys[] = {
        "name",   "uuid",    "type",   "memory",      "maxmem",     "vcpus",    "maxvcpus",
        "kernel", "ramdisk", "root",   "extra",       "bootloader", "firmware", "boot",
        "disk",   "vif",     "serial", "on_poweroff", "on_reboot",  "on_crash", "vnc",
    };
    assert_int_equal(d.keys.n, ARRAY_SIZE(keys));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        assert_text(d.keys.items[i], keys[i]);
}

static void test_defaults(void **state)
{
    (void)state;
    AUTO_DOMAIN struct domain d = parse_ok("name = \"x\"");
    assert_int_equal(d.type, DOMAIN_PV);
    assert_int_equal(d.memory_mib, 32);
    assert_int_equal(d.maxmem_mib, 32);
    assert_int_equal(d.vcpus, 1);
    assert_int_equal(d.maxvcpus, 1);
    assert_int_equal(d.on_poweroff, ACTION_DESTROY);
    assert_int_equal(d.on_reboot, ACTION_RESTART);
    assert_int_equal(d.on_crash, ACTION_DESTROY);
    const char *const absent[] = {d.uuid, d.kernel, d.ramdisk, d.cmdline, d.bootloader, d.firmware, d.boot};
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
        assert_null(absent[i]);
    assert_int_equal(d.n_disks + d.n_vifs + d.serials.n, 0);
}

static void test_memory_and_vcpus(void **state)
{
    (void)state;
    AUTO_DOMAIN struct domain a = parse_ok("name='x'\nmemory=100");
    assert_int_equal(a.maxmem_mib, 100);
    AUTO_DOMAIN struct domain b = parse_ok("name='x'\nmaxmem='0200'"); /* octal, and a string: as xl */
    assert_int_equal(b.memory_mib, 128);
    AUTO_DOMAIN struct domain c = parse_ok("name='x'\nmaxvcpus=8");
    assert_int_equal(c.vcpus, 1);
    assert_int_equal(c.maxvcpus, 8);
}

static void test_type(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum domain_type type;
    } cases[] = {
        {"type='pv'", DOMAIN_PV},
        {"type='pvh'", DOMAIN_PVH},
        {"builder='hvm'", DOMAIN_HVM},
        {"builder='generic'", DOMAIN_PV},
        {"builder='hvm';type='hvm'", DOMAIN_HVM},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTO_FREE char *text = str_printf(NULL, "name='x'\n%s\n", cases[i].line);
        AUTO_DOMAIN struct domain d = parse_ok(text);
        assert_int_equal(d.type, cases[i].type);
    }
    assert_string_equal(domain_type_name(DOMAIN_PVH), "pvh");
}

static void test_cmdline(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *want;
    } cases[] = {
        {"root='/dev/xvda'", "root=/dev/xvda"},
        {"extra='quiet'", "quiet"},
        {"root='/dev/xvda'\nextra='quiet'", "root=/dev/xvda quiet"},
        {"cmdline='console=hvc0'\nroot='/dev/xvda'\nextra='quiet'", "console=hvc0"},
        {"extra=''", NULL},
        {"extra='a'\nextra+=' b'", "a b"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTO_FREE char *text = str_printf(NULL, "name='x'\n%s\n", cases[i].lines);
        AUTO_DOMAIN struct domain d = parse_ok(text);
        assert_text(d.cmdline, cases[i].want);
    }
}

static void test_firmware(void **state)
{
    (void)state;
    AUTO_DOMAIN struct domain a = parse_ok("name='x'\nbios='seabios'");
    assert_text(a.firmware, "seabios");
    AUTO_DOMAIN struct domain b = parse_ok("name='x'\nfirmware='fw/OVMF.fd'\nbios='seabios'");
    assert_text(b.firmware, "/cfg/fw/OVMF.fd");
    AUTO_DOMAIN struct domain c = parse_ok("name='x'\nbuilder='hvm'\nkernel='/usr/lib/xen/boot/hvmloader'");
    assert_text(c.kernel, NULL);
    AUTO_DOMAIN struct domain d = parse_ok("name='x'\nkernel='/boot/hvmloader'");
    assert_text(d.kernel, "/boot/hvmloader");
}

static void test_actions(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum domain_action action;
    } cases[] = {
        {"destroy", ACTION_DESTROY},    {"restart", ACTION_RESTART},          {"rename-restart", ACTION_RESTART},
        {"preserve", ACTION_PRESERVE},  {"coredump-destroy", ACTION_DESTROY}, {"coredump-restart", ACTION_RESTART},
        {"soft-reset", ACTION_RESTART},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTO_FREE char *text =
            str_printf(NULL, "name='x'\non_poweroff='%s'\non_crash='%s'", cases[i].name, cases[i].name);
        AUTO_DOMAIN struct domain d = parse_ok(text);
        assert_int_equal(d.on_poweroff, cases[i].action);
        assert_int_equal(d.on_crash, cases[i].action);
        assert_int_equal(d.on_reboot, ACTION_RESTART);
    }
}

/* The last assignment counts, += adds, strings have either quote and escapes. */
static void test_syntax(void **state)
{
    (void)state;
    AUTO_DOMAIN struct domain d = parse_ok("name=\"a\";name='b' # not 'c'\n"
                                           "disk=['/a,raw,xvda']\n"
                                           "disk = [ '/b\\'s,raw,xvdb', ]\n"
                                           "disk += [\n\n\"/c\\\\d \\\"e\\\",raw,xvdc\"\n]\n"
                                           "serial='pty'\n"
                                           "vif=[]\n");
    assert_text(d.name, "b");
    assert_int_equal(d.n_disks, 2);
    assert_text(d.disks[0].target, "/b's");
    assert_text(d.disks[1].target, "/c\\d \"e\"");
    assert_int_equal(d.n_vifs, 0);
    assert_text(d.serials.items[0], "pty");
}

/* One target twice is no harm as long as nobody writes to it, and the same word means different things to scripts. */
static void test_shared_targets(void **state)
{
    (void)state;
    AUTO_DOMAIN struct domain a =
        parse_ok("name='x'\ndisk=['/a,raw,xvda,r','/a,raw,xvdb,r',',,hdc:cdrom',',,hdd:cdrom']");
    assert_int_equal(a.n_disks, 4);
    AUTO_DOMAIN struct domain b = parse_ok("name='x'\ndisk=['drbd:r0,xvda,w','iscsi:r0,xvdb,w']");
    assert_int_equal(b.n_disks, 2);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "0", "a.b_c+d-e", "A..",
                                       "a12345678901234567890123456789012345678901234567890123456789012"};
    static const char *const bad[] = {
        "",    ".",   "..",  "-a", "_a",    "+a",
        "a/b", "a b", "a\n", "ä",  "a\x01", "a123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_int_equal(domain_name_check(good[i], NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (domain_name_check(bad[i], NULL) == 0)
            fail_msg("taken: %s", bad[i]);
}

/* Any one change is seen. */
static void test_equal(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new;
    } changes[] = {
        {"web-1", "web-2"},
        {"0D5D", "0D5E"},
        {"\"hvm\"", "\"pvh\""},
        {"512", "513"},
        {"0x400", "0x401"},
        {"vcpus = 2", "vcpus = 3"},
        {"cpus = 4", "cpus = 5"},
        {"boot/v", "boot/w"},
        {"/initrd", "/initre"},
        {"quiet", "noise"},
        {"pygrub", "pygruc"},
        {"ovmf", "ovmg"},
        {"\"dc\"", "\"cd\""},
        {"/img/a", "/img/b"},
        {"xvda", "xvdd"},
        {",w,", ",r,"},
        {"   discard", "no-discard"},
        {"=qcow2, ", "=qed,   "},
        {"fF", "fE"},
        {"xenbr0", "xenbr1"},
        {"e1000", "e1001"},
        {"10.0.0.1", "10.0.0.2"},
        {"vif-route", "vif-routf"},
        {"=v1", "=v2"},
        {"'null'", "'nulm'"},
        {"'preserve'", "'destroy' "},
        {"'destroy'", "'restart'"},
        {"coredump-restart", "coredump-destroy"},
        {"vnc = 1", "vnd = 1"},
        {"type=ioemu'", "type=vif'  "},
    };
    AUTO_DOMAIN struct domain d = parse_ok(full);
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        AUTO_FREE char *text = strdup(full);
        char *at = strstr(text, changes[i].old);
        assert_non_null(at);
        memcpy(at, changes[i].new, strlen(changes[i].new));
        AUTO_DOMAIN struct domain changed = parse_ok(text);
        if (domain_equal(&d, &changed))
            fail_msg("no difference between %s and %s", changes[i].old, changes[i].new);
    }
}

static void test_formats(void **state)
{
    (void)state;
    for (enum disk_format f = FORMAT_RAW; f < FORMAT_UNKNOWN; f++)
        assert_int_equal(disk_format_parse(disk_format_name(f)), f);
    assert_int_equal(disk_format_parse("unknown"), FORMAT_UNKNOWN);
    assert_int_equal(disk_format_parse("vmdk"), FORMAT_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_machine),     cmocka_unit_test(test_full_devices), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_memory_and_vcpus), cmocka_unit_test(test_type),         cmocka_unit_test(test_cmdline),
        cmocka_unit_test(test_firmware),         cmocka_unit_test(test_actions),      cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_shared_targets),   cmocka_unit_test(test_names),        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
