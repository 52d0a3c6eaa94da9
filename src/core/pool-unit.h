/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pool-unit.h: a pool is mounted again at every boot by a mount unit (systemd.mount(5)), where systemd runs.
 */
#ifndef CORE_POOL_UNIT_H
#define CORE_POOL_UNIT_H

#include "core/pools.h"

/* Is there somebody who reads units, and can these paths be in one? */
bool pool_unit_can(const char *path, const char *dir);

/* The unit that mounts the file, or the device, path at dir, enabled; an old one is replaced. Durable. */
int pool_unit_put(const char *path, const char *dir, bool device, const struct steps *s, struct vmundo_error *err);

/* Without one, nothing is done. */
int pool_unit_remove(const char *dir, const struct steps *s, struct vmundo_error *err);

/* The unit's name for a directory, as systemd-escape(1) --path makes it; the caller's. */
char *pool_unit_name(const char *dir, struct vmundo_error *err);

#endif
