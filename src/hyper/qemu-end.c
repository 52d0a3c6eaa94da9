/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-end.c: ending an instance, from whatever is left of it. First the monitor, so that it starts nothing any more;
 * its lock is then ours, so that nobody else does; then QEMU. Each is dead when its lock is free and its pidfd says so.
 */
#include "hyper/qemu.h"
#include "hyper/rundir.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#define PATIENCE_MS 10000u
#define NAMELESS_MS 1000u /* within which a monitor has said who it is */

/* ---- which process ---------------------------------------------------------------------------------------------- */

int qemu_pidfd(int dirfd)
{
    AUTO_JSON json_t *o = NULL;
    struct sys_process p;
    int fd = -1;
    if (rundir_get(dirfd, RUNDIR_QEMU_PID, &o, NULL) == 0 && rundir_process_parse(o, &p, NULL) == 0)
        fd = sys_process_open(&p);
    return fd >= 0 ? fd : rundir_lock_holder(dirfd, RUNDIR_QEMU_LOCK);
}

/* ---- ending them ------------------------------------------------------------------------------------------------ */

static int kill_and_wait(int pidfd, const char *what, struct vmundo_error *err)
{
    if (sys_pidfd_signal(pidfd, SIGKILL) < 0 && errno != ESRCH)
        return error_errno(err, errno, "cannot kill %s", what);
    if (sys_wait_readable(pidfd, (int)PATIENCE_MS) > 0)
        return 0;
    return error_set(err, VMUNDO_FAILED, "%s was killed and does not end: it waits for its storage", what);
}

/* Kill the monitor, if there is one, and take its lock. For a moment the lock may be held by one that has not yet
 * written who it is, or by its child that is just becoming QEMU; one that takes longer for that hangs. */
static int end_monitor(int dirfd, int *ret_lock, struct vmundo_error *err)
{
    uint64_t begun = sys_monotonic_ms(), deadline = begun + PATIENCE_MS;
    for (;;) {
        int lock = rundir_lock(dirfd, RUNDIR_MONITOR_LOCK);
        if (lock >= 0) {
            *ret_lock = lock;
            return 0;
        }
        if (errno != EAGAIN)
            return error_errno(err, errno, "cannot lock %s", RUNDIR_MONITOR_LOCK);
        struct monitor_record record;
        AUTO_CLOSE int pidfd = monitor_record_read(dirfd, &record, NULL) == 0 ? sys_process_open(&record.process) : -1;
        if (pidfd < 0 && sys_monotonic_ms() > begun + NAMELESS_MS)
            pidfd = rundir_lock_holder(dirfd, RUNDIR_MONITOR_LOCK);
        if (pidfd >= 0 && kill_and_wait(pidfd, "vmundo-monitor", err) < 0)
            return -1;
        if (sys_monotonic_ms() > deadline)
            return error_set(err, VMUNDO_FAILED, "%s is held by an unknown process", RUNDIR_MONITOR_LOCK);
        poll(NULL, 0, 1);
    }
}

static int end_qemu(int dirfd, struct vmundo_error *err)
{
    uint64_t deadline = sys_monotonic_ms() + PATIENCE_MS;
    for (;;) {
        bool runs;
        if (rundir_is_locked(dirfd, RUNDIR_QEMU_LOCK, &runs, err) < 0)
            return -1;
        if (!runs)
            return 0;
        AUTO_CLOSE int pidfd = qemu_pidfd(dirfd);
        if (pidfd >= 0 && kill_and_wait(pidfd, "QEMU", err) < 0)
            return -1;
        if (sys_monotonic_ms() > deadline)
            return error_set(err, VMUNDO_FAILED, "%s is held by an unknown process", RUNDIR_QEMU_LOCK);
        if (pidfd < 0)
            poll(NULL, 0, 1);
    }
}

int qemu_destroy(const struct instance *i, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1, lock = -1;
    struct vmundo_error e = {0};
    if (qemu_open_dir(i, &dirfd, &e) < 0)
        return e.errnum == ENOENT ? 0 : error_set(err, e.code, "%s", e.msg);
    if (end_monitor(dirfd, &lock, err) < 0 || end_qemu(dirfd, err) < 0)
        return error_wrap(err, "%s", i->dir);
    unlinkat(dirfd, RUNDIR_QEMU_PID, 0); /* it did not end unnoticed */
    return 0;
}
