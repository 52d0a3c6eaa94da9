/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test_diskspec.c: every way to write a disk, and every way to give it another target. */
#include "common.h"

#include "config/diskspec.h"

struct spec_case {
    const char *spec, *vdev, *target;
    enum disk_format format;
    const char *flags; /* r read-only, c CD-ROM, d discard */
    const char *script, *backendtype;
};

static const struct spec_case spec_cases[] = {
    /* positions */
    {"/dev/vg/v,,hda", "hda", "/dev/vg/v", FORMAT_RAW, "d", NULL, NULL},
    {"/dev/vg/v,raw,hda,rw", "hda", "/dev/vg/v", FORMAT_RAW, "d", NULL, NULL},
    {" /a ,qcow2, xvda, r", "xvda", "/a ", FORMAT_QCOW2, "r", NULL, NULL},
    {"/a,\tvhd,\txvda", "xvda", "/a", FORMAT_VHD, "d", NULL, NULL},
    /* keys */
    {"format=raw, vdev=hda, access=rw, target=/dev/vg/v", "hda", "/dev/vg/v", FORMAT_RAW, "d", NULL, NULL},
    {"vdev=xvda,format=qed,target=/a,b=c:d ", "xvda", "/a,b=c:d ", FORMAT_QED, "d", NULL, NULL},
    {"/a,vdev=d0p1,qcow", "d0p1", "/a", FORMAT_QCOW, "d", NULL, NULL},
    {"/a,raw,xvda,w,no-discard,backendtype=qdisk", "xvda", "/a", FORMAT_RAW, "", NULL, "qdisk"},
    {"/a,raw,xvda,ro,discard,backendtype=phy", "xvda", "/a", FORMAT_RAW, "rd", NULL, "phy"},
    {"vdev=xvda,script=block-mine,target=thing", "xvda", "thing", FORMAT_RAW, "d", "block-mine", NULL},
    /* old prefixes */
    {"file:/img/a,xvda,w", "xvda", "/img/a", FORMAT_RAW, "d", NULL, NULL},
    {"phy:/dev/vg/v,sda1,r", "sda1", "/dev/vg/v", FORMAT_RAW, "r", NULL, NULL},
    {"tap:aio:/img/a,xvda,w", "xvda", "/img/a", FORMAT_RAW, "d", NULL, NULL},
    {"tap:qcow2:/img/a,xvda,w", "xvda", "/img/a", FORMAT_QCOW2, "d", NULL, NULL},
    {"tap2:vhd:/img/a,xvda,w", "xvda", "/img/a", FORMAT_VHD, "d", NULL, NULL},
    {"tapdisk:raw:/img/a,ioemu:hda,w", "hda", "/img/a", FORMAT_RAW, "d", NULL, NULL},
    {"iscsi:iqn.x,xvda,w", "xvda", "iqn.x", FORMAT_RAW, "d", "block-iscsi", NULL},
    {"nbd:host,xvda,w", "xvda", "host", FORMAT_RAW, "d", "block-nbd", NULL},
    {"drbd:res,xvda,w", "xvda", "res", FORMAT_RAW, "d", "block-drbd", NULL},
    /* protocols */
    {"rbd:pool/image,raw,xvda,w", "xvda", "rbd:pool/image", FORMAT_RAW, "d", NULL, NULL},
    {"vdev=xvda,target=rbd:pool/i:mon_host=h", "xvda", "rbd:pool/i:mon_host=h", FORMAT_RAW, "d", NULL, NULL},
    {"vdev=xvda,target=nbd:127.0.0.1:10809", "xvda", "nbd:127.0.0.1:10809", FORMAT_RAW, "d", NULL, NULL},
    /* relative */
    {"img/a,raw,xvda,w", "xvda", "/cfg/img/a", FORMAT_RAW, "d", NULL, NULL},
    {"vdev=xvda,target=../a", "xvda", "/cfg/../a", FORMAT_RAW, "d", NULL, NULL},
    {"vdev=xvda,target=./a:b", "xvda", "/cfg/./a:b", FORMAT_RAW, "d", NULL, NULL},
    {"file:a,xvda,w", "xvda", "/cfg/a", FORMAT_RAW, "d", NULL, NULL},
    {"phy:vg/v,xvda,w", "xvda", "/dev/vg/v", FORMAT_RAW, "d", NULL, NULL},
    {"phy: vg/v,xvda,w", "xvda", "/dev/vg/v", FORMAT_RAW, "d", NULL, NULL},
    /* CD-ROMs */
    {"/i.iso,,hdc,cdrom", "hdc", "/i.iso", FORMAT_RAW, "rc", NULL, NULL},
    {"/i.iso,,hdc,,cdrom", "hdc", "/i.iso", FORMAT_RAW, "rc", NULL, NULL},
    {"/i.iso,raw,hdc,devtype=cdrom", "hdc", "/i.iso", FORMAT_RAW, "rc", NULL, NULL},
    {"raw:/i.iso,hdc:cdrom,ro", "hdc", "/i.iso", FORMAT_RAW, "rc", NULL, NULL},
    {"file:/i.iso,hdc:cdrom,w", "hdc", "/i.iso", FORMAT_RAW, "rc", NULL, NULL},
    {",hdc:cdrom,r", "hdc", NULL, FORMAT_EMPTY, "rc", NULL, NULL},
    {",,hdc:cdrom", "hdc", NULL, FORMAT_EMPTY, "rc", NULL, NULL},
    {",,hdc,cdrom", "hdc", NULL, FORMAT_EMPTY, "rc", NULL, NULL},
    {"vdev=hdc,format=empty,devtype=cdrom", "hdc", NULL, FORMAT_EMPTY, "rc", NULL, NULL},
};

static void test_specs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(spec_cases); i++) {
        const struct spec_case *c = &spec_cases[i];
        CLEANUP(domain_disk_clear) struct domain_disk d = {0};
        struct vmundo_error err = {0};
        if (diskspec_parse(c->spec, "x:1", "/cfg", &d, &err) < 0)
            fail_msg("refused: %s: %s", c->spec, err.msg);
        print_message("%s\n", c->spec);
        assert_text(d.vdev, c->vdev);
        assert_text(d.target, c->target);
        assert_int_equal(d.format, c->format);
        assert_int_equal(d.readonly, strchr(c->flags, 'r') != NULL);
        assert_int_equal(d.cdrom, strchr(c->flags, 'c') != NULL);
        assert_int_equal(d.discard, strchr(c->flags, 'd') != NULL);
        assert_text(d.script, c->script);
        assert_text(d.backendtype, c->backendtype);
        assert_null(d.backend);
    }
}

/* What another domain serves is not a path of ours. */
static void test_driver_domain(void **state)
{
    (void)state;
    CLEANUP(domain_disk_clear) struct domain_disk d = {0};
    assert_int_equal(diskspec_parse("img,raw,xvda,backend=storage", "x:1", "/cfg", &d, NULL), 0);
    assert_text(d.target, "img");
    assert_text(d.backend, "storage");
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *part;
    } cases[] = {
        {"", "no vdev"},
        {"/a", "no vdev"},
        {"/a,raw", "no vdev"},
        {"/a,zip,xvda", "format"},
        {"/a,raw,xvda,x", "access"},
        {"/a,raw,xvda,w,more", "too many positional"},
        {"/a,raw,xvda,bogus=1", "unknown parameter"},
        {"/a,raw,xvda,backendtype=bogus", "backendtype"},
        {"/a,raw,xvda,vdev=xvdb", "vdev respecified"},
        {"foo:/a,xvda,w", "unknown deprecated disk prefix"},
        {",raw,xvda,w", "no target"},
        {"vdev=xvda", "no target"},
        {"format=empty,vdev=xvda,target=", "only a CD-ROM"},
        {"format=empty,vdev=hdc,cdrom,target=/i.iso", "has a target although"},
        {"/a,raw,../../x,w", "bad virtual device"},
        {"/a,raw,xv da,w", "bad virtual device"},
        {"/a,raw,XVDA,w", "bad virtual device"},
        {"vdev=,target=/a", "bad virtual device"},
        {"/a\n,raw,xvda,w", "control character"},
        {"/a\x7f,raw,xvda,w", "control character"},
        {"/a\tb,raw,xvda,w", "control character in the target"},
        {"/a,raw,xvda,w\x1b[2J", "control character in disk `/a,raw,xvda,w\\x1b[2J'"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct domain_disk d = {0};
        struct vmundo_error err = {0};
        if (diskspec_parse(cases[i].spec, "/cfg/x.cfg:7", "/cfg", &d, &err) == 0)
            fail_msg("taken: %s", cases[i].spec);
        assert_says(&err, cases[i].part);
        assert_says(&err, "/cfg/x.cfg:7: ");
        assert_null(d.vdev);
    }
}

struct retarget_case {
    const char *spec, *target;
    enum disk_format format;
    bool block;
    const char *want; /* NULL: refused */
};

static const struct retarget_case retarget_cases[] = {
    /* only the target's characters */
    {"file:/a,xvda,w", "/new", FORMAT_RAW, false, "file:/new,xvda,w"},
    {"phy:/dev/vg/v,xvda,w", "/dev/vg/v.S", FORMAT_RAW, true, "phy:/dev/vg/v.S,xvda,w"},
    {" /a , raw ,xvda, w", "/new", FORMAT_RAW, false, NULL}, /* no such format: " raw " */
    {" /a,raw,  xvda, w", "/new", FORMAT_RAW, false, " /new,raw,  xvda, w"},
    {"xvda,raw,xvda,w", "/new", FORMAT_RAW, false, "/new,raw,xvda,w"},
    {"vdev=a,target=a", "/new", FORMAT_RAW, false, "vdev=a,target=/new"},
    {"script=block-foo,vdev=xvda,target=foo", "/new", FORMAT_RAW, false, "script=block-foo,vdev=xvda,target=/new"},
    {"vdev=xvda,format=qcow2,target=/a,b", "/n,ew", FORMAT_QCOW2, false, "vdev=xvda,format=qcow2,target=/n,ew"},
    {"tap:qcow2:/a,xvda,w", "/new", FORMAT_QCOW2, false, "tap:qcow2:/new,xvda,w"},
    {"tap:aio:/a,ioemu:hda,w", "/new", FORMAT_RAW, false, "tap:aio:/new,ioemu:hda,w"},
    {"/a,raw,xvda,w,no-discard,direct-io-safe", "/new", FORMAT_RAW, false, "/new,raw,xvda,w,no-discard,direct-io-safe"},
    {"/i.iso,,hdc,cdrom", "/new.iso", FORMAT_RAW, false, "/new.iso,,hdc,cdrom"},
    {"rbd:p/i,raw,xvda,w", "rbd:p/j", FORMAT_RAW, false, "rbd:p/j,raw,xvda,w"},
    {"vdev=xvda,target=/a", "/with space", FORMAT_RAW, false, "vdev=xvda,target=/with space"},
    {"/a,qcow2,xvda,backendtype=qdisk", "/n'ew", FORMAT_QCOW2, false, "/n'ew,qcow2,xvda,backendtype=qdisk"},
    /* characters that a position cannot hold */
    {"/a,raw,xvda,w", "/n,ew", FORMAT_RAW, false, "format=raw, vdev=xvda, access=rw, target=/n,ew"},
    {"/a,raw,xvda,w", "/n=ew", FORMAT_RAW, false, "format=raw, vdev=xvda, access=rw, target=/n=ew"},
    {"file:/a,xvda,r", "/end,", FORMAT_RAW, false, "format=raw, vdev=xvda, access=ro, target=/end,,"},
    /* another format */
    {"file:/a,xvda,w", "/new", FORMAT_QCOW2, false, "format=qcow2, vdev=xvda, access=rw, target=/new"},
    {"/a,,xvda", "/new", FORMAT_QCOW2, false, "format=qcow2, vdev=xvda, access=rw, target=/new"},
    {"/a,raw,xvda,w,no-discard,direct-io-safe", "/new", FORMAT_QCOW2, false,
     "format=qcow2, vdev=xvda, access=rw, direct-io-safe, no-discard, target=/new"},
    {"drbd:res,xvda,w", "/n=ew", FORMAT_RAW, true, "format=raw, vdev=xvda, access=rw, script=block-drbd, target=/n=ew"},
    {"/a,raw,xvda,discard,backend=other,specification=xen", "/new", FORMAT_QCOW2, false,
     "format=qcow2, vdev=xvda, access=rw, specification=xen, backend=other, discard, target=/new"},
    {"/a,raw,xvda,w,colo,colo-host=h,colo-port=7,colo-export=e,active-disk=/x,hidden-disk=/y", "/new", FORMAT_QCOW2,
     false,
     "format=qcow2, vdev=xvda, access=rw, colo-host=h, colo-export=e, active-disk=/x, hidden-disk=/y, colo-port=7, "
     "colo, target=/new"},
    {"tap:qcow2:/a,xvda,w", "/dev/x", FORMAT_RAW, true, "format=raw, vdev=xvda, access=rw, target=/dev/x"},
    {"/i.iso,,hdc,cdrom", "/new", FORMAT_QCOW2, false, "format=qcow2, vdev=hdc, access=ro, devtype=cdrom, target=/new"},
    {",hdc:cdrom,r", "/i.iso", FORMAT_RAW, false, "format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/i.iso"},
    /* another kind */
    {"file:/a,xvda,w", "/dev/x", FORMAT_RAW, true, "format=raw, vdev=xvda, access=rw, target=/dev/x"},
    {"phy:/dev/x,xvda,w", "/a", FORMAT_RAW, false, "format=raw, vdev=xvda, access=rw, target=/a"},
    {"/dev/x,raw,xvda,w,backendtype=phy", "/a", FORMAT_RAW, false, "format=raw, vdev=xvda, access=rw, target=/a"},
    {"/dev/x,raw,xvda,w,backendtype=phy", "/dev/y", FORMAT_RAW, true, "/dev/y,raw,xvda,w,backendtype=phy"},
    {"/a,raw,xvda,w,backendtype=tap", "/b", FORMAT_VHD, false, "format=vhd, vdev=xvda, access=rw, target=/b"},
    {"/a,raw,xvda,w,backendtype=qdisk", "/b", FORMAT_QCOW2, false,
     "format=qcow2, vdev=xvda, access=rw, backendtype=qdisk, target=/b"},
    /* refused */
    {"/a,raw,xvda,w", "", FORMAT_RAW, false, NULL},
    {"/a,raw,xvda,w", "relative", FORMAT_RAW, false, NULL},
    {"/a,raw,xvda,w", "/new\nline", FORMAT_RAW, false, NULL},
    {"/a,raw,xvda,w", "/new\033", FORMAT_RAW, false, NULL},
    {"drbd:res,xvda,w", "/new", FORMAT_QCOW2, false, NULL},
    {"/a,raw,xvda,w", "/new", FORMAT_EMPTY, false, NULL},
    {"/a,raw,xvda,w", "/new", FORMAT_UNKNOWN, false, NULL},
};

static void test_retarget(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(retarget_cases); i++) {
        const struct retarget_case *c = &retarget_cases[i];
        const struct config_target t = {.vdev = "xvda", .target = c->target, .format = c->format, .block = c->block};
        AUTO_FREE char *got = NULL;
        struct vmundo_error err = {0};
        int r = diskspec_retarget(c->spec, &t, &got, &err);
        print_message("%s -> %s\n", c->spec, r ? err.msg : got);
        assert_text(got, c->want);
        assert_int_equal(r, c->want ? 0 : -1);
        assert_int_equal(err.code, c->want ? VMUNDO_OK : VMUNDO_FAILED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_specs),
        cmocka_unit_test(test_driver_domain),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_retarget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
