/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pool.c: making, growing, mounting and removing pools. First volume groups, whose name has no '/', then XFS pools, then
 * the public calls, which tell one from the other.
 *
 * A volume group in a file is made of several things in turn. It is in pools.json, as being made, before the first of
 * them: what a killed command leaves is cleared away by `pool remove`, or by the next `pool create` of that name.
 */
#include "core/pool-unit.h"
#include "core/pools.h"

#include "hyper/hyper.h"
#include "storage/storage.h"
#include "util/sys.h"

#include <fcntl.h>
#include <sys/mount.h>

#define MAX_NAME "63"

static int usage(struct vmundo_error *err, const char *text)
{
    return error_set(err, VMUNDO_USAGE, "%s ('vmundo pool --help' tells more)", text);
}

static int check_group_name(const char *name, struct vmundo_error *err)
{
    return vmundo_name_is_valid(name)
               ? 0
               : error_set(err, VMUNDO_USAGE, "'%.80s' cannot be the name of a volume group: letters, digits and . _ + - are "
                           "allowed, " MAX_NAME " at most, a letter or digit first; an XFS pool is given as a path", name);
}

/* ---- volume groups -------------------------------------------------------------------------------------------------- */

static int check_devices(const struct vmundo_pool_options *o, struct strv *ret, struct vmundo_error *err)
{
    for (size_t i = 0; o->devices && o->devices[i]; i++) {
        AUTO_FREE char *device = NULL;
        if (pool_check_device(o->devices[i], o->wipe, &device, NULL, err) < 0)
            return -1;
        if (strv_has(ret, device))
            return error_set(err, VMUNDO_USAGE, "%s is given twice", device);
        if (strv_take(ret, TAKE(device), err) < 0)
            return -1;
    }
    return 0;
}

/* In as far as it is there: the group, the loop device and the file. */
static int clear_half_made(const struct pool_entry *e, const struct steps *s, struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    if (lvm_groups(&g, err) < 0)
        return -1;
    if (lvm_groups_find(&g, e->name) && lvm_group_remove(e->name, s, err) < 0)
        return -1;
    return steps_take(s, "remove the file %s", e->path) ? pool_remove_file(e->path, err) : 0;
}

/* *ret_made: the file is ours, also when it fails. */
static int make_in_file(struct lvm_new_group *n, const char *path, uint64_t size, const struct steps *s, bool *ret_made,
                        struct vmundo_error *err)
{
    AUTO_STRV struct strv devices = {0};
    AUTO_CLOSE int fd = -1;
    AUTO_FREE char *what = str_printf(err, "the file %s", path);
    char text[32], node[LOOP_NODE_SIZE];
    if (!what)
        return -1;
    n->devices = &devices;
    n->what = what;
    if (steps_take(s, "make the file %s of %s, which takes room only as it is filled, and a loop device over it", path,
                   pool_size_text(size, text))) {
        if (pool_make_file(path, size, err) < 0)
            return -1;
        *ret_made = true;
        if (pool_attach_file(path, false, node, &fd, err) < 0 || strv_add(&devices, node, err) < 0)
            return -1;
    }
    return lvm_group_create(n, s, err);
}

static int create_in_file(const struct vmundo *v, struct lvm_new_group *n, const struct vmundo_pool_options *o,
                          const struct steps *s, struct vmundo_error *err)
{
    AUTO_FREE char *path = NULL;
    AUTO_JSON json_t *pools = NULL;
    struct pool_entry e;
    struct vmundo_error e2 = {0};
    struct stat st;
    bool made = false;
    if (pool_canonical(o->file, &path, err) < 0 || pools_read(v, &pools, err) < 0)
        return -1;
    if (pools_find(pools, n->name, &e)) {
        if (!e.making)
            return error_set(err, VMUNDO_CONFLICT, "there is a pool '%s' already, in %s: 'vmundo pool mount %s' makes it "
                             "usable after a reboot", n->name, e.path, n->name);
        if (clear_half_made(&e, s, err) < 0)
            return -1;
    }
    if (lstat(path, &st) == 0 && !(v->dry_run && str_eq(e.path, path)))
        return error_set(err, VMUNDO_CONFLICT, "there is a file %s already", path);
    struct pool_entry new = {.name = n->name, .kind = "lvm", .path = path, .making = true};
    if (pools_put(v, &new, err) < 0)
        return -1;
    if (make_in_file(n, path, o->size, s, &made, &e2) < 0) {
        if (e2.code != VMUNDO_INTERRUPTED && (!made || pool_remove_file(path, NULL) == 0))
            pools_forget(v, n->name, NULL);
        if (err)
            *err = e2;
        return -1;
    }
    new.making = false;
    return pools_put(v, &new, err);
}

static int check_group_options(const struct vmundo_pool_options *o, size_t n, struct vmundo_error *err)
{
    if (o->mount)
        return usage(err, "--mount is for an XFS pool, which is given as a path");
    if (o->file && n > 0)
        return usage(err, "give either devices or --file");
    if (!o->file && n == 0)
        return usage(err, "a volume group needs devices, or --file with --size");
    if (!o->file != !o->size)
        return usage(err, o->file ? "--file needs --size" : "--size goes with --file: a device has the size that it has");
    if (o->file && o->wipe)
        return usage(err, "--wipe goes with devices: a new file is empty");
    if (o->stripes > 1 && !o->thin)
        return usage(err, "--stripes goes with --thin here; for a classic volume give it to 'vmundo volume create'");
    if (o->stripes > (o->file ? 1 : n))
        return usage(err, "there cannot be more stripes than devices");
    return 0;
}

static int create_group(const struct vmundo *v, const struct vmundo_pool_options *o, const struct steps *s,
                        struct vmundo_error *err)
{
    AUTO_STRV struct strv devices = {0};
    struct lvm_new_group n = {.name = o->name, .devices = &devices, .thin = o->thin, .stripes = o->stripes};
    size_t count = 0;
    while (o->devices && o->devices[count])
        count++;
    if (check_group_name(o->name, err) < 0 || check_group_options(o, count, err) < 0)
        return -1;
    if (o->file)
        return create_in_file(v, &n, o, s, err);
    return check_devices(o, &devices, err) < 0 ? -1 : lvm_group_create(&n, s, err);
}

static int grow_group(const struct vmundo *v, const struct vmundo_pool_options *o, const struct steps *s,
                      struct vmundo_error *err)
{
    AUTO_JSON json_t *pools = NULL;
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    AUTO_STRV struct strv devices = {0};
    struct lvm_group *group = NULL;
    struct pool_entry e;
    if (check_group_name(o->name, err) < 0 || pools_read(v, &pools, err) < 0 ||
        lvm_group_look(o->name, &g, &group, err) < 0)
        return -1;
    bool file = pools_find(pools, o->name, &e);
    if (o->size && !file)
        return usage(err, "--size is for a pool in a file: this one grows by devices, or as its devices do");
    if (o->size && o->devices && o->devices[0])
        return usage(err, "give either devices or --size");
    if (check_devices(o, &devices, err) < 0 || (o->size && pool_grow_file(e.path, o->size, NULL, s, err) < 0))
        return -1;
    return lvm_group_grow(o->name, &devices, s, err);
}

static int mount_group(const struct pool_entry *e, const struct steps *s, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    char node[LOOP_NODE_SIZE];
    const char *args[] = {"vgchange", "--yes", "-ay", e->name, NULL};
    if (e->making)
        return error_set(err, VMUNDO_CONFLICT, "the pool %s was left half made: 'vmundo pool remove %s' clears it away",
                         e->name, e->name);
    if (!steps_take(s, "attach %s and activate the volume group %s", e->path, e->name))
        return 0;
    return pool_attach_file(e->path, false, node, &fd, err) < 0 ? -1 : lvm_run(e->name, args, NULL, err);
}

/* Nothing is known of what is in a file that is not attached. */
static int check_attached(const struct pool_entry *e, struct vmundo_error *err)
{
    AUTO_FREE char *content = NULL;
    struct stat st;
    if (lstat(e->path, &st) < 0 || !S_ISREG(st.st_mode) || signature_find(e->path, &content, err) < 0 || !content)
        return 0;
    return error_set(err, VMUNDO_CONFLICT, "%s is not attached, so that nobody knows what is in it: 'vmundo pool mount %s' "
                     "first", e->path, e->name);
}

static int remove_group(const struct vmundo *v, const char *name, const struct steps *s, struct vmundo_error *err)
{
    AUTO_JSON json_t *pools = NULL;
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    struct pool_entry e;
    if (check_group_name(name, err) < 0 || pools_read(v, &pools, err) < 0)
        return -1;
    if (!pools_find(pools, name, &e))
        return lvm_group_remove(name, s, err);
    if (lvm_groups(&g, err) < 0)
        return -1;
    if (lvm_groups_find(&g, name) ? lvm_group_remove(name, s, err) < 0 : !e.making && check_attached(&e, err) < 0)
        return -1;
    if (steps_take(s, "remove the file %s", e.path) && pool_remove_file(e.path, err) < 0)
        return -1;
    return pools_forget(v, name, err);
}

/* ---- XFS pools ------------------------------------------------------------------------------------------------------ */

struct xfs_pool {
    char *path, *dir; /* dir NULL: not known */
    bool device;
};
#define AUTO_XFS_POOL CLEANUP(xfs_pool_clear)

static void xfs_pool_clear(struct xfs_pool *p)
{
    free(p->path);
    free(p->dir);
}

/* Where it is, and where it is to be mounted: as asked for, as remembered, or beside it. */
static int find_xfs(const struct vmundo *v, const char *name, const char *mount, struct xfs_pool *p,
                    struct vmundo_error *err)
{
    AUTO_JSON json_t *pools = NULL;
    struct pool_entry e;
    struct stat st;
    p->device = stat(name, &st) == 0 && S_ISBLK(st.st_mode);
    if (p->device ? pool_device_name(name, &p->path, err) < 0 : pool_canonical(name, &p->path, err) < 0)
        return -1;
    if (pools_read(v, &pools, err) < 0)
        return -1;
    if (mount)
        return pool_canonical(mount, &p->dir, err);
    if (pools_find(pools, p->path, &e))
        return str_copy(e.mount, &p->dir, err);
    if (p->device)
        return 0;
    return (p->dir = str_printf(err, "%s.d", p->path)) ? 0 : -1;
}

static int check_xfs_options(const struct vmundo_pool_options *o, const struct xfs_pool *p, struct vmundo_error *err)
{
    if ((o->devices && o->devices[0]) || o->file || o->thin || o->stripes)
        return usage(err, "devices, --file, --thin and --stripes are for a volume group, whose name has no '/'");
    if (p->device && o->size)
        return usage(err, "--size is for a file: a device has the size that it has");
    if (!p->device && o->wipe)
        return usage(err, "--wipe is for a device: a file that exists is never overwritten");
    if (!p->device && !o->size)
        return usage(err, "a pool in a new file needs --size");
    if (!p->dir)
        return usage(err, "for a device say with --mount where it is to be mounted");
    return 0;
}

/* fstab(5): white space and backslashes as \ooo. */
static void put_field(char *to, size_t size, const char *s)
{
    size_t n = 0;
    for (; *s && n + 5 < size; s++)
        n += (size_t)snprintf(to + n, size - n, strchr(" \t\n\\", *s) ? "\\%03o" : "%c", *s);
    to[n] = '\0';
}

/* How it is mounted at the next boot: by a unit, or by a line that the user is told. */
static int see_to_boot(const struct xfs_pool *p, const struct steps *s, char **ret, struct vmundo_error *err)
{
    if (pool_unit_can(p->path, p->dir))
        return pool_unit_put(p->path, p->dir, p->device, s, err);
    char path[4 * 4096], dir[4 * 4096];
    if (!ret)
        return 0;
    put_field(path, sizeof(path), p->path);
    put_field(dir, sizeof(dir), p->dir);
    *ret = str_printf(err, "%s %s xfs %snosuid,nodev,noexec,nofail 0 0", path, dir, p->device ? "" : "loop,");
    return *ret ? 0 : -1;
}

static int remember_xfs(const struct vmundo *v, const struct xfs_pool *p, struct vmundo_error *err)
{
    return pools_put(v, &(struct pool_entry){.name = p->path, .kind = "xfs", .path = p->path, .mount = p->dir}, err);
}

/* Of a pool that was just made, and is empty. */
static int take_back_xfs(const struct vmundo *v, const struct xfs_pool *p, bool mounted, const struct steps *s)
{
    if (pool_unit_remove(p->dir, s, NULL) < 0)
        return -1;
    if (mounted && umount2(p->dir, UMOUNT_NOFOLLOW) < 0)
        return -1;
    if (!p->device)
        (void)rmdir(p->dir);
    if (p->device ? signature_wipe(p->path, NULL) < 0 : pool_remove_file(p->path, NULL) < 0)
        return -1;
    return pools_forget(v, p->path, NULL);
}

static int create_xfs(const struct vmundo *v, const struct vmundo_pool_options *o, const struct steps *s,
                      struct vmundo_error *err)
{
    AUTO_XFS_POOL struct xfs_pool p = {0};
    struct stat st;
    if (find_xfs(v, o->name, o->mount, &p, err) < 0 || check_xfs_options(o, &p, err) < 0)
        return -1;
    AUTO_FREE char *checked = NULL;
    if (p.device && pool_check_device(p.path, o->wipe, &checked, NULL, err) < 0)
        return -1;
    if (!p.device && lstat(p.path, &st) == 0)
        return error_set(err, VMUNDO_CONFLICT, "there is a file %s already: 'vmundo pool mount %s' if it is a pool", p.path,
                         p.path);
    if (pool_xfs_create(p.path, p.device, o->size, s, err) < 0)
        return -1;
    bool mounted = pool_xfs_mount(p.path, p.dir, s, err) == 0;
    if (mounted && remember_xfs(v, &p, err) == 0 && see_to_boot(&p, s, o->ret_fstab, err) == 0)
        return 0;
    if (!v->dry_run && take_back_xfs(v, &p, mounted, s) < 0)
        return error_wrap(err, "%s was made, and could not be removed again ('vmundo pool mount %s' goes on with it)", p.path,
                          p.path);
    return -1;
}

/* Where it is mounted. Errors: VMUNDO_NOT_FOUND; VMUNDO_CONFLICT it is not. */
static int find_mounted(const struct vmundo *v, const char *name, struct xfs_pool *p, char node[LOOP_NODE_SIZE],
                        struct vmundo_error *err)
{
    AUTO_JSON json_t *pools = NULL;
    AUTO_FREE char *mounted = NULL;
    struct pool_entry e;
    struct stat st;
    if (find_xfs(v, name, NULL, p, err) < 0 || pools_read(v, &pools, err) < 0)
        return -1;
    if (!pools_find(pools, p->path, &e))
        return error_set(err, VMUNDO_NOT_FOUND, "%s is no pool that is known here: 'vmundo pool list' shows them, 'vmundo "
                         "pool mount' makes one known", p->path);
    snprintf(node, LOOP_NODE_SIZE, "%.*s", LOOP_NODE_SIZE - 1, p->path);
    bool there = stat(p->path, &st) == 0 && (p->device || loop_find(&st, node, NULL));
    if (there && pool_mounted_at(p->device ? p->path : node, &mounted, err) < 0)
        return -1;
    if (!mounted)
        return error_set(err, VMUNDO_CONFLICT, "%s is not mounted, so that nobody knows what is in it: 'vmundo pool mount "
                         "%s' first", p->path, p->path);
    free(p->dir);
    p->dir = TAKE(mounted);
    return 0;
}

static int grow_xfs(const struct vmundo *v, const struct vmundo_pool_options *o, const struct steps *s,
                    struct vmundo_error *err)
{
    AUTO_XFS_POOL struct xfs_pool p = {0};
    char node[LOOP_NODE_SIZE];
    if (o->devices && o->devices[0])
        return usage(err, "an XFS pool is on one device, which cannot be added to");
    if (find_mounted(v, o->name, &p, node, err) < 0)
        return -1;
    if (p.device == (o->size != 0))
        return usage(err, p.device ? "--size is for a pool in a file: this one grows as its device does"
                                   : "say with --size how large the pool is to be");
    if (o->size && pool_grow_file(p.path, o->size, node, s, err) < 0)
        return -1;
    return steps_take(s, "let the file system at %s have the new room", p.dir) ? pool_xfs_grow(p.device ? p.path : node, err)
                                                                              : 0;
}

static int remove_xfs(const struct vmundo *v, const char *name, const struct steps *s, struct vmundo_error *err)
{
    AUTO_XFS_POOL struct xfs_pool p = {0};
    AUTO_JSON json_t *pools = NULL;
    char node[LOOP_NODE_SIZE];
    struct pool_entry e;
    struct stat st;
    AUTO_FREE char *path = NULL;
    if (pools_read(v, &pools, err) < 0)
        return -1;
    if (pool_canonical(name, &path, NULL) == 0 && pools_find(pools, path, &e) && lstat(path, &st) < 0 && errno == ENOENT)
        return pool_unit_remove(e.mount, s, err) < 0 ? -1 : pools_forget(v, path, err);
    if (find_mounted(v, name, &p, node, err) < 0 || pool_xfs_check_empty(p.dir, err) < 0 ||
        pool_unit_remove(p.dir, s, err) < 0 || pool_xfs_remove(p.path, p.dir, s, err) < 0)
        return -1;
    return pools_forget(v, p.path, err);
}

/* What is in a file that this state directory does not know: XFS, or a group's disk. */
static int mount_unknown_group(const struct vmundo *v, const struct xfs_pool *p, const struct steps *s,
                               struct vmundo_error *err)
{
    AUTO_LVM_GROUPS struct lvm_groups g = {0};
    AUTO_CLOSE int fd = -1;
    char node[LOOP_NODE_SIZE];
    if (!steps_take(s, "attach %s", p->path))
        return 0;
    if (pool_attach_file(p->path, false, node, &fd, err) < 0 || lvm_groups(&g, err) < 0)
        return -1;
    for (size_t i = 0; i < g.n; i++) {
        struct pool_entry e = {.name = g.groups[i].name, .kind = "lvm", .path = p->path};
        if (strv_has(&g.groups[i].pvs, node))
            return mount_group(&e, s, err) < 0 ? -1 : pools_put(v, &e, err);
    }
    return error_set(err, VMUNDO_FAILED, "%s is a physical volume of no group that LVM shows", p->path);
}

static int mount_xfs(const struct vmundo *v, const struct vmundo_pool_options *o, const struct steps *s,
                     struct vmundo_error *err)
{
    AUTO_XFS_POOL struct xfs_pool p = {0};
    AUTO_FREE char *content = NULL;
    struct stat st;
    if (find_xfs(v, o->name, o->mount, &p, err) < 0)
        return -1;
    if (stat(p.path, &st) < 0)
        return error_set(err, VMUNDO_NOT_FOUND, "there is no %s", p.path);
    if (signature_find(p.path, &content, err) < 0)
        return -1;
    if (str_eq(content, "LVM2_member") && !p.device)
        return mount_unknown_group(v, &p, s, err);
    if (!str_eq(content, "xfs"))
        return error_set(err, VMUNDO_REFUSED, "%s is no pool: it holds %s", p.path, content ? content : "nothing known");
    if (!p.dir)
        return usage(err, "for a device say with --mount where it is to be mounted");
    if (pool_xfs_mount(p.path, p.dir, s, err) < 0)
        return -1;
    return remember_xfs(v, &p, err) < 0 ? -1 : see_to_boot(&p, s, o->ret_fstab, err);
}

/* ---- the public calls ------------------------------------------------------------------------------------------------ */

static bool is_path(const char *name)
{
    return strchr(name, '/') != NULL;
}

int vmundo_pool_create(struct vmundo *v, const struct vmundo_pool_options *o, struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    struct pool_report r;
    pool_report_init(&r, v, o->name);
    if (pools_lock(v, "pool create", &lock, err) < 0)
        return -1;
    return is_path(o->name) ? create_xfs(v, o, &r.steps, err) : create_group(v, o, &r.steps, err);
}

int vmundo_pool_grow(struct vmundo *v, const struct vmundo_pool_options *o, struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    struct pool_report r;
    pool_report_init(&r, v, o->name);
    if (pools_lock(v, "pool grow", &lock, err) < 0)
        return -1;
    return is_path(o->name) ? grow_xfs(v, o, &r.steps, err) : grow_group(v, o, &r.steps, err);
}

int vmundo_pool_remove(struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    struct pool_report r;
    pool_report_init(&r, v, name);
    if (pools_lock(v, "pool remove", &lock, err) < 0)
        return -1;
    return is_path(name) ? remove_xfs(v, name, &r.steps, err) : remove_group(v, name, &r.steps, err);
}

struct import_progress {
    const struct vmundo *v;
    const char *image;
};

static void tell_import(void *data, uint64_t done, uint64_t total)
{
    const struct import_progress *i = data;
    context_progress(i->v, i->image, "copy", done, total);
}

/* *ret: its path, without links. */
static int check_image(struct vmundo *v, const char *image, char **ret, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    AUTO_FREE char *who = NULL;
    AUTO_FREE char *path = NULL;
    struct stat st;
    if (pool_canonical(image, &path, err) < 0 || stack_resolve(path, &s, err) < 0)
        return -1;
    if (s.kind != STACK_FILE || stat(s.path, &st) < 0)
        return error_set(err, VMUNDO_USAGE, "%s is no image file", image);
    if (pools_check_domains(v, s.path, &st, err) < 0 || hyper_disk_in_use(s.path, &who, err) < 0 ||
        (!who && storage_in_use(&s, false, &who, err) < 0))
        return -1;
    if (who)
        return error_set(err, VMUNDO_REFUSED, "%s is in use by %s", s.path, who);
    *ret = TAKE(s.path);
    return 0;
}

int vmundo_pool_import(struct vmundo *v, const struct vmundo_import_options *o, struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    AUTO_XFS_POOL struct xfs_pool p = {0};
    AUTO_FREE char *image = NULL;
    char node[LOOP_NODE_SIZE];
    struct pool_report r;
    pool_report_init(&r, v, o->image);
    if (!is_path(o->pool))
        return error_set(err, VMUNDO_USAGE,
                         "images go into an XFS pool, which is given as a path, with a '/' in it: ./%.80s; a volume group "
                         "has volumes",
                         o->pool);
    if (pools_lock(v, "pool import", &lock, err) < 0 || find_mounted(v, o->pool, &p, node, err) < 0 ||
        check_image(v, o->image, &image, err) < 0)
        return -1;
    const char *name = o->name ? o->name : strrchr(image, '/') + 1;
    if (name[0] == '.' || strchr(name, '/') || !*name || strlen(name) > 200)
        return error_set(err, VMUNDO_USAGE, "'%.80s' cannot be the name of an image in a pool", name);
    struct import_progress data = {.v = v, .image = image};
    struct progress progress = {.fn = tell_import, .data = &data};
    AUTO_FREE char *path = str_printf(err, "%s/%s", p.dir, name);
    if (!path || pool_import(image, p.dir, name, o->move, &progress, &r.steps, err) < 0)
        return -1;
    if (o->ret_path)
        *o->ret_path = TAKE(path);
    return 0;
}

static int mount_one(const struct vmundo *v, const struct vmundo_pool_options *o, struct vmundo_error *err)
{
    AUTO_JSON json_t *pools = NULL;
    struct pool_entry e;
    struct pool_report r;
    pool_report_init(&r, v, o->name);
    if (is_path(o->name))
        return mount_xfs(v, o, &r.steps, err);
    if (check_group_name(o->name, err) < 0 || pools_read(v, &pools, err) < 0)
        return -1;
    if (!pools_find(pools, o->name, &e))
        return error_set(err, VMUNDO_NOT_FOUND, "there is no pool '%s' in a file that is known here: give the path of its "
                         "file; a volume group on disks needs no mounting", o->name);
    return mount_group(&e, &r.steps, err);
}

int vmundo_pool_mount(struct vmundo *v, const struct vmundo_pool_options *o, struct vmundo_error *err)
{
    AUTO_LOCK struct lock lock = LOCK_INIT;
    AUTO_JSON json_t *pools = NULL;
    size_t failed = 0;
    if (pools_lock(v, "pool mount", &lock, err) < 0 || pools_read(v, &pools, err) < 0)
        return -1;
    if (o->name)
        return mount_one(v, o, err);
    for (size_t i = 0; i < json_array_size(pools); i++) {
        struct pool_entry e;
        struct vmundo_error why = {0};
        pools_entry(json_array_get(pools, i), &e);
        if (e.name && mount_one(v, &(struct vmundo_pool_options){.name = e.name}, &why) < 0) {
            context_report(v, VMUNDO_EVENT_WARNING, e.name, why.msg);
            failed++;
        }
    }
    return failed ? error_set(err, VMUNDO_FAILED, "%zu of %zu pools could not be mounted", failed, json_array_size(pools)) : 0;
}
