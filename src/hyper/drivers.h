/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* drivers.h: the hypervisor drivers there are, for the registry in hyper.c. */
#ifndef HYPER_DRIVERS_H
#define HYPER_DRIVERS_H

#include "hyper/hyper.h"

extern const struct hyper_driver hyper_qemu;
extern const struct hyper_driver hyper_null;
extern const struct hyper_driver hyper_xen;

#endif
