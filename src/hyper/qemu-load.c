/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-load.c: what makes going back quick. A reserve is a QEMU that has been started with -incoming defer and waits:
 * loading a saved state into it takes a few milliseconds. And the instance that it replaces need not have ended before
 * the new one runs: it is only stopped.
 */
#include "hyper/qemu-saved.h"
#include "hyper/qemu.h"
#include "hyper/rundir.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#define TIMEOUT_MS 20000u
#define STOP_MS 50u

/* ---- loading --------------------------------------------------------------------------------------------------------
 */

int qemu_load(const struct instance *i, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1, fd = -1;
    AUTO_SAVED struct saved s = {0};
    AUTO_STRV struct strv machine = {0};
    AUTO_QMP struct qmp q = QMP_INIT;
    if (!i->saved)
        return error_set(err, VMUNDO_USAGE, "there is no saved state to load");
    if (qemu_open_live_dir(i, &dirfd, err) < 0 || saved_open(i->saved, &fd, &s, err) < 0 ||
        qemu_started_machine(dirfd, &machine, NULL, err) < 0 ||
        saved_check(&s, i->saved_of, &machine, i->ram, err) < 0 || qemu_qmp(dirfd, TIMEOUT_MS, &q, err) < 0)
        return -1;
    if (s.has_ram)
        return error_set(err, VMUNDO_CONFLICT, "the saved state holds its RAM, and a reserve has it in a file");
    return qmp_load(&q, fd, s.qemu, err);
}

/* ---- making way -----------------------------------------------------------------------------------------------------
 */

/* proc(5): the state comes after the name, which may hold anything. */
static bool is_stopped(pid_t pid)
{
    char path[64];
    AUTO_FREE char *text = NULL;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    const char *end = sys_read_file(AT_FDCWD, path, 4096, &text, NULL, NULL) == 0 ? strrchr(text, ')') : NULL;
    return !end || end[2] == 'T' || end[2] == 'Z' || end[2] == 'X';
}

/* As if the power went. QEMU's own "stop" would wait for what is under way to its disks. */
int qemu_step_aside(const struct instance *i, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1, pidfd = -1;
    AUTO_JSON json_t *o = NULL;
    struct sys_process p;
    if (qemu_open_live_dir(i, &dirfd, err) < 0 || rundir_get(dirfd, RUNDIR_QEMU_PID, &o, err) < 0 ||
        rundir_process_parse(o, &p, err) < 0)
        return -1;
    pidfd = sys_process_open(&p);
    if (pidfd < 0)
        return errno == ESRCH ? 0 : error_errno(err, errno, "cannot find QEMU");
    if (sys_pidfd_signal(pidfd, SIGSTOP) < 0)
        return errno == ESRCH ? 0 : error_errno(err, errno, "cannot stop QEMU");
    for (uint64_t deadline = sys_monotonic_ms() + STOP_MS; !is_stopped(p.pid); usleep(100))
        if (sys_monotonic_ms() > deadline)
            return error_set(err, VMUNDO_FAILED, "QEMU does not stop: it waits for its storage");
    return 0;
}
