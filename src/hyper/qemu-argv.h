/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-argv.h: from a domain to QEMU's argument vector. Pure: what it depends on besides the domain is in struct
 * qemu_host, which the driver finds out. Descriptors have the fixed numbers of rundir.h.
 */
#ifndef HYPER_QEMU_ARGV_H
#define HYPER_QEMU_ARGV_H

#include "config/domain.h"

enum qemu_net { NET_BRIDGE, NET_USER, NET_NONE };
enum qemu_ram { RAM_ANONYMOUS, RAM_SHARED, RAM_PRIVATE }; /* the latter two: from the file QEMU_FD_RAM */

struct qemu_host {
    const char *program;
    bool kvm;
    enum qemu_net net;
    bool isolated;        /* that network leads nowhere */
    const char *ovmf;     /* the UEFI firmware's file, NULL: not installed */
    const bool *is_block; /* for each disk: its target is a block device; NULL: none is */
    enum qemu_ram ram;
    bool incoming;        /* it waits for a saved state instead of booting */
    char run_as[32];      /* "UID:GID" that it becomes when it has opened all it needs; "": it stays who it is */
};

/* *ret is added to. Errors: VMUNDO_FAILED the domain asks for what QEMU, or this host, cannot give. */
int qemu_argv(const struct domain *d, const struct qemu_host *h, struct strv *ret, struct vmundo_error *err);

/* Of an argument vector, what makes the machine whose state can be saved and loaded: one string for each option. Not
 * what the guest does not see, and not MAC addresses, which are loaded. Added to *ret. */
int qemu_machine(const char *const *argv, size_t n, struct strv *ret, struct vmundo_error *err);

/* What of the configuration has no effect, or another than under Xen: "key: why". Added to *ret. */
int qemu_notes(const struct domain *d, const struct qemu_host *h, struct strv *ret, struct vmundo_error *err);

#endif
