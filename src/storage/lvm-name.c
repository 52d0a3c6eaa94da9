/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-name.c: names of logical volumes, and how large a snapshot must be. Nothing here asks the system.
 */
#include "storage/lvm.h"

#include <inttypes.h>

/* lib/metadata/metadata.h NAME_LEN and kernel DM_NAME_LEN are both 128 with the NUL. A classic snapshot has a device
 * with "-cow" behind its name as well. */
#define MAX_NAME 127
#define LAYER_ROOM 4

void lvm_name_clear(struct lvm_name *n)
{
    free(n->vg);
    free(n->lv);
    *n = (struct lvm_name){0};
}

int lvm_split_path(const char *path, struct lvm_name *ret, struct vmundo_error *err)
{
    const char *vg = str_has_prefix(path, "/dev/") ? path + strlen("/dev/") : "";
    const char *slash = strchr(vg, '/');
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (!slash || slash == vg || !slash[1] || strchr(slash + 1, '/'))
        return error_set(err, VMUNDO_FAILED, "%s is not the path of a logical volume", path);
    n.vg = str_printf(err, "%.*s", (int)(slash - vg), vg);
    if (!n.vg || str_copy(slash + 1, &n.lv, err) < 0)
        return -1;
    *ret = n;
    n = (struct lvm_name){0};
    return 0;
}

/* ---- device-mapper's names
 * -------------------------------------------------------------------------------------------- */

static size_t mangled_len(const char *s)
{
    size_t n = strlen(s);
    for (; *s; s++)
        n += *s == '-';
    return n;
}

static char *mangle(char *to, const char *s)
{
    for (; *s; s++) {
        *to++ = *s;
        if (*s == '-')
            *to++ = '-';
    }
    return to;
}

char *lvm_dm_name(const struct lvm_name *n, const char *layer, struct vmundo_error *err)
{
    char *name = malloc(mangled_len(n->vg) + mangled_len(n->lv) + (layer ? strlen(layer) + 1 : 0) + 2);
    if (!name) {
        error_nomem(err);
        return NULL;
    }
    char *p = mangle(name, n->vg);
    *p++ = '-';
    p = mangle(p, n->lv);
    *p = '\0';
    if (layer) {
        *p++ = '-';
        strcpy(p, layer);
    }
    return name;
}

/* Up to the next single hyphen; *rest is what follows it, or the end. The caller's. */
static char *unmangle(const char *s, const char **rest)
{
    char *name = malloc(strlen(s) + 1), *p = name;
    if (!name)
        return NULL;
    while (*s && !(s[0] == '-' && s[1] != '-')) {
        s += s[0] == '-';
        *p++ = *s++;
    }
    *p = '\0';
    *rest = *s ? s + 1 : s;
    return name;
}

int lvm_split_dm_name(const char *dm_name, struct lvm_name *ret, char **ret_layer, struct vmundo_error *err)
{
    AUTO_LVM_NAME struct lvm_name n = {0};
    const char *rest = dm_name;
    n.vg = unmangle(rest, &rest);
    n.lv = n.vg ? unmangle(rest, &rest) : NULL;
    if (!n.lv)
        return error_nomem(err);
    if (!*n.vg || !*n.lv)
        return error_set(err, VMUNDO_FAILED, "%s is not device-mapper's name of a logical volume", dm_name);
    if (str_copy(rest, ret_layer, err) < 0)
        return -1;
    *ret = n;
    n = (struct lvm_name){0};
    return 0;
}

/* ---- the branch's name
 * ------------------------------------------------------------------------------------------------ */

/* apply_lvname_restrictions() in lib/misc/lvm-string.c. What a name may start with is the origin's affair. */
static bool has_reserved_word(const char *name)
{
    static const char *const words[] = {"_cdata", "_cmeta",  "_corig",   "_cpool",  "_cvol",  "_wcorig",
                                        "_mlog",  "_mimage", "_pmspare", "_rimage", "_rmeta", "_tdata",
                                        "_tmeta", "_vdata",  "_vorigin", "_imeta",  "_iorig"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strstr(name, words[i]))
            return true;
    return false;
}

static bool name_fits(const char *vg, const char *lv)
{
    return mangled_len(vg) + 1 + mangled_len(lv) + LAYER_ROOM <= MAX_NAME && !has_reserved_word(lv);
}

static uint64_t hash(uint64_t h, const char *s)
{
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return (h ^ '/') * 0x100000001b3u;
}

char *lvm_branch_name(const struct lvm_name *origin, const struct mark *m, struct vmundo_error *err)
{
    AUTO_FREE char *name = str_printf(err, "%s.vmundo.%s.%s.%" PRIu64, origin->lv, m->store, m->domain, m->generation);
    if (!name || name_fits(origin->vg, name))
        return TAKE(name);
    free(name);
    uint64_t h = hash(hash(0xcbf29ce484222325u, origin->lv), m->domain);
    name = str_printf(err, "vmundo.%s.%016" PRIx64 ".%" PRIu64, m->store, h, m->generation);
    if (!name || name_fits(origin->vg, name))
        return TAKE(name);
    error_set(err, VMUNDO_REFUSED, "the name of volume group %s leaves no room for the name of a branch", origin->vg);
    return NULL;
}

/* ---- sizes
 * ------------------------------------------------------------------------------------------------------------ */

/* One chunk of header, and for each area's worth of exceptions (16 bytes each) a chunk to list them. dm-snapshot needs
 * one chunk more than it uses in order not to count itself full. */
uint64_t lvm_full_cow(uint64_t origin, uint32_t chunk, uint32_t extent)
{
    uint64_t chunks = (origin + chunk - 1) / chunk, per_area = chunk / 16;
    uint64_t bytes = (1 + chunks + chunks / per_area + 1 + 1) * chunk;
    return (bytes + extent - 1) / extent * extent;
}

/* ---- sizes of thin pools
 * ---------------------------------------------------------------------------------------------- */

#define RESERVE_SHARE 20 /* one part in so many */
#define RESERVE_EXTENTS 6
#define RESERVE_MOST (64ull << 30) /* metadata is never more than 16 GiB */

uint64_t lvm_thin_pool_size(uint64_t free, uint32_t extent, unsigned stripes)
{
    uint64_t unit = (uint64_t)extent * (stripes > 1 ? stripes : 1);
    uint64_t reserve = free / RESERVE_SHARE, least = (uint64_t)extent * RESERVE_EXTENTS;
    reserve = reserve > RESERVE_MOST ? RESERVE_MOST : reserve < least ? least : reserve;
    return free > reserve ? (free - reserve) / unit * unit : 0;
}
