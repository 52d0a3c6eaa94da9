/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domain.c: freeing and comparing the plain data of domain.h, and the names of its enumerations. The strings of each
 * structure are listed once, so that clearing and comparing cannot disagree about them.
 */
#include "config/domain.h"

#define STRING(type, member) offsetof(struct type, member)

static const size_t domain_strings[] = {
    STRING(domain, name),    STRING(domain, uuid),       STRING(domain, kernel),   STRING(domain, ramdisk),
    STRING(domain, cmdline), STRING(domain, bootloader), STRING(domain, firmware), STRING(domain, boot),
};

static const size_t disk_strings[] = {
    STRING(domain_disk, vdev),        STRING(domain_disk, target),  STRING(domain_disk, script),
    STRING(domain_disk, backendtype), STRING(domain_disk, backend),
};

static const size_t vif_strings[] = {
    STRING(domain_vif, mac), STRING(domain_vif, model),   STRING(domain_vif, bridge), STRING(domain_vif, script),
    STRING(domain_vif, ip),  STRING(domain_vif, vifname), STRING(domain_vif, type),
};

static void free_strings(void *base, const size_t *offsets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(*(char **)((char *)base + offsets[i]));
}

static bool equal_strings(const void *a, const void *b, const size_t *offsets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!str_eq(*(char *const *)((const char *)a + offsets[i]), *(char *const *)((const char *)b + offsets[i])))
            return false;
    return true;
}

void domain_disk_clear(struct domain_disk *disk)
{
    free_strings(disk, disk_strings, ARRAY_SIZE(disk_strings));
    *disk = (struct domain_disk){0};
}

void domain_clear(struct domain *d)
{
    for (size_t i = 0; i < d->n_disks; i++)
        domain_disk_clear(&d->disks[i]);
    free(d->disks);
    for (size_t i = 0; i < d->n_vifs; i++)
        free_strings(&d->vifs[i], vif_strings, ARRAY_SIZE(vif_strings));
    free(d->vifs);
    strv_clear(&d->serials);
    strv_clear(&d->keys);
    free_strings(d, domain_strings, ARRAY_SIZE(domain_strings));
    *d = (struct domain){0};
}

static bool equal_disks(const struct domain_disk *a, const struct domain_disk *b)
{
    return equal_strings(a, b, disk_strings, ARRAY_SIZE(disk_strings)) && a->format == b->format &&
           a->readonly == b->readonly && a->cdrom == b->cdrom && a->discard == b->discard;
}

static bool equal_strv(const struct strv *a, const struct strv *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!str_eq(a->items[i], b->items[i]))
            return false;
    return true;
}

bool domain_equal(const struct domain *a, const struct domain *b)
{
    bool same = equal_strings(a, b, domain_strings, ARRAY_SIZE(domain_strings)) && a->type == b->type &&
                a->memory_mib == b->memory_mib && a->maxmem_mib == b->maxmem_mib && a->vcpus == b->vcpus &&
                a->maxvcpus == b->maxvcpus && a->on_poweroff == b->on_poweroff && a->on_reboot == b->on_reboot &&
                a->on_crash == b->on_crash && equal_strv(&a->serials, &b->serials) && equal_strv(&a->keys, &b->keys) &&
                a->n_disks == b->n_disks && a->n_vifs == b->n_vifs;
    for (size_t i = 0; same && i < a->n_disks; i++)
        same = equal_disks(&a->disks[i], &b->disks[i]);
    for (size_t i = 0; same && i < a->n_vifs; i++)
        same = equal_strings(&a->vifs[i], &b->vifs[i], vif_strings, ARRAY_SIZE(vif_strings));
    return same;
}

static bool is_alnum(char c) /* whatever the locale */
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int domain_name_check(const char *name, struct vmundo_error *err)
{
    size_t len = strlen(name);
    bool ok = len <= 63 && is_alnum(name[0]);
    for (size_t i = 0; ok && i < len; i++)
        ok = is_alnum(name[i]) || strchr("._+-", name[i]);
    if (ok)
        return 0;
    AUTO_FREE char *shown = str_escape(name, 80);
    return error_set(err, VMUNDO_FAILED,
                     "bad name '%s': a name has 1 to 63 letters, digits and . _ + -, of which the first is a letter or "
                     "digit",
                     shown ? shown : "");
}

static const char *const format_names[] = {
    [FORMAT_RAW] = "raw", [FORMAT_QCOW] = "qcow",   [FORMAT_QCOW2] = "qcow2",     [FORMAT_VHD] = "vhd",
    [FORMAT_QED] = "qed", [FORMAT_EMPTY] = "empty", [FORMAT_UNKNOWN] = "unknown",
};

const char *disk_format_name(enum disk_format f)
{
    return format_names[f];
}

enum disk_format disk_format_parse(const char *name)
{
    for (enum disk_format f = 0; f < FORMAT_UNKNOWN; f++)
        if (str_eq(name, format_names[f]))
            return f;
    return FORMAT_UNKNOWN;
}

const char *domain_type_name(enum domain_type t)
{
    static const char *const names[] = {[DOMAIN_PV] = "pv", [DOMAIN_PVH] = "pvh", [DOMAIN_HVM] = "hvm"};
    return names[t];
}

struct domain_disk *domain_find_disk(const struct domain *d, const char *vdev)
{
    for (size_t i = 0; i < d->n_disks; i++)
        if (str_eq(d->disks[i].vdev, vdev))
            return &d->disks[i];
    return NULL;
}
