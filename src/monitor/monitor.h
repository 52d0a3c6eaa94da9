/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * monitor.h: the process that stays with each running domain when the command has returned.
 *
 *     launch.c    starts QEMU, or finds one whose monitor has died
 *     guest.c     QEMU's events, what the configuration wants done about them, how it all ended
 *     control.c   other commands' requests: hold the guest still for a moment
 *     agent.c     the agent in the guest: freezing its file systems, and letting them go
 *     room.c      pauses the guest before the file system of its RAM is full
 *     log.c       keeps logs from filling the disk
 *     monitor.c   main, and the loop that waits for all of these
 *
 * It is started by the qemu driver (hyper/qemu-start.c) with the instance's directory as working directory and the
 * descriptors of hyper/rundir.h; standard error is qemu.log. Its orders are in spec.json:
 *     argv         of QEMU
 *     taps         how many descriptors there are from MONITOR_FD_TAP on, for QEMU
 *     images       for each disk that has one, by its name, the image, for `move`; as many descriptors from
 *                  MONITOR_FD_DISK on
 *     timeout_ms   for QEMU to come up, and to load what was saved
 *     ram          "anonymous"; "shared", "private": from the file MONITOR_FD_RAM
 *     saved        not there: the guest boots; else the version of the QEMU that has saved it to MONITOR_FD_SAVED, which
 *                  stands where its stream begins
 *     saved_ram    is RAM in that stream?
 *     reserve_for  not there; or the name of another instance's directory beside ours: QEMU waits, and ends when that
 *                  instance has ended, unless its guest has run by then
 *     on_poweroff, on_reboot, on_crash    "destroy", "restart", "preserve"
 * On MONITOR_FD_READY it reports {"ok": true}, or why not. There is one thread and one loop; no call waits longer than
 * QMP_TIMEOUT_MS.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "hyper/qmp.h"
#include "hyper/rundir.h"

#include <poll.h>

#define QMP_TIMEOUT_MS 5000u
#define MAX_CLIENTS 8

enum action { ACTION_DESTROY, ACTION_RESTART, ACTION_PRESERVE };

/* What a guest can do that the configuration has a word about. */
enum cause { CAUSE_NONE, CAUSE_POWEROFF, CAUSE_REBOOT, CAUSE_CRASH, N_CAUSES };

struct client {
    int fd; /* -1: free */
    char line[256];
    size_t len;
    bool stopping; /* the guest is being shut down for good */
    bool lost;     /* it ran while this client held it */
};

enum agent_want { AGENT_NOTHING, AGENT_FREEZE, AGENT_THAW, AGENT_TIME };

/* What is asked of the agent in the guest at present. */
struct agent {
    int fd;               /* -1: not connected */
    enum agent_want want; /* AGENT_NOTHING: no answer is waited for */
    struct client *asker; /* who is to hear of it, may be NULL */
    uint64_t deadline;
    uint64_t keep_ms;     /* how long file systems that get frozen may stay so */
    bool delimited;       /* what an earlier client left was skipped */
    bool synced;
    bool sent;            /* the command is on its way, not only the synchronisation */
    json_int_t id;
    char buf[2048];
    size_t len;
};

/* Free space where the guest's RAM file is. */
struct room {
    int fd;             /* of the file; -1: the RAM is no file, or a private mapping */
    bool known;         /* what is left */
    uint64_t left, due; /* bytes; when to look again */
    double rate;        /* bytes per millisecond that go */
    uint64_t rated, rated_left;
};

struct monitor {
    json_t *spec;
    const char *program; /* QEMU's name without the directory, in spec */
    int dir;             /* the instance's */
    struct sys_process qemu;
    bool was_reset; /* the guest, and the agent in it with it */
    bool is_child;  /* QEMU, and nobody has waited for it yet */
    int pidfd;      /* of QEMU, -1: there is none */
    struct qmp qmp; /* fd -1: QEMU has closed it */
    struct monitor_record record;
    bool record_changed;

    enum action actions[N_CAUSES];
    enum cause cause; /* has happened and waits for decision */
    char *ended;      /* how, as far as is known */

    int listener; /* of control.sock */
    struct client clients[MAX_CLIENTS];
    struct client *holder; /* NULL: nobody holds the guest */
    uint64_t hold_deadline;
    bool continuing;   /* the RESUME event to come is our own doing */
    uint64_t room_due; /* when to let a guest that had no room for its writes try again, 0: there is none such */
    uint64_t cont_due; /* when to try again to let the guest run, 0: nothing owed */
    const char *reserve_for; /* in spec; NULL: we are no reserve, or none any more, since the guest has run */
    bool announce;           /* the guest runs where it did not before: the network must be told */
    uint64_t reserve_due;    /* when to look at it again */
    uint64_t logs_due;

    struct room room;
    struct agent agent;
    struct client *freezer; /* NULL: nobody keeps the guest's file systems frozen */
    json_int_t frozen_n;    /* how many there are */
    uint64_t thaw_deadline; /* for freezer */
    uint64_t thaw_due;      /* when to try again, 0: nothing owed */
    bool waking;            /* the guest was brought back: after thawing, set its clock */
    uint64_t wake_until;
};

/* Start QEMU and wait until it is up, paused. On failure nothing is left. */
int launch_start(struct monitor *m, struct vmundo_error *err);
/* Take over a QEMU that runs. */
int launch_attach(struct monitor *m, struct vmundo_error *err);

/* What QEMU has said meanwhile. */
void guest_take_events(struct monitor *m);
void guest_event(void *data, const char *event, const json_t *arguments);
/* Do what the configuration wants about what has happened. */
void guest_decide(struct monitor *m);
/* QEMU is gone: find out how, and in *ret (the caller's) describe it. */
int guest_ended(struct monitor *m, char **ret, struct vmundo_error *err);

int control_open(struct monitor *m, struct vmundo_error *err);
/* Fill in what to wait for; returns how many (at most 1 + MAX_CLIENTS). */
size_t control_poll(const struct monitor *m, struct pollfd *p);
void control_serve(struct monitor *m, const struct pollfd *p, size_t n);
/* Let go what has been held for too long. */
void control_tick(struct monitor *m, uint64_t now);
/* The guest does not stay paused until its holder releases it. */
void control_lose_holder(struct monitor *m);
/* Let the guest run; on failure again and again. */
void control_continue(struct monitor *m);
bool control_is_stopping(const struct monitor *m);
/* Answer a request late; o is taken. */
void control_reply(struct monitor *m, struct client *c, json_t *o);

/* Freeze the guest's file systems within wait_ms, and thaw them after keep_ms if c has not asked for it by then, or is
 * gone. c is answered later: {"ok": true, "frozen": how many}. Errors: VMUNDO_CONFLICT somebody does so already. */
int agent_freeze(struct monitor *m, struct client *c, uint64_t wait_ms, uint64_t keep_ms, struct vmundo_error *err);
/* Thaw them. *ret NULL: c is answered later: {"ok": true, "frozen": were they frozen until now}. */
int agent_thaw(struct monitor *m, struct client *c, json_t **ret);
/* The guest was brought back with its RAM, in which its file systems may be frozen, and its clock is behind. */
void agent_wake(struct monitor *m);
/* c is gone. */
void agent_forget(struct monitor *m, const struct client *c);
void agent_guest_was_reset(struct monitor *m);
void agent_serve(struct monitor *m);
void agent_tick(struct monitor *m, uint64_t now);
/* When agent_tick() is to be called, UINT64_MAX: not at all. */
uint64_t agent_due(const struct monitor *m);

/* QEMU has stopped the guest since there was no room for what it wrote: let it try again, now and then. */
void guest_try_again(struct monitor *m, uint64_t now);
/* Watch the room where the RAM file is, which that process has open as fd. */
void room_open(struct monitor *m, pid_t pid, int fd);
/* Pause the guest when it is time, and let it go on. */
void room_tick(struct monitor *m, uint64_t now);
/* When room_tick() is to be called, UINT64_MAX: not at all. */
uint64_t room_due(const struct monitor *m);
/* Is there too little for a guest to run? */
bool room_is_scarce(const struct monitor *m);
/* A reserve whose domain is off ends. */
void guest_check_reserve(struct monitor *m, uint64_t now);
/* Tell the network where the guest is now. */
void guest_announce(struct monitor *m);

/* Write m->record to the lock's file. */
void record_write(struct monitor *m);

/* A line in qemu.log. */
void log_say(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The last line of qemu.log, escaped and without time stamp and program name; the caller's. NULL: there is none. */
char *log_last_line(const struct monitor *m);
/* Cut what has grown too long. */
void log_trim(void);

#endif
