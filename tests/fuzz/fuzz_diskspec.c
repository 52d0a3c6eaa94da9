/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_diskspec.c: one disk string. Whatever it is: it is refused with a message, or has a usable vdev and target, and
 * giving it a new target is refused with a message or gives a string with just that target, which can be put into a
 * configuration and read back.
 */
#include "fuzz.h"

#include "config/diskspec.h"
#include "config/scan.h"

static const struct config_target targets[] = {
    {"x", "/new", FORMAT_RAW, false},       {"x", "/new", FORMAT_QCOW2, false}, {"x", "/dev/vg/v.S", FORMAT_RAW, true},
    {"x", "/a,b=c:d ", FORMAT_RAW, false},  {"x", "/end,,", FORMAT_VHD, false}, {"x", "rbd:pool/i", FORMAT_RAW, false},
    {"x", "/it's \"\\", FORMAT_RAW, false},
};

/* A configuration with just this disk has just this disk. */
static void check_in_config(const char *spec, const struct domain_disk *want)
{
    for (const char *quote = "'\""; *quote; quote++) {
        CLEANUP(domain_clear) struct domain d = {0};
        AUTO_FREE char *literal = scan_quote(spec, *quote, NULL);
        AUTO_FREE char *text = str_printf(NULL, "name='x'\ndisk=[%s]\n", literal);
        struct vmundo_error err = {0};
        REQUIRE(config_parse(text, "/cfg/x.cfg", &d, &err) == 0);
        REQUIRE(d.n_disks == 1 && str_eq(d.disks[0].vdev, want->vdev) && str_eq(d.disks[0].target, want->target));
    }
}

static void check_target(const char *spec, const struct domain_disk *before, const struct config_target *t)
{
    CLEANUP(domain_disk_clear) struct domain_disk after = {0};
    AUTO_FREE char *new = NULL;
    struct vmundo_error err = {0};
    if (diskspec_retarget(spec, t, &new, &err) < 0) {
        REQUIRE(err.code == VMUNDO_FAILED && err.msg[0] && !strchr(err.msg, '\n'));
        return;
    }
    REQUIRE(diskspec_parse(new, "new", "/cfg", &after, &err) == 0);
    REQUIRE(str_eq(after.target, t->target) && after.format == t->format);
    REQUIRE(str_eq(after.vdev, before->vdev) && str_eq(after.script, before->script));
    REQUIRE(str_eq(after.backend, before->backend));
    REQUIRE(after.readonly == before->readonly && after.cdrom == before->cdrom && after.discard == before->discard);
    check_in_config(new, &after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(domain_disk_clear) struct domain_disk disk = {0};
    struct vmundo_error err = {0};
    AUTO_FREE char *spec = strndup((const char *)data, size);
    REQUIRE(spec);
    if (diskspec_parse(spec, "old", "/cfg", &disk, &err) < 0) {
        REQUIRE(err.code == VMUNDO_FAILED && err.msg[0] && !strchr(err.msg, '\n'));
        return 0;
    }
    REQUIRE(disk.vdev && *disk.vdev && !disk.target == (disk.format == FORMAT_EMPTY));
    check_in_config(spec, &disk);
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++)
        check_target(spec, &disk, &targets[i]);
    return 0;
}
