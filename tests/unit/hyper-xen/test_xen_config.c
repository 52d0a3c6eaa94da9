/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What xl gets to read, and which domains can stand beside each other. The result is read again with xl's own parser. */
#include "hyper/xen.h"

#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#define HEAD "name = \"web\"\nmemory = 64\n"

/* The domain of text, as core hands it on: parsed, with relative paths against /etc/xen. */
static void parse(const char *text, const char *path, struct domain *ret)
{
    struct vmundo_error err = {0};
    if (config_parse(text, path, ret, &err) < 0)
        fail_msg("%s", err.msg);
}

static char *config_text(const char *text, const struct xen_loop *loops, const char *script, bool no_net)
{
    static const struct xen_loop none[8];
    CLEANUP(domain_clear) struct domain d = {0};
    struct vmundo_error err = {0};
    char *result = NULL;
    parse(text, "/etc/xen/web.cfg", &d);
    struct xen_config c = {.domain = &d,
                           .uuid = "109971aa-014c-4d83-8b51-1b01ad68873a",
                           .loops = loops ? loops : none,
                           .script = script,
                           .no_net = no_net};
    if (xen_config_text(&c, text, &result, &err) < 0)
        fail_msg("%s", err.msg);
    return result;
}

/* The result, as xl understands it in any working directory. */
static void configure(const char *text, const struct xen_loop *loops, struct domain *ret)
{
    AUTO_FREE char *result = config_text(text, loops, NULL, false);
    parse(result, "/elsewhere/xl.cfg", ret);
}

static void test_the_users_part_stays(void **state)
{
    (void)state;
    static const char text[] = "# web\n" HEAD "disk = [ 'phy:/dev/vg/web,xvda,w' ] # the disk\nweight=1";
    AUTO_FREE char *result = config_text(text, NULL, NULL, false);
    assert_int_equal(strncmp(result, text, strlen(text)), 0);
}

static void test_name_and_uuid(void **state)
{
    (void)state;
    CLEANUP(domain_clear) struct domain d = {0};
    configure(HEAD "uuid = \"00000000-0000-0000-0000-000000000001\"\n", NULL, &d);
    assert_string_equal(d.name, "web--new");
    assert_string_equal(d.uuid, "109971aa-014c-4d83-8b51-1b01ad68873a");
    assert_int_equal(d.n_disks, 0);
}

static void test_relative_paths_become_absolute(void **state)
{
    (void)state;
    CLEANUP(domain_clear) struct domain d = {0};
    configure(HEAD "kernel = 'k'\nramdisk = \"r\\\"d\"\ndisk = [ 'a.img,raw,xvda,w', 'b.qcow2,qcow2,xvdb,w' ]\n", NULL, &d);
    assert_string_equal(d.kernel, "/etc/xen/k");
    assert_string_equal(d.ramdisk, "/etc/xen/r\"d");
    assert_string_equal(d.disks[0].target, "/etc/xen/a.img");
    assert_string_equal(d.disks[1].target, "/etc/xen/b.qcow2");
    assert_int_equal(d.disks[1].format, FORMAT_QCOW2);
}

/* Only the disk that has one changes. */
static void test_loop_devices(void **state)
{
    (void)state;
    CLEANUP(domain_clear) struct domain d = {0};
    char path[] = "/dev/loop7";
    const struct xen_loop loops[3] = {{-1, NULL}, {5, path}, {-1, NULL}};
    configure(HEAD "disk = [ 'phy:/dev/vg/a,xvda,w', \"file:/img/it's.img,xvdb,r\" ]\n"
                   "disk += [ '/img/c.iso,raw,xvdc,cdrom' ]\n", loops, &d);
    assert_int_equal(d.n_disks, 3);
    assert_string_equal(d.disks[0].target, "/dev/vg/a");
    assert_string_equal(d.disks[1].target, "/dev/loop7");
    assert_true(d.disks[1].readonly);
    assert_string_equal(d.disks[1].vdev, "xvdb");
    assert_string_equal(d.disks[2].target, "/img/c.iso");
    assert_true(d.disks[2].cdrom);
}

static void test_odd_characters(void **state)
{
    (void)state;
    CLEANUP(domain_clear) struct domain d = {0};
    configure(HEAD "disk = [ \"/img/it's \\\\ one.img,raw,xvda,w\" ]\n", NULL, &d);
    assert_string_equal(d.disks[0].target, "/img/it's \\ one.img");
}

/* Our block script only where the kernel's backend gets a block device, and the user has no wish of his own. /dev/loop0
 * may not exist here, so the test looks for a block device that does. */
static void test_block_script(void **state)
{
    (void)state;
    static const char *const candidates[] = {"/dev/loop0", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/ram0"};
    const char *device = NULL;
    struct stat st;
    for (size_t k = 0; !device && k < ARRAY_SIZE(candidates); k++)
        if (stat(candidates[k], &st) == 0 && S_ISBLK(st.st_mode))
            device = candidates[k];
    if (!device)
        skip();
    AUTO_FREE char *text = str_printf(NULL, HEAD "disk = [ 'phy:%s,xvda,w', '/no/such,raw,xvdb,w', "
                                            "'vdev=xvdc,backendtype=qdisk,target=%s.q', "
                                            "'script=/my/own,vdev=xvdd,target=%s' ]\n", device, device, device);
    AUTO_FREE char *result = config_text(text, NULL, "/libexec/block", false);
    CLEANUP(domain_clear) struct domain d = {0};
    parse(result, "/xl.cfg", &d);
    assert_string_equal(d.disks[0].script, "/libexec/block");
    assert_string_equal(d.disks[0].target, device);
    assert_null(d.disks[1].script);
    assert_null(d.disks[2].script);
    assert_string_equal(d.disks[2].backendtype, "qdisk");
    assert_string_equal(d.disks[3].script, "/my/own");
}

static void test_no_network(void **state)
{
    (void)state;
    static const char text[] = HEAD "vif = [ 'bridge=br0' ]\n";
    CLEANUP(domain_clear) struct domain with = {0}, without = {0};
    AUTO_FREE char *a = config_text(text, NULL, NULL, false), *b = config_text(text, NULL, NULL, true);
    parse(a, "/xl.cfg", &with);
    parse(b, "/xl.cfg", &without);
    assert_int_equal(with.n_vifs, 1);
    assert_int_equal(without.n_vifs, 0);
}

static bool shareable(const char *text)
{
    CLEANUP(domain_clear) struct domain d = {0};
    parse(text, "/etc/xen/web.cfg", &d);
    return xen_config_is_shareable(&d);
}

static void test_shareable(void **state)
{
    (void)state;
    assert_true(shareable(HEAD));
    assert_true(shareable(HEAD "vif = [ 'bridge=br0,mac=00:16:3e:00:00:01', 'script=vif-bridge' ]\non_crash = 'restart'\n"));
    assert_false(shareable(HEAD "uuid = \"00000000-0000-0000-0000-000000000001\"\n"));
    assert_false(shareable(HEAD "vif = [ 'vifname=web0' ]\n"));
    assert_false(shareable(HEAD "vif = [ 'ip=10.0.0.5' ]\n"));
    assert_false(shareable(HEAD "vif = [ 'script=vif-route' ]\n"));
    assert_false(shareable(HEAD "pci = [ '01:00.0' ]\n"));
    assert_false(shareable(HEAD "vncdisplay = 3\n"));
    assert_false(shareable(HEAD "some_future_key = 1\n"));
}

static void test_memory(void **state)
{
    (void)state;
    CLEANUP(domain_clear) struct domain pv = {0}, hvm = {0};
    parse("name = 'a'\nmemory = 1024\nmaxmem = 2048\n", "/a", &pv);
    parse("name = 'a'\ntype = 'hvm'\nmemory = 2048\n", "/a", &hvm);
    assert_true(xen_config_memory_kib(&pv) > 2048 * 1024);
    assert_true(xen_config_memory_kib(&pv) < 2048 * 1024 * 11 / 10);
    assert_true(xen_config_memory_kib(&hvm) > xen_config_memory_kib(&pv));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_users_part_stays),
        cmocka_unit_test(test_name_and_uuid),
        cmocka_unit_test(test_relative_paths_become_absolute),
        cmocka_unit_test(test_loop_devices),
        cmocka_unit_test(test_odd_characters),
        cmocka_unit_test(test_block_script),
        cmocka_unit_test(test_no_network),
        cmocka_unit_test(test_shareable),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
