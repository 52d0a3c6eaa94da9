/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-end.c: ending a domain so that nothing of it is left: no process, no xenstore key, no hold on its disks.
 *
 * libxl says that a domain is gone when its devices' backends have closed. Shortly after that the kernel lets go of the
 * block devices, QEMU processes that served disks end, and xl, which watched the domain, cleans up after it; the disks
 * can be unmounted when all of that is over, and so we wait for it.
 */
#include "hyper/xen.h"

#include "hyper/rundir.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#define SETTLE_TIMEOUT_MS 60000u /* xl is just making the domain */
#define KILLED_TIMEOUT_MS 10000u
#define RELEASE_TIMEOUT_MS 20000u
#define BACKENDS "/sys/devices/xen-backend"

/* Has the kernel a block device for that domain? They are called vbd-DOMID-NUMBER. */
static bool has_vbd(uint32_t domid)
{
    char prefix[32];
    AUTO_DIR DIR *d = opendir(BACKENDS);
    bool found = false;
    snprintf(prefix, sizeof(prefix), "vbd-%u-", domid);
    for (const struct dirent *e; d && !found && (e = readdir(d));)
        found = str_has_prefix(e->d_name, prefix);
    return found;
}

static int is_released(const struct xen_run *n, uint32_t domid, bool *ret, struct vmundo_error *err)
{
    bool xl, back;
    if (rundir_is_locked(n->dirfd, XEN_XL_LOCK, &xl, err) < 0 ||
        rundir_is_locked(n->dirfd, XEN_BACK_LOCK, &back, err) < 0)
        return -1;
    *ret = !xl && !back && !(domid && has_vbd(domid));
    return 0;
}

static int await_release(const struct xen_run *n, uint32_t domid, struct vmundo_error *err)
{
    uint64_t deadline = sys_monotonic_ms() + RELEASE_TIMEOUT_MS;
    for (;;) {
        bool released;
        if (is_released(n, domid, &released, err) < 0)
            return -1;
        if (released)
            return 0;
        if (sys_monotonic_ms() > deadline)
            return error_set(err, VMUNDO_FAILED,
                             "the domain is destroyed, but its disks are still held after %u s, by %s",
                             RELEASE_TIMEOUT_MS / 1000,
                             domid && has_vbd(domid) ? "Xen's block backend in the kernel" : "xl or a device model");
        poll(NULL, 0, 2);
    }
}

/* What it makes is not wanted any more, and may be half a domain: that can be destroyed. */
static int end_xl(struct xen_run *n, const struct instance *i, struct vmundo_error *err)
{
    for (int tries = 0; n->xl_lives && tries < 4; tries++) {
        AUTO_CLOSE int pidfd = rundir_lock_holder(n->dirfd, XEN_XL_LOCK);
        if (pidfd >= 0 && sys_pidfd_signal(pidfd, SIGKILL) == 0)
            sys_wait_readable(pidfd, (int)KILLED_TIMEOUT_MS);
        if (xen_run_refresh(n, err) < 0)
            return -1;
    }
    return !n->xl_lives ? 0
                        : error_set(err, VMUNDO_FAILED,
                                    "xl is still creating the domain, and does not end when it is killed; "
                                    "what it waits for is in %s/%s",
                                    i->dir, XEN_LOG);
}

int xen_destroy(const struct instance *i, struct vmundo_error *err)
{
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    AUTO_XEN struct xen x = XEN_INIT;
    struct xen_domain is = {0};
    bool settled;
    if (xen_run_open(i, &n, err) < 0)
        return -1;
    if (!n.known)
        return 0;
    if (xen_run_settle(&n, SETTLE_TIMEOUT_MS, &settled, err) < 0)
        return -1;
    if (!settled && end_xl(&n, i, err) < 0)
        return -1;
    if (n.same_boot && (xen_open(&x, err) < 0 || xen_find(&x, &n, i->domain->name, &is, err) < 0))
        return -1;
    AUTO_CLOSE int xl = xen_run_pidfd(&n);
    if (xl >= 0)
        sys_pidfd_signal(xl, SIGCONT); /* stopped by a holder that was killed */
    if (is.domid && xen_destroy_domain(&x, is.domid, err) < 0)
        return -1;
    /* One that was gone already may have been so for only a moment. */
    if (await_release(&n, is.domid || !n.same_boot ? is.domid : n.log.domid, err) < 0)
        return error_wrap(err, "%s", i->domain->name);
    /* Now it has not ended by itself: nothing is known of it any more. */
    if (unlinkat(n.dirfd, XEN_RUN, 0) < 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove %s/%s", i->dir, XEN_RUN);
    return 0;
}
