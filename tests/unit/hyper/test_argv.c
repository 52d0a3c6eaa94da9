/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test_argv.c: golden files. golden/NAME.cfg must become NAME.args: QEMU's arguments, one a line, then a line "notes"
 * and what has no effect, one a line; or "error: " and the message. A comment "# host: kvm user none ovmf ram ram-private
 * incoming block=VDEV" in the configuration says what the host is like. VMUNDO_GOLDEN_UPDATE=1 writes the files instead: read the difference
 * before committing it.
 */
#include "config/config.h"
#include "hyper/qemu-argv.h"
#include "util/sys.h"

#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct host {
    struct qemu_host h;
    bool is_block[64];
};

static bool host_has(const char *line, const char *word)
{
    return line && memmem(line, strcspn(line, "\n"), word, strlen(word));
}

static void parse_host(const char *text, const struct domain *d, struct host *ret)
{
    const char *line = strstr(text, "# host:");
    *ret = (struct host){.h = {.program = "qemu-system-x86_64",
                               .kvm = host_has(line, " kvm"),
                               .net = host_has(line, " user")   ? NET_USER
                                      : host_has(line, " none") ? NET_NONE
                                                                : NET_BRIDGE,
                               .ram = host_has(line, " ram-private") ? RAM_PRIVATE
                                      : host_has(line, " ram")       ? RAM_SHARED
                                                                     : RAM_ANONYMOUS,
                               .incoming = host_has(line, " incoming"),
                               .ovmf = host_has(line, " ovmf") ? "/usr/share/ovmf/OVMF.fd" : NULL}};
    if (host_has(line, " root"))
        strcpy(ret->h.run_as, "123:456");
    for (size_t i = 0; i < d->n_disks; i++) {
        char word[64];
        snprintf(word, sizeof(word), " block=%s", d->disks[i].vdev);
        ret->is_block[i] = host_has(line, word);
    }
    ret->h.is_block = ret->is_block;
}

static void make_argv(const char *text, const char *path, FILE *out)
{
    CLEANUP(domain_clear) struct domain d = {0};
    AUTO_STRV struct strv argv = {0}, notes = {0};
    struct vmundo_error err = {0};
    struct host host;
    if (config_parse(text, path, &d, &err) < 0)
        fail_msg("%s", err.msg);
    parse_host(text, &d, &host);
    if (qemu_argv(&d, &host.h, &argv, &err) < 0 || qemu_notes(&d, &host.h, &notes, &err) < 0) {
        fprintf(out, "error: %s\n", err.msg);
        return;
    }
    for (size_t i = 0; i < argv.n; i++)
        fprintf(out, "%s\n", argv.items[i]);
    fprintf(out, "notes\n");
    for (size_t i = 0; i < notes.n; i++)
        fprintf(out, "%s\n", notes.items[i]);
}

static void check_golden(const char *cfg)
{
    AUTO_FREE char *text = NULL, *want = NULL, *got = NULL, *args = NULL;
    struct vmundo_error err = {0};
    size_t size = 0;
    assert_int_equal(sys_read_file(AT_FDCWD, cfg, 65536, &text, NULL, &err), 0);
    args = str_printf(NULL, "%.*s.args", (int)(strlen(cfg) - strlen(".cfg")), cfg);
    AUTO_FCLOSE FILE *out = open_memstream(&got, &size);
    /* As if it lay here, wherever the source is. */
    make_argv(text, "/etc/xen/golden.cfg", out);
    fflush(out);
    if (getenv("VMUNDO_GOLDEN_UPDATE")) {
        AUTO_FCLOSE FILE *f = fopen(args, "we");
        fputs(got, f);
        return;
    }
    if (sys_read_file(AT_FDCWD, args, 65536, &want, NULL, &err) < 0)
        fail_msg("%s: %s", args, err.msg);
    if (!str_eq(got, want))
        fail_msg("%s: wanted\n%s\ngot\n%s", args, want, got);
}

static void test_golden(void **state)
{
    (void)state;
    glob_t files = {0};
    assert_int_equal(glob(GOLDEN_DIR "/*.cfg", 0, NULL, &files), 0);
    assert_true(files.gl_pathc > 10);
    for (size_t i = 0; i < files.gl_pathc; i++)
        check_golden(files.gl_pathv[i]);
    globfree(&files);
}

/* What xl.cfg files cannot hold, but struct domain can. */
static void test_not_utf8(void **state)
{
    (void)state;
    char vdev[] = "xvda", target[] = "/x/\xff", name[] = "web";
    struct domain_disk disk = {.vdev = vdev, .target = target, .format = FORMAT_RAW};
    struct domain d = {.name = name, .memory_mib = 128, .vcpus = 1, .disks = &disk, .n_disks = 1};
    struct qemu_host h = {.program = "qemu-system-x86_64"};
    struct vmundo_error err = {0};
    AUTO_STRV struct strv argv = {0};
    assert_int_equal(qemu_argv(&d, &h, &argv, &err), -1);
    assert_string_equal(err.msg, "xvda: the target's name is not UTF-8, which QEMU does not accept");
}

/* One that a saved state does not fit must differ; one that it fits must not. */
static void assert_machine(const char *const *a, const char *const *b, size_t n, bool same)
{
    AUTO_STRV struct strv one = {0}, two = {0};
    struct vmundo_error err = {0};
    assert_int_equal(qemu_machine(a, n, &one, &err), 0);
    assert_int_equal(qemu_machine(b, n, &two, &err), 0);
    bool equal = one.n == two.n;
    for (size_t i = 0; equal && i < one.n; i++)
        equal = str_eq(one.items[i], two.items[i]);
    assert_true(equal == same);
}

static void test_machine(void **state)
{
    (void)state;
    static const char *const a[] = {"qemu", "-S", "-m", "128", "-append", "-m", "-device", "e1000,id=a,mac=52:54:00:00:00:01,x=y"};
    static const char *const mac[] = {"other", "-S", "-m", "128", "-append", "-device", "-device", "e1000,id=a,mac=52:54:00:00:00:02,x=y"};
    static const char *const memory[] = {"qemu", "-S", "-m", "256", "-append", "-m", "-device", "e1000,id=a,mac=52:54:00:00:00:01,x=y"};
    static const char *const device[] = {"qemu", "-S", "-m", "128", "-append", "-m", "-device", "e1000,id=a,mac=52:54:00:00:00:01,x=z"};
    static const char *const backed[] = {"qemu", "-machine", "memory-backend=pc.ram", "-m", "1"};
    static const char *const plain[] = {"qemu", "-name", "x", "-m", "1"};
    AUTO_STRV struct strv facts = {0};
    struct vmundo_error err = {0};
    assert_machine(a, mac, ARRAY_SIZE(a), true);
    assert_machine(a, memory, ARRAY_SIZE(a), false);
    assert_machine(a, device, ARRAY_SIZE(a), false);
    assert_machine(backed, plain, ARRAY_SIZE(plain), true);
    assert_int_equal(qemu_machine(a, ARRAY_SIZE(a), &facts, &err), 0);
    assert_int_equal(facts.n, 2);
    assert_string_equal(facts.items[0], "-m 128");
    assert_string_equal(facts.items[1], "-device e1000,id=a,x=y");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_not_utf8),
        cmocka_unit_test(test_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
