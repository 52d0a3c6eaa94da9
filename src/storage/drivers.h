/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* drivers.h: the drivers that there are; storage.c has them in a table. */
#ifndef STORAGE_DRIVERS_H
#define STORAGE_DRIVERS_H

#include "storage/storage.h"

extern const struct storage_driver storage_reflink;
extern const struct storage_driver storage_qcow2;
extern const struct storage_driver storage_lvm;      /* only with HAVE_LVM */
extern const struct storage_driver storage_lvm_thin; /* only with HAVE_LVM */
extern const struct storage_driver storage_null;

#endif
