/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * volume.c: volumes of volume groups. Before one is changed it is made sure that nobody uses it: the kernel's users
 * (storage_in_use), domains of other programs (hyper_disk_in_use), and the domains of this state directory, whose branches
 * may be files that LVM knows nothing of.
 */
#include "core/pools.h"
#include "core/record.h"
#include "core/store.h"
#include "hyper/hyper.h"
#include "storage/storage.h"

/* ---- names -------------------------------------------------------------------------------------------------------- */

static int split(const char *name, struct lvm_name *ret, struct vmundo_error *err)
{
    const char *slash = strchr(name, '/');
    AUTO_LVM_NAME struct lvm_name n = {0};
    if (!slash || slash == name || strchr(slash + 1, '/'))
        return error_set(err, VMUNDO_USAGE, "'%.150s' is no volume: it is called POOL/NAME, the pool being a volume group "
                         "(in an XFS pool, images are plain files)", name);
    n.vg = str_printf(err, "%.*s", (int)(slash - name), name);
    if (!n.vg || str_copy(slash + 1, &n.lv, err) < 0)
        return -1;
    if (!vmundo_name_is_valid(n.vg) || !vmundo_name_is_valid(n.lv))
        return error_set(err, VMUNDO_USAGE, "'%.150s' cannot be the name of a volume: letters, digits and . _ + - are "
                         "allowed in either part, a letter or digit first, 63 at most", name);
    *ret = n;
    n = (struct lvm_name){0};
    return 0;
}

/* ---- users ---------------------------------------------------------------------------------------------------------- */

static bool is_same(const char *path, const struct stat *what)
{
    struct stat st;
    if (!path || stat(path, &st) < 0 || (st.st_mode & S_IFMT) != (what->st_mode & S_IFMT))
        return false;
    return S_ISBLK(st.st_mode) ? st.st_rdev == what->st_rdev : st.st_dev == what->st_dev && st.st_ino == what->st_ino;
}

static bool record_uses(const struct record *r, const struct stat *what)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (is_same(r->branches[i].origin, what))
            return true;
    for (size_t i = 0; i < r->n_disks; i++)
        if (is_same(r->disks[i].target, what))
            return true;
    return false;
}

static void free_rows(struct store_domain **rows, size_t n)
{
    store_domains_free(*rows, n);
}

int pools_check_domains(struct vmundo *v, const char *path, const struct stat *what, struct vmundo_error *err)
{
    struct store_domain *rows = NULL;
    size_t n = 0;
    int rc = store_list(v, &rows, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        AUTO_FREE char *text = NULL;
        CLEANUP(record_clear) struct record r = {0};
        rc = store_get(v, rows[i].name, &text, err);
        if (rc == 0 && text && (rc = record_from_text(text, &r, err)) == 0 && record_uses(&r, what))
            rc = error_set(err, VMUNDO_REFUSED, "%s is a disk of the domain %s, which has branches: 'vmundo keep %s' or "
                           "'drop' first", path, rows[i].name, rows[i].name);
    }
    free_rows(&rows, n);
    return rc;
}

/* mounted_too: a mount counts, too. */
static int check_users(struct vmundo *v, const char *device, bool mounted_too, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    AUTO_FREE char *mount = NULL, *who = NULL;
    struct stat st;
    if (stat(device, &st) < 0 || !S_ISBLK(st.st_mode))
        return 0; /* it is not active: nobody can use it */
    if (pools_check_domains(v, device, &st, err) < 0 || pool_mounted_at(device, &mount, err) < 0 ||
        hyper_disk_in_use(device, &who, err) < 0)
        return -1;
    if (!who && mount && mounted_too)
        return error_set(err, VMUNDO_REFUSED, "%s is mounted at %s: unmount it first", device, mount);
    if (!who && !mount && (stack_resolve(device, &s, err) < 0 || storage_in_use(&s, false, &who, err) < 0))
        return -1;
    return who ? error_set(err, VMUNDO_REFUSED, "%s is in use by %s", device, who) : 0;
}

/* ---- changing -------------------------------------------------------------------------------------------------------- */

int vmundo_volume_create(struct vmundo *v, const struct vmundo_volume_options *o, struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    AUTO_LVM_NAME struct lvm_name n = {0};
    struct pool_report r;
    pool_report_init(&r, v, o->name);
    if (split(o->name, &n, err) < 0)
        return -1;
    if (strstr(n.lv, ".vmundo."))
        return error_set(err, VMUNDO_USAGE, "'%s' cannot be the name of a volume: .vmundo. is in names of branches", n.lv);
    if (!o->size)
        return error_set(err, VMUNDO_USAGE, "say with --size how large %s is to be", o->name);
    if (o->fs && !str_eq(o->fs, "ext4") && !str_eq(o->fs, "xfs"))
        return error_set(err, VMUNDO_USAGE, "'%.40s' is no file system that is made here: ext4 or xfs", o->fs);
    if (o->thin && o->stripes)
        return error_set(err, VMUNDO_USAGE, "a thin volume has the stripes of its pool: 'vmundo pool create --thin "
                         "--stripes'");
    struct lvm_new_volume new = {.name = &n, .size = o->size, .thin = o->thin, .stripes = o->stripes, .fs = o->fs};
    return pools_lock(v, "volume create", &lock, err) < 0 ? -1 : lvm_volume_create(&new, &r.steps, err);
}

/* Nobody begins to make a branch of it meanwhile. */
static int lock_volume(const struct vmundo *v, const char *verb, const char *device, struct lock *pools,
                       struct lock *origin, struct vmundo_error *err)
{
    return pools_lock(v, verb, pools, err) < 0 || (!v->dry_run && lock_origin(v, device, true, origin, err) < 0) ? -1 : 0;
}

int vmundo_volume_resize(struct vmundo *v, const char *name, uint64_t size, struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    AUTO_LOCK struct lock origin = LOCK_INIT;
    AUTO_LVM_NAME struct lvm_name n = {0};
    AUTO_LVM_VG struct lvm_vg vg = {0};
    const struct lvm_lv *lv = NULL;
    struct pool_report r;
    pool_report_init(&r, v, name);
    if (split(name, &n, err) < 0)
        return -1;
    AUTO_FREE char *device = str_printf(err, "/dev/%s/%s", n.vg, n.lv);
    if (!device || lock_volume(v, "volume resize", device, &lock, &origin, err) < 0 ||
        lvm_volume_look(&n, &vg, &lv, err) < 0 || check_users(v, device, false, err) < 0)
        return -1;
    return lvm_volume_resize(&n, size, &r.steps, err);
}

int vmundo_volume_remove(struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    AUTO_LOCK struct lock origin = LOCK_INIT;
    AUTO_LVM_NAME struct lvm_name n = {0};
    AUTO_LVM_VG struct lvm_vg vg = {0};
    const struct lvm_lv *lv = NULL;
    struct pool_report r;
    pool_report_init(&r, v, name);
    if (split(name, &n, err) < 0)
        return -1;
    AUTO_FREE char *device = str_printf(err, "/dev/%s/%s", n.vg, n.lv);
    if (!device || lock_volume(v, "volume remove", device, &lock, &origin, err) < 0 ||
        lvm_volume_look(&n, &vg, &lv, err) < 0 || lvm_volume_check_single(&vg, lv, true, "removed", err) < 0 ||
        check_users(v, device, true, err) < 0)
        return -1;
    return lvm_volume_remove(&n, &r.steps, err);
}

/* ---- looking -------------------------------------------------------------------------------------------------------- */

void vmundo_volumes_free(struct vmundo_volumes *p)
{
    for (size_t i = 0; p && i < p->n_volumes; i++) {
        struct vmundo_volume *q = &p->volumes[i];
        char *texts[] = {q->name, q->kind, q->path, q->origin, q->domain, q->mount, q->health};
        for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
            free(texts[k]);
    }
    if (p) {
        free(p->volumes);
        *p = (struct vmundo_volumes){0};
    }
}

static const char *domain_of(const struct lvm_lv *lv)
{
    for (size_t i = 0; i < lv->tags.n; i++)
        if (str_has_prefix(lv->tags.items[i], "vmundo.domain="))
            return lv->tags.items[i] + strlen("vmundo.domain=");
    return NULL;
}

static const char *kind_of(const struct lvm_lv *lv)
{
    bool thin = str_eq(lv->segtype, "thin");
    if (domain_of(lv))
        return thin ? "thin branch" : "branch";
    if (lv->origin && *lv->origin)
        return thin ? "thin snapshot" : "snapshot";
    return str_eq(lv->segtype, "linear") ? "classic" : lv->segtype;
}

static const char *health_of(const struct lvm_lv *lv)
{
    if (lv->invalid)
        return "invalid: it was full";
    if (strv_has(&lv->tags, VOLUME_UNFINISHED_TAG))
        return "half made: 'vmundo volume create' it again, or 'remove' it";
    if (lv->merging)
        return "merging";
    return lv->health && *lv->health ? lv->health : "ok";
}

static int fill_in(const struct lvm_vg *vg, const struct lvm_lv *lv, struct vmundo_volume *q, struct vmundo_error *err)
{
    q->size = lv->size;
    q->fill = lv->data_percent >= 0 ? lv->data_percent / 100 : -1;
    if (!(q->name = str_printf(err, "%s/%s", vg->name, lv->name)) ||
        !(q->path = str_printf(err, "/dev/%s/%s", vg->name, lv->name)))
        return -1;
    return str_copy(kind_of(lv), &q->kind, err) < 0 || str_copy(health_of(lv), &q->health, err) < 0 ||
                   str_copy(domain_of(lv), &q->domain, err) < 0 ||
                   str_copy(lv->origin && *lv->origin ? lv->origin : NULL, &q->origin, err) < 0
               ? -1
               : pool_mounted_at(q->path, &q->mount, err);
}

static int add_volumes(const char *group, struct vmundo_volumes *p, struct vmundo_error *err)
{
    AUTO_LVM_VG struct lvm_vg vg = {0};
    if (lvm_report(group, &vg, err) < 0)
        return -1;
    struct vmundo_volume *more = realloc(p->volumes, (p->n_volumes + vg.n_lvs + 1) * sizeof(*more));
    if (!more)
        return error_nomem(err);
    p->volumes = more;
    for (size_t i = 0; i < vg.n_lvs; i++) {
        if (str_eq(vg.lvs[i].segtype, "thin-pool"))
            continue;
        p->volumes[p->n_volumes] = (struct vmundo_volume){0};
        if (fill_in(&vg, &vg.lvs[i], &p->volumes[p->n_volumes++], err) < 0)
            return -1;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct vmundo_volume *x = a, *y = b;
    return strcmp(x->name, y->name);
}

int vmundo_volume_list(struct vmundo *v, const char *pool, struct vmundo_volumes *ret, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    CLEANUP(vmundo_volumes_free) struct vmundo_volumes p = {0};
    (void)v;
    if (pool && !vmundo_name_is_valid(pool))
        return error_set(err, VMUNDO_USAGE, "'%.80s' is no name of a volume group", pool);
    if (lvm_groups(&g, err) < 0)
        return -1;
    if (pool && !lvm_groups_find(&g, pool))
        return error_set(err, VMUNDO_NOT_FOUND, "there is no volume group '%s': 'vmundo pool list' shows those that there "
                         "are", pool);
    for (size_t i = 0; i < g.n; i++)
        if ((!pool || str_eq(pool, g.groups[i].name)) && !g.groups[i].exported &&
            add_volumes(g.groups[i].name, &p, err) < 0)
            return -1;
    if (p.n_volumes)
        qsort(p.volumes, p.n_volumes, sizeof(*p.volumes), by_name);
    *ret = p;
    p = (struct vmundo_volumes){0};
    return 0;
}
