/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pool-without.c: pools and volumes in a library that was built without LVM (-Dlvm=disabled): each call says so.
 */
#include "util/error.h"

static int without(struct vmundo_error *err)
{
    return error_set(err, VMUNDO_FAILED, "this vmundo was built without LVM and cannot make pools: build it with "
                     "libdevmapper and libblkid (-Dlvm=enabled)");
}

int vmundo_pool_create(struct vmundo *v, const struct vmundo_pool_options *o, struct vmundo_error *err)
{
    (void)v, (void)o;
    return without(err);
}

int vmundo_pool_grow(struct vmundo *v, const struct vmundo_pool_options *o, struct vmundo_error *err)
{
    (void)v, (void)o;
    return without(err);
}

int vmundo_pool_mount(struct vmundo *v, const struct vmundo_pool_options *o, struct vmundo_error *err)
{
    (void)v, (void)o;
    return without(err);
}

int vmundo_pool_remove(struct vmundo *v, const char *name, struct vmundo_error *err)
{
    (void)v, (void)name;
    return without(err);
}

int vmundo_pool_list(struct vmundo *v, struct vmundo_pools *ret, struct vmundo_error *err)
{
    (void)v, (void)ret;
    return without(err);
}

void vmundo_pools_free(struct vmundo_pools *p)
{
    (void)p; /* there never is one */
}

int vmundo_pool_import(struct vmundo *v, const struct vmundo_import_options *o, struct vmundo_error *err)
{
    (void)v, (void)o;
    return without(err);
}

int vmundo_volume_create(struct vmundo *v, const struct vmundo_volume_options *o, struct vmundo_error *err)
{
    (void)v, (void)o;
    return without(err);
}

int vmundo_volume_resize(struct vmundo *v, const char *name, uint64_t size, struct vmundo_error *err)
{
    (void)v, (void)name, (void)size;
    return without(err);
}

int vmundo_volume_remove(struct vmundo *v, const char *name, struct vmundo_error *err)
{
    (void)v, (void)name;
    return without(err);
}

int vmundo_volume_list(struct vmundo *v, const char *pool, struct vmundo_volumes *ret, struct vmundo_error *err)
{
    (void)v, (void)pool, (void)ret;
    return without(err);
}

void vmundo_volumes_free(struct vmundo_volumes *p)
{
    (void)p;
}
