/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-disk.h: where a domain's disks are plugged in, and what the guest will call them.
 *
 *     xvd*, vd*  virtio-blk, in the order of their letters: the first is /dev/vda in the guest
 *     sd*        virtio-scsi
 *     hd*        IDE, by position: hda, hdb on the first channel, hdc, hdd on the second
 *
 * virtio-blk has no CD-ROM drives: those of xvd* and vd* go to a free IDE position.
 */
#ifndef HYPER_QEMU_DISK_H
#define HYPER_QEMU_DISK_H

#include "config/domain.h"

enum qemu_bus { BUS_VIRTIO, BUS_SCSI, BUS_IDE };

struct qemu_disk {
    const struct domain_disk *disk;
    enum qemu_bus bus;
    unsigned letter, partition; /* xvdb3: 1 and 3; partition 0: none */
    unsigned place;             /* on the bus: 0 is the first */
};

/* All disks of the domain, by bus and place; *ret has d->n_disks elements and is the caller's. Errors: VMUNDO_FAILED,
 * naming the vdev, when there is no place for it, or QEMU has no such thing. */
int qemu_disks_place(const struct domain *d, struct qemu_disk **ret, struct vmundo_error *err);

/* What the guest calls the block device that the configuration calls name ("/dev/xvda1"): *ret is the caller's, or NULL
 * when the name stays as it is. */
int qemu_disks_guest_name(const struct qemu_disk *disks, size_t n, const char *name, char **ret,
                          struct vmundo_error *err);

#endif
