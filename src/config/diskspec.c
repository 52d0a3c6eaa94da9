/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * diskspec.c: one string of a disk list. See diskspec.h.
 *
 * The syntax has positions, keys, flags and old prefixes in any mixture, and only libxlutil knows it all. So to change
 * a target we do not take the string apart: we put the new target where the old one's characters are found, and ask
 * libxlutil whether that means the disk we want. If no place does, the disk is written anew. "Means the same" is
 * decided by writing down what libxlutil understood in one canonical form (canonical()).
 */
#include "config/diskspec.h"

#include "config/reader.h"
#include "config/scan.h"

#define AUTO_XL_DISK CLEANUP(libxl_device_disk_dispose)

static int parse_xl(const char *spec, const char *source, libxl_device_disk *ret, struct vmundo_error *err)
{
    AUTO_READER struct reader r = {0};
    libxl_device_disk_init(ret);
    if (reader_open(&r, source, err) < 0)
        return -1;
    return xlu_disk_parse(r.cfg, 1, &spec, ret) ? reader_fail(&r, err) : 0;
}

static bool is_empty(const char *s)
{
    return !s || !*s;
}

/* Targets with a colon before the first slash name a protocol (rbd:pool/image), as QEMU has it. */
static bool is_protocol(const char *target)
{
    return target[strcspn(target, ":/")] == ':';
}

/* Is the target in spec preceded by this prefix ("phy:")? */
static bool has_prefix(const char *spec, const char *prefix, const char *target)
{
    for (const char *p = strstr(spec, prefix); p; p = strstr(p + 1, prefix))
        if (str_has_prefix(p + strlen(prefix) + strspn(p + strlen(prefix), " \t"), target))
            return true;
    return false;
}

static int make_absolute(const char *spec, const char *dir, const libxl_device_disk *xl, char **ret,
                         struct vmundo_error *err)
{
    const char *target = xl->pdev_path;
    if (target[0] == '/' || is_protocol(target) || xl->script || xl->backend_domname)
        return str_copy(target, ret, err);
    *ret = str_printf(err, "%s/%s", has_prefix(spec, "phy:", target) ? "/dev" : dir, target);
    return *ret ? 0 : -1;
}

static int check_disk(const char *spec, const libxl_device_disk *xl, struct vmundo_error *err)
{
    bool empty = xl->format == LIBXL_DISK_FORMAT_EMPTY;
    if (!*xl->vdev || strlen(xl->vdev) > 32 ||
        xl->vdev[strspn(xl->vdev, "abcdefghijklmnopqrstuvwxyz0123456789")] != '\0')
        return error_set(err, VMUNDO_FAILED, "bad virtual device in `%s': give a name as xvda, sdb1 or hdc", spec);
    if (xl->pdev_path && scan_has_control(xl->pdev_path, ""))
        return error_set(err, VMUNDO_FAILED, "control character in the target of disk %s", xl->vdev);
    if (empty && !xl->is_cdrom)
        return error_set(err, VMUNDO_FAILED, "disk %s is empty: only a CD-ROM drive can be", xl->vdev);
    if (empty != is_empty(xl->pdev_path))
        return error_set(err, VMUNDO_FAILED,
                         empty ? "disk %s has a target although its format is empty: remove one of them"
                               : "disk %s has no target: give the path of an image or device",
                         xl->vdev);
    return 0;
}

static int fill_disk(const char *spec, const char *dir, const libxl_device_disk *xl, struct domain_disk *d,
                     struct vmundo_error *err)
{
    if (check_disk(spec, xl, err) < 0 || str_copy(xl->vdev, &d->vdev, err) < 0 ||
        str_copy(is_empty(xl->script) ? NULL : xl->script, &d->script, err) < 0 ||
        str_copy(is_empty(xl->backend_domname) ? NULL : xl->backend_domname, &d->backend, err) < 0)
        return -1;
    if (xl->backend != LIBXL_DISK_BACKEND_UNKNOWN &&
        str_copy(libxl_disk_backend_to_string(xl->backend), &d->backendtype, err) < 0)
        return -1;
    d->format = disk_format_parse(libxl_disk_format_to_string(xl->format));
    d->readonly = !xl->readwrite;
    d->cdrom = xl->is_cdrom;
    d->discard = libxl_defbool_is_default(xl->discard_enable) ? xl->readwrite : libxl_defbool_val(xl->discard_enable);
    return d->format == FORMAT_EMPTY ? 0 : make_absolute(spec, dir, xl, &d->target, err);
}

int diskspec_parse(const char *spec, const char *source, const char *dir, struct domain_disk *ret,
                   struct vmundo_error *err)
{
    AUTO_XL_DISK libxl_device_disk xl = {0};
    CLEANUP(domain_disk_clear) struct domain_disk d = {0};
    if (scan_has_control(spec, "\t")) { /* xl takes a tab for a space */
        AUTO_FREE char *shown = str_escape(spec, 200);
        return error_set(err, VMUNDO_FAILED, "%s: control character in disk `%s'", source, shown ? shown : "");
    }
    if (parse_xl(spec, source, &xl, err) < 0)
        return -1;
    if (fill_disk(spec, dir, &xl, &d, err) < 0)
        return error_wrap(err, "%s", source);
    *ret = d;
    d = (struct domain_disk){0};
    return 0;
}

/* ---- another target -------------------------------------------------------------------------------------------- */

/* Parameters that keep their text. */
static const struct {
    const char *key;
    size_t offset;
} kept_strings[] = {
    {"backend", offsetof(libxl_device_disk, backend_domname)},
    {"script", offsetof(libxl_device_disk, script)},
    {"colo-host", offsetof(libxl_device_disk, colo_host)},
    {"colo-export", offsetof(libxl_device_disk, colo_export)},
    {"active-disk", offsetof(libxl_device_disk, active_disk)},
    {"hidden-disk", offsetof(libxl_device_disk, hidden_disk)},
};

static void write_flag(FILE *f, libxl_defbool value, const char *yes, const char *no)
{
    if (!libxl_defbool_is_default(value))
        fprintf(f, ", %s", libxl_defbool_val(value) ? yes : no);
}

static void write_canonical(FILE *f, const libxl_device_disk *d)
{
    fprintf(f, "format=%s, vdev=%s, access=%s", libxl_disk_format_to_string(d->format), d->vdev,
            d->readwrite ? "rw" : "ro");
    if (d->is_cdrom)
        fprintf(f, ", devtype=cdrom");
    if (d->backend != LIBXL_DISK_BACKEND_UNKNOWN)
        fprintf(f, ", backendtype=%s", libxl_disk_backend_to_string(d->backend));
    if (d->specification != LIBXL_DISK_SPECIFICATION_UNKNOWN)
        fprintf(f, ", specification=%s", libxl_disk_specification_to_string(d->specification));
    for (size_t i = 0; i < ARRAY_SIZE(kept_strings); i++) {
        const char *value = *(char *const *)((const char *)d + kept_strings[i].offset);
        if (!is_empty(value))
            fprintf(f, ", %s=%s", kept_strings[i].key, value);
    }
    if (d->colo_port)
        fprintf(f, ", colo-port=%d", d->colo_port);
    if (d->direct_io_safe)
        fprintf(f, ", direct-io-safe");
    write_flag(f, d->discard_enable, "discard", "no-discard");
    write_flag(f, d->colo_enable, "colo", "no-colo");
    write_flag(f, d->trusted, "trusted", "untrusted");
    /* target= takes all the rest, but a last comma is stripped */
    fprintf(f, ", target=%s%s", d->pdev_path, str_has_suffix(d->pdev_path, ",") ? "," : "");
}

/* The one way in which we write the disk d, which has a target. The caller frees it. */
static char *canonical(const libxl_device_disk *d, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (f)
        write_canonical(f, d);
    if (!f || fclose(f) != 0) {
        error_nomem(err);
        return NULL;
    }
    return TAKE(text);
}

/* Does spec say what the canonical text says? */
static int means(const char *spec, const char *want, bool *ret, struct vmundo_error *err)
{
    AUTO_READER struct reader r = {0};
    AUTO_XL_DISK libxl_device_disk xl = {0};
    libxl_device_disk_init(&xl);
    if (reader_open(&r, "", err) < 0)
        return -1;
    *ret = false;
    if (xlu_disk_parse(r.cfg, 1, &spec, &xl) != 0 || is_empty(xl.pdev_path))
        return 0;
    AUTO_FREE char *got = canonical(&xl, err);
    if (!got)
        return -1;
    *ret = str_eq(got, want);
    return 0;
}

/* Put `new` in place of an occurrence of `old` in spec, of that one which gives the disk wanted. *ret is NULL if none
 * does. */
static int substitute(const char *spec, const char *old, const char *new, const char *want, char **ret,
                      struct vmundo_error *err)
{
    bool right = false;
    for (const char *at = strstr(spec, old); at && !right; at = strstr(at + 1, old)) {
        AUTO_FREE char *candidate = str_printf(err, "%.*s%s%s", (int)(at - spec), spec, new, at + strlen(old));
        if (!candidate || means(candidate, want, &right, err) < 0)
            return -1;
        if (right)
            *ret = TAKE(candidate);
    }
    return 0;
}

/* What libxl would refuse of a backend type (disk_try_backend() in libxl_device.c): QEMU serves anything, the others
 * block devices only. */
static bool backend_fits(libxl_disk_backend backend, const struct config_target *t)
{
    return backend == LIBXL_DISK_BACKEND_UNKNOWN || backend == LIBXL_DISK_BACKEND_QDISK ||
           (t->format == FORMAT_RAW && t->block);
}

static int check_target(const struct config_target *t, struct vmundo_error *err)
{
    AUTO_FREE char *shown = str_escape(t->target, 200);
    if (t->format == FORMAT_EMPTY || t->format == FORMAT_UNKNOWN)
        return error_set(err, VMUNDO_FAILED, "new target of %s has no format", t->vdev);
    if (scan_has_control(t->target, "") || (t->target[0] != '/' && !is_protocol(t->target)))
        return error_set(err, VMUNDO_FAILED, "new target `%s' of %s is not an absolute path without control characters",
                         shown ? shown : "", t->vdev);
    return 0;
}

int diskspec_retarget(const char *spec, const struct config_target *target, char **ret, struct vmundo_error *err)
{
    AUTO_XL_DISK libxl_device_disk xl = {0};
    if (check_target(target, err) < 0 || parse_xl(spec, target->vdev, &xl, err) < 0)
        return -1;
    if (!is_empty(xl.script) && target->format != FORMAT_RAW)
        return error_set(err, VMUNDO_FAILED, "disk %s is served by the script %s, which knows raw disks only",
                         target->vdev, xl.script);
    AUTO_FREE char *old = xl.pdev_path ? xl.pdev_path : strdup("");
    xl.pdev_path = strdup(target->target);
    if (!old || !xl.pdev_path)
        return error_nomem(err);
    if (libxl_disk_format_from_string(disk_format_name(target->format), &xl.format) != 0)
        return error_set(err, VMUNDO_FAILED, "libxl has no disk format %s", disk_format_name(target->format));
    if (!backend_fits(xl.backend, target))
        xl.backend = LIBXL_DISK_BACKEND_UNKNOWN;

    AUTO_FREE char *want = canonical(&xl, err), *found = NULL;
    if (!want)
        return -1;
    /* file: and phy: mean nothing to xl, but would mislead the reader */
    bool misleading = has_prefix(spec, target->block ? "file:" : "phy:", old);
    if (*old && !misleading && substitute(spec, old, target->target, want, &found, err) < 0)
        return -1;
    bool right = true;
    if (!found && means(want, want, &right, err) < 0)
        return -1;
    if (!right)
        return error_set(err, VMUNDO_FAILED, "disk %s cannot be written with the target `%s'", target->vdev,
                         target->target);
    *ret = found ? TAKE(found) : TAKE(want);
    return 0;
}
