/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domain.h: a domain as its configuration describes it. Plain data: config/ fills it in, core/ retargets its disks,
 * hyper/ starts it. xl.cfg(5) and xl-disk-configuration(5) define the meaning of every field.
 */
#ifndef CONFIG_DOMAIN_H
#define CONFIG_DOMAIN_H

#include "util/str.h"

#include <stdint.h>

enum domain_type { DOMAIN_PV, DOMAIN_PVH, DOMAIN_HVM };

/* What happens when the guest powers off, reboots or crashes. XL's coredump-* actions count as their second half. */
enum domain_action { ACTION_DESTROY, ACTION_RESTART, ACTION_PRESERVE };

/* Disk formats by xl's names. EMPTY: a CD-ROM drive without a medium. */
enum disk_format { FORMAT_RAW, FORMAT_QCOW, FORMAT_QCOW2, FORMAT_VHD, FORMAT_QED, FORMAT_EMPTY, FORMAT_UNKNOWN };

struct domain_disk {
    char *vdev;              /* xvda, sdb, hdc, vdd … */
    char *target;            /* absolute (relative ones were resolved against the configuration file, or against /dev
                              * after phy:), or rbd:… or what script wants; NULL for an empty drive */
    enum disk_format format;
    bool readonly;           /* CD-ROMs always are */
    bool cdrom;
    char *script;            /* a block script of the user's (script=…, or drbd:, iscsi: prefixes), NULL: none */
    char *backendtype;       /* phy, tap, qdisk as the user asked, NULL: default */
    char *backend;           /* the driver domain that serves it (target is then a path in there), NULL: this one */
    bool discard;            /* offer it to the guest; unless the user says otherwise, writable disks do */
};

struct domain_vif {
    char *mac;               /* NULL: derived from the domain's name and index, in 52:54:00 */
    char *model;             /* NULL: virtio-net (QEMU) or the Xen default */
    char *bridge;            /* NULL: the default bridge */
    char *script, *ip, *vifname, *type;
};

struct domain {
    char *name;
    char *uuid;              /* canonical text, or NULL */
    enum domain_type type;
    uint64_t memory_mib, maxmem_mib;
    unsigned vcpus, maxvcpus;
    char *kernel, *ramdisk;  /* absolute, or NULL */
    char *cmdline;           /* from cmdline=, else root= and extra= joined as xl does; NULL: none */
    char *bootloader;        /* pygrub, … */
    char *firmware;          /* firmware=, bios= */
    char *boot;              /* order, as "cda" */
    enum domain_action on_poweroff, on_reboot, on_crash;
    struct domain_disk *disks;
    size_t n_disks;
    struct domain_vif *vifs;
    size_t n_vifs;
    struct strv serials;     /* serial= as text */
    struct strv keys;        /* every key of the file, once, in order: what a driver does not know, it ignores by name */
};

void domain_clear(struct domain *d);
bool domain_equal(const struct domain *a, const struct domain *b);
void domain_disk_clear(struct domain_disk *disk);

/* Is this a domain name (or label): [A-Za-z0-9][A-Za-z0-9._+-]{0,62}? Errors: VMUNDO_FAILED, saying what it may be. */
int domain_name_check(const char *name, struct vmundo_error *err);

const char *disk_format_name(enum disk_format f);           /* "raw", "qcow2", … as xl and QEMU name them */
enum disk_format disk_format_parse(const char *name);       /* FORMAT_UNKNOWN if it is none */
const char *domain_type_name(enum domain_type t);
struct domain_disk *domain_find_disk(const struct domain *d, const char *vdev);

#endif
