/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-disk.c: image files as disks, and whether one is a disk of some domain already.
 *
 * For an image file xl would run the hotplug script `block`, some forty processes under a lock that all domains share;
 * it finds a free loop device and takes it in two steps, so that somebody else may be faster, and leaves it behind when
 * it is killed. We make the loop device ourselves, in one call, with direct I/O (blkback writes past the page cache, so
 * what the guest has flushed is on the disk). Nobody needs to remove it: the kernel does (autoclear) when the last of
 * its users has gone, which are the domain's backend and, from before that until after, the xl process that made the
 * domain and makes it again when it reboots.
 */
#include "hyper/xen.h"

#include "util/path.h"
#include "util/sys.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define BUSY_TRIES 100

/* ---- loop devices -------------------------------------------------------------------------------------------------
 */

void xen_loops_free(struct xen_loop *loops, size_t n)
{
    for (size_t k = 0; loops && k < n; k++) {
        cleanup_close(&loops[k].fd);
        free(loops[k].path);
    }
    free(loops);
}

bool xen_disk_is_plain(const struct domain_disk *disk)
{
    return disk->format == FORMAT_RAW && disk->target && disk->target[0] == '/' && !disk->cdrom && !disk->script &&
           !disk->backend && (!disk->backendtype || str_eq(disk->backendtype, "phy"));
}

static bool wants_loop(const struct domain_disk *disk)
{
    struct stat st;
    return xen_disk_is_plain(disk) && stat(disk->target, &st) == 0 && S_ISREG(st.st_mode);
}

/* Between the question which one is free and the taking of it somebody else may take it: EBUSY. */
static int take_free_loop(int control, const struct loop_config *config, struct xen_loop *ret, struct vmundo_error *err)
{
    for (int n = 0; n < BUSY_TRIES; n++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            return error_errno(err, errno, "no free loop device");
        AUTO_FREE char *path = str_printf(err, "/dev/loop%d", number);
        if (!path)
            return -1;
        AUTO_CLOSE int fd = open(path, (config->info.lo_flags & LO_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, config) == 0) {
            *ret = (struct xen_loop){TAKE_FD(fd), TAKE(path)};
            return 0;
        }
        if (errno != EBUSY && errno != ENXIO && errno != ENOENT)
            return error_errno(err, errno, "cannot set up %s", path);
    }
    return error_errno(err, EBUSY, "no free loop device");
}

static int make_loop(int control, const struct domain_disk *disk, struct xen_loop *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int file = -1;
    if (path_open_file(disk->target, (disk->readonly ? O_RDONLY : O_RDWR) | O_NOCTTY, &file, err) < 0)
        return -1;
    struct loop_config config = {
        .fd = (__u32)file,
        .info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO | (disk->readonly ? LO_FLAGS_READ_ONLY : 0u),
    };
    snprintf((char *)config.info.lo_file_name, sizeof(config.info.lo_file_name), "%s", disk->target);
    return take_free_loop(control, &config, ret, err);
}

int xen_loops_make(const struct domain *d, struct xen_loop **ret, struct vmundo_error *err)
{
    AUTO_CLOSE int control = -1;
    struct xen_loop *loops = calloc(d->n_disks + 1, sizeof(*loops));
    if (!loops)
        return error_nomem(err);
    for (size_t k = 0; k < d->n_disks; k++)
        loops[k].fd = -1;
    for (size_t k = 0; k < d->n_disks; k++) {
        if (!wants_loop(&d->disks[k]))
            continue;
        if (control < 0 && (control = open("/dev/loop-control", O_RDWR | O_CLOEXEC)) < 0)
            error_errno(err, errno, "no loop devices here (modprobe loop)");
        if (control < 0 || make_loop(control, &d->disks[k], &loops[k], err) < 0) {
            xen_loops_free(loops, d->n_disks);
            return error_wrap(err, "%s", d->disks[k].vdev);
        }
    }
    *ret = loops;
    return 0;
}

/* ---- disks of running domains ---------------------------------------------------------------------------------------
 */

/* One device or file by two names? */
static bool is_same(const struct stat *st, const char *path)
{
    struct stat other;
    if (!path || path[0] != '/' || stat(path, &other) < 0)
        return false;
    if (S_ISBLK(st->st_mode) && S_ISBLK(other.st_mode))
        return st->st_rdev == other.st_rdev;
    return st->st_dev == other.st_dev && st->st_ino == other.st_ino;
}

/* NULL in *ret_who: not this domain's. */
static int look_at_domain(struct xen *x, uint32_t domid, const struct stat *st, char **ret_who,
                          struct vmundo_error *err)
{
    int count = 0;
    const char *vdev = NULL;
    libxl_device_disk *disks = libxl_device_disk_list(x->ctx, domid, &count);
    for (int k = 0; disks && k < count && !vdev; k++)
        if (disks[k].backend_domid == 0 && is_same(st, disks[k].pdev_path))
            vdev = disks[k].vdev;
    AUTO_FREE char *name = vdev ? libxl_domid_to_name(x->ctx, domid) : NULL;
    char *who = vdev ? str_printf(err, "disk %s of the running domain %s", vdev, name ? name : "(nameless)") : NULL;
    bool failed = vdev && !who;
    if (disks)
        libxl_device_disk_list_free(disks, count);
    *ret_who = who;
    return failed ? -1 : 0;
}

int xen_disk_in_use(const char *path, char **ret_who, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    struct stat st;
    int count = 0, r = 0;
    char *who = NULL;
    if (stat(path, &st) < 0)
        return error_errno(err, errno, "cannot look at %s", path);
    if (xen_open(&x, err) < 0)
        return -1;
    libxl_dominfo *all = libxl_list_domain(x.ctx, &count);
    if (!all)
        return xen_error(&x, ERROR_FAIL, err, "cannot list Xen's domains");
    for (int k = 0; k < count && !who && r == 0; k++)
        r = all[k].domid == 0 ? 0 : look_at_domain(&x, all[k].domid, &st, &who, err);
    libxl_dominfo_list_free(all, count);
    if (r == 0)
        *ret_who = who;
    return r;
}
