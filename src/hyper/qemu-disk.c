/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-disk.c: see qemu-disk.h. */
#include "hyper/qemu-disk.h"
#include "hyper/rundir.h"

#include <ctype.h>

#define IDE_PLACES 4u
#define MAX_SCSI 256u          /* targets of one virtio-scsi controller */
#define MAX_LETTER (26u * 27u) /* zz */

static const struct {
    const char *prefix;
    enum qemu_bus bus;
} prefixes[] = {{"xvd", BUS_VIRTIO}, {"vd", BUS_VIRTIO}, {"sd", BUS_SCSI}, {"hd", BUS_IDE}};

/* "xvdb3": bus, letter 1, partition 3. */
static bool parse_vdev(const char *vdev, struct qemu_disk *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        if (!str_has_prefix(vdev, prefixes[i].prefix))
            continue;
        const char *p = vdev + strlen(prefixes[i].prefix);
        unsigned letters = 0, partition = 0;
        for (; islower((unsigned char)*p) && letters <= MAX_LETTER; p++)
            letters = letters * 26 + (unsigned)(*p - 'a') + 1;
        for (; isdigit((unsigned char)*p) && partition < 1000; p++)
            partition = partition * 10 + (unsigned)(*p - '0');
        if (letters == 0 || letters > MAX_LETTER || *p)
            return false;
        ret->bus = prefixes[i].bus;
        ret->letter = letters - 1;
        ret->partition = partition;
        return true;
    }
    return false;
}

static int check_disk(const struct qemu_disk *q, struct vmundo_error *err)
{
    const struct domain_disk *d = q->disk;
    if (d->format == FORMAT_UNKNOWN)
        return error_set(err, VMUNDO_FAILED, "%s: the qemu driver does not know the format of this disk", d->vdev);
    if (d->script)
        return error_set(err, VMUNDO_FAILED, "%s: block scripts (here %s) work with Xen only", d->vdev, d->script);
    if (d->target && d->target[0] != '/')
        return error_set(err, VMUNDO_FAILED, "%s: the qemu driver opens files and block devices only, not %s", d->vdev,
                         d->target);
    if (!d->target && !d->cdrom)
        return error_set(err, VMUNDO_FAILED, "%s: only a CD-ROM drive can be empty", d->vdev);
    if (q->bus != BUS_IDE || d->cdrom)
        return 0;
    if (d->readonly)
        return error_set(err, VMUNDO_FAILED,
                         "%s: IDE disks cannot be read-only; call it xvd… or sd… instead, or make it a CD-ROM",
                         d->vdev);
    if (q->letter >= IDE_PLACES || q->partition)
        return error_set(err, VMUNDO_FAILED, "%s: there is room for hda, hdb, hdc and hdd only", d->vdev);
    return 0;
}

static int take_ide(struct qemu_disk *q, unsigned wanted, bool used[IDE_PLACES], struct vmundo_error *err)
{
    if (wanted >= IDE_PLACES || used[wanted])
        return error_set(err, VMUNDO_FAILED, "%s: its place on the IDE bus is taken, or there is none", q->disk->vdev);
    used[wanted] = true;
    q->place = wanted;
    return 0;
}

/* First those that ask for a place by name, then CD-ROMs that only need one. */
static int place_ide(struct qemu_disk *disks, size_t n, struct vmundo_error *err)
{
    bool used[IDE_PLACES] = {false};
    for (size_t i = 0; i < n; i++)
        if (disks[i].bus == BUS_IDE && take_ide(&disks[i], disks[i].letter, used, err) < 0)
            return -1;
    for (size_t i = 0; i < n; i++) {
        if (disks[i].bus != BUS_VIRTIO || !disks[i].disk->cdrom)
            continue;
        unsigned at = disks[i].letter < IDE_PLACES && !used[disks[i].letter] ? disks[i].letter : 0;
        while (at < IDE_PLACES && used[at])
            at++;
        disks[i].bus = BUS_IDE;
        if (take_ide(&disks[i], at, used, err) < 0)
            return -1;
    }
    return 0;
}

static int by_bus_and_name(const void *pa, const void *pb)
{
    const struct qemu_disk *a = pa, *b = pb;
    if (a->bus != b->bus)
        return a->bus < b->bus ? -1 : 1;
    if (a->bus == BUS_IDE)
        return a->place < b->place ? -1 : 1;
    if (a->letter != b->letter)
        return a->letter < b->letter ? -1 : 1;
    if (a->partition != b->partition)
        return a->partition < b->partition ? -1 : 1;
    return a->disk < b->disk ? -1 : a->disk > b->disk; /* xvda and vda: as in the configuration */
}

/* virtio and SCSI disks: no gaps, as guests see none. */
static int number_places(struct qemu_disk *disks, size_t n, struct vmundo_error *err)
{
    unsigned next[] = {[BUS_VIRTIO] = 0, [BUS_SCSI] = 0};
    for (size_t i = 0; i < n; i++)
        if (disks[i].bus != BUS_IDE)
            disks[i].place = next[disks[i].bus]++;
    if (next[BUS_SCSI] > MAX_SCSI)
        return error_set(err, VMUNDO_FAILED, "more than %u SCSI disks", MAX_SCSI);
    return 0;
}

int qemu_disks_place(const struct domain *d, struct qemu_disk **ret, struct vmundo_error *err)
{
    AUTO_FREE struct qemu_disk *disks = calloc(d->n_disks + 1, sizeof(*disks));
    if (!disks)
        return error_nomem(err);
    if (d->n_disks > RUNDIR_MAX_DISKS)
        return error_set(err, VMUNDO_FAILED, "%zu disks, the qemu driver has room for %u", d->n_disks, RUNDIR_MAX_DISKS);
    for (size_t i = 0; i < d->n_disks; i++) {
        disks[i].disk = &d->disks[i];
        if (!parse_vdev(d->disks[i].vdev, &disks[i]))
            return error_set(err, VMUNDO_FAILED, "%s: the qemu driver knows disks called xvd…, vd…, sd… and hd… only",
                             d->disks[i].vdev);
        if (check_disk(&disks[i], err) < 0)
            return -1;
    }
    if (place_ide(disks, d->n_disks, err) < 0)
        return -1;
    qsort(disks, d->n_disks, sizeof(*disks), by_bus_and_name);
    if (number_places(disks, d->n_disks, err) < 0)
        return -1;
    *ret = TAKE(disks);
    return 0;
}

static char *guest_name(const struct qemu_disk *q, unsigned partition, struct vmundo_error *err)
{
    char first[2] = {q->place >= 26 ? (char)('a' + q->place / 26 - 1) : '\0', '\0'};
    char last = (char)('a' + q->place % 26);
    return partition ? str_printf(err, "/dev/vd%s%c%u", first, last, partition)
                     : str_printf(err, "/dev/vd%s%c", first, last);
}

/* A disk may itself be called xvda1: Xen lets a guest see single partitions. */
int qemu_disks_guest_name(const struct qemu_disk *disks, size_t n, const char *name, char **ret,
                          struct vmundo_error *err)
{
    struct qemu_disk wanted = {0};
    *ret = NULL;
    if (!str_has_prefix(name, "/dev/") || !parse_vdev(name + strlen("/dev/"), &wanted) || wanted.bus != BUS_VIRTIO)
        return 0;
    const struct qemu_disk *whole = NULL, *exact = NULL;
    for (size_t i = 0; i < n; i++) {
        if (disks[i].bus != BUS_VIRTIO || disks[i].letter != wanted.letter)
            continue;
        if (disks[i].partition == wanted.partition)
            exact = &disks[i];
        else if (disks[i].partition == 0)
            whole = &disks[i];
    }
    if (!exact && !whole)
        return 0;
    AUTO_FREE char *called = exact ? guest_name(exact, 0, err) : guest_name(whole, wanted.partition, err);
    if (!called)
        return -1;
    if (!str_eq(called, name))
        *ret = TAKE(called);
    return 0;
}
