/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rundir.h: what the qemu driver and its monitor share: the names in an instance's directory, the descriptors that are
 * handed down, and the locks that tell who lives.
 *
 *     vmundo ──spawns──▶ vmundo-monitor ──spawns──▶ qemu-system
 *
 * Who lives is never read from a file. The monitor and QEMU each hold a lock (an open file description lock, fcntl(2))
 * on a file here, from before they are spawned until the kernel has closed their last descriptor: the spawning process
 * takes the lock and hands the locked descriptor down. So there is no moment at which one of them lives unnoticed,
 * whoever is killed when, and after a restart of the host the locks are free. QEMU does not know that it holds one.
 * Pids, with their start times, only say whom to signal.
 */
#ifndef HYPER_RUNDIR_H
#define HYPER_RUNDIR_H

#include "util/json.h"
#include "util/sys.h"

#define RUNDIR_MONITOR_LOCK "monitor.lock" /* holds struct monitor_record */
#define RUNDIR_QEMU_LOCK "qemu.lock"
#define RUNDIR_QEMU_PID "qemu.pid"         /* pid, start, since (seconds since the epoch) */
#define RUNDIR_QEMU_LOG "qemu.log"         /* what QEMU and the monitor say on standard error */
#define RUNDIR_SPEC "spec.json"            /* what the monitor is to do, see monitor/monitor.h */
#define RUNDIR_END "end.json"              /* how it ended: "ended" */
#define RUNDIR_SAVED "saved.json"          /* which file holds the state that the guest was last saved in */
#define RUNDIR_QMP_SOCKET "qmp.sock"       /* QMP for commands; one client at a time, the others queue */
#define RUNDIR_EVENTS_SOCKET "events.sock" /* QMP for the monitor */
#define RUNDIR_CONSOLE_SOCKET "console.sock"
#define RUNDIR_AGENT_SOCKET "agent.sock"     /* the guest agent's serial port; for the monitor, see monitor/agent.c */
#define RUNDIR_CONTROL_SOCKET "control.sock" /* the monitor's own, see monitor/control.c */
#define RUNDIR_CONSOLE_TOKEN "console.token" /* makes the name of the claim to the console, see qemu.c */
#define RUNDIR_CONSOLE_USER "console.user"   /* pid, start of its last client */

#define RUNDIR_MAX_TAPS 8u
#define RUNDIR_MAX_DISKS 256u

/* Descriptors of the monitor, and of QEMU. The disk that is the n-th of the configuration is n further than the first; a drive that
 * is empty has none. */
enum {
    MONITOR_FD_LOCK = 3,
    MONITOR_FD_READY,
    MONITOR_FD_CONSOLE_LOG,
    MONITOR_FD_RAM,
    MONITOR_FD_SAVED,
    MONITOR_FD_TAP = 10,
    MONITOR_FD_DISK = MONITOR_FD_TAP + RUNDIR_MAX_TAPS,
    MONITOR_FD_END = MONITOR_FD_DISK + RUNDIR_MAX_DISKS
};
enum {
    QEMU_FD_QMP = 3,
    QEMU_FD_EVENTS,
    QEMU_FD_CONSOLE,
    QEMU_FD_CONSOLE_LOG,
    QEMU_FD_LOCK,
    QEMU_FD_RAM,
    QEMU_FD_AGENT,
    QEMU_FD_TAP = 10,
    QEMU_FD_DISK = QEMU_FD_TAP + RUNDIR_MAX_TAPS
};

/* The lock file dirfd/name, created and locked. Returns the descriptor, or -1 and errno: EAGAIN somebody holds it. */
int rundir_lock(int dirfd, const char *name);

/* Does somebody hold it? Leaves no trace. A file that is not there is not locked. */
int rundir_is_locked(int dirfd, const char *name, bool *ret, struct vmundo_error *err);

/* A pidfd, the caller's, of a process that holds it, when no file says which one that is; or -1 and errno: ESRCH nobody
 * does. */
int rundir_lock_holder(int dirfd, const char *name);

/* Replace a small file of the directory, atomically but not durably: after a power cut nothing here counts. */
int rundir_put(int dirfd, const char *name, const json_t *o, struct vmundo_error *err);
/* Read one. Errors: errnum ENOENT. */
int rundir_get(int dirfd, const char *name, json_t **ret, struct vmundo_error *err);

/* A process in a file: members "pid" and "start". */
json_t *rundir_process_json(const struct sys_process *p);
int rundir_process_parse(const json_t *o, struct sys_process *ret, struct vmundo_error *err);

/* What the monitor says of itself and of its guest, in the file that it holds locked. */
struct monitor_record {
    struct sys_process process;
    bool paused; /* the guest */
    bool held;   /* paused by the monitor, which owes it a "cont" */
    bool no_room; /* paused by QEMU, which could not write for want of room: the monitor lets it try again */
    bool crowded; /* paused by the monitor until there is more room where its RAM is */
    bool frozen; /* its file systems may be frozen by the monitor, which owes them a thaw */
};
int monitor_record_write(int fd, const struct monitor_record *r, struct vmundo_error *err);
int monitor_record_read(int dirfd, struct monitor_record *ret, struct vmundo_error *err);

#endif
