/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hyper.h: the contract between the engine and hypervisor drivers.
 *
 * An *instance* is one start of a domain. It has a private directory (mode 0700) that core makes before start and
 * removes after destroy; whatever the driver must find again (sockets, the monitor's lock, how it ended) lies there,
 * and everything there is relative to that directory, so that a long path is no obstacle. An instance is found again by
 * another process from struct instance alone. The driver never believes a file over the real thing: a pid counts only
 * with its start time, a monitor lives if it holds its lock.
 *
 * Every callback is idempotent. start on a running instance, resume on one that runs, destroy of one that is gone: all
 * succeed. On failure start leaves no process behind.
 *
 * Only start needs the whole of instance.domain; for all other callbacks its name alone may be filled in.
 *
 * A guest that ends by itself leaves its branches as they are; state() then says how it ended.
 *
 * RAM. A guest's memory is anonymous, or a file that its caller has made (struct instance.ram). A checkpoint with RAM is
 * taken so: flush the RAM file while the guest runs (fdatasync(2), the caller's: it makes the pause short, nothing else
 * depends on it); hold; save; clone the RAM file and the disks; release. What save has written, and the clones, are one
 * instant. To go back: clone them once more, and start with .ram and .saved. Each start needs RAM of its own, except that
 * any number of instances with ram_private can share one file.
 */
#ifndef HYPER_HYPER_H
#define HYPER_HYPER_H

#include "config/domain.h"
#include "util/error.h"
#include "util/str.h"

#include <stdint.h>

enum hyper_flags {
    /* start can build an instance, paused, while another instance of the same domain still runs: rollback then builds
     * the new one before it gives up the old. Where that cannot be (no memory for both, a device that there is one of)
     * start succeeds and does nothing: state says off, and core starts it when the old one is gone. */
    HYPER_SIDE_BY_SIDE = 1,
    HYPER_NEVER_IMPLICIT = 2,
    HYPER_ISOLATES = 4, /* knows hyper_options.isolated */
    /* save wants a guest that runs, and pauses it at the instant that it saves: so disks are copied after it. */
    HYPER_SAVE_PAUSES = 1024,
};

struct hyper_options {
    const char *accel;       /* "kvm", "tcg", NULL: kvm where the CPU has it */
    const char *net;         /* "bridge", "user", "none", NULL: bridge */
    bool isolated;           /* the network cards are there, and what they send reaches nobody */
};

struct instance {
    const struct hyper_driver *driver;
    const struct domain *domain;     /* disks point at branches already */
    const char *config;              /* the rewritten xl.cfg */
    const char *dir;                 /* the private directory, absolute */
    const char *console_log;         /* appended to, absolute */
    struct hyper_options options;

    /* The guest's RAM: the absolute path of a file of exactly ram_size bytes, mode 0600, made by the caller, and if it
     * is to be cloned then on a file system that can. While the instance lives nobody else may use it (the driver has
     * it locked), but clone it while the guest is paused. What is in it when a guest boots does not matter to a guest,
     * but it can read it: give it an empty one. NULL: anonymous memory. */
    const char *ram;
    /* The file is only read: what the guest writes stays in anonymous memory. */
    bool ram_private;
    /* A file that save has made: start brings the guest back to that instant, paused, instead of booting it. The file
     * is only read. Unless it holds the RAM as well, `ram` must be RAM of that instant. Domain and options must give
     * the same machine as then; names, MAC addresses, and where disks and network come from, may differ. */
    const char *saved;
    /* Not NULL: start it as a reserve, beside another instance of the same domain whose directory has this name
     * ("run.3") and lies where this one's does. It has all it needs; without .saved it neither boots nor loads anything
     * before load is called. It tells the network nothing before it runs, and if that other one ends before, it ends,
     * too, and is then as if it had never been started. */
    const char *reserve_for;
    /* Whose saved state that is, or is to become (save): any text; one with another text is refused. May be NULL. */
    const char *saved_of;
};

enum hyper_power { HYPER_OFF, HYPER_RUNNING, HYPER_PAUSED };

struct hyper_status {
    enum hyper_power power;
    pid_t pid;               /* of the hypervisor's process for it, 0: none */
    int64_t since;           /* start, seconds since the epoch; 0: unknown */
    char *ended;             /* HYPER_OFF after it ran: "guest powered off", "guest crashed", "qemu-system-x86_64 was
                              * killed by signal 9"; HYPER_PAUSED: the guest has ended and on_…="preserve" keeps it;
                              * else NULL */
    bool no_room;            /* HYPER_PAUSED: there was no room for what it wrote; it tries again by itself */
    bool unwatched;          /* it runs but its monitor is gone, or with Xen, where none can follow it, its xl */
};

/* A disk that goes on in another image: path is an empty overlay of the image that the disk is on, in this format. */
struct hyper_move {
    const char *vdev, *path, *format;
};

/* Images below the one that a disk is on: what stands in chain[top], and in those between the two, is to be written
 * into chain[base]. */
struct hyper_merge {
    const char *vdev;
    char *const *chain;  /* paths of overlays, from the one that the disk is on downwards */
    size_t n, top, base; /* 0 < top < base < n */
    const char *below;   /* what the lowest of them rests on */
};

struct hyper_driver {
    const char *name;
    unsigned flags;

    /* Can this driver be used here (program, privileges)? VMUNDO_FAILED with what to install. Looks only. */
    int (*available)(struct vmundo_error *err);

    /* Can it run this domain? Errors say what it lacks. Adds to ignored, as "key: why", the configuration keys without
     * effect here. Looks only. */
    int (*check)(const struct domain *d, const struct hyper_options *o, struct strv *ignored,
                 struct vmundo_error *err);

    /* Start it, paused, ready to run: when this returns the hypervisor holds all it needs. With .saved, errors:
     * VMUNDO_CONFLICT it was saved on another machine, or by another version of the hypervisor, or needs a RAM file;
     * VMUNDO_FAILED it is damaged or cut short; the guest then does not run. */
    int (*start)(const struct instance *i, struct vmundo_error *err);

    /* Make of an instance that was started as a reserve one that start has brought back with .saved, and that ends with
     * no other. What is in its disks and in its RAM file may have been changed since, by whoever owns these files: it has
     * read nothing. Errors as start's; then it can only be destroyed. May be missing: there are no reserves. */
    int (*load)(const struct instance *i, struct vmundo_error *err);

    int (*resume)(const struct instance *i, struct vmundo_error *err);
    int (*pause)(const struct instance *i, struct vmundo_error *err);

    /* Stop it for good, so that it counts as paused, and give up whatever there is only one of, such as its name: then
     * another instance of the domain can run before this one is destroyed, which takes longer. One that is off is left
     * so. May be missing: it must be destroyed first. */
    int (*step_aside)(const struct instance *i, struct vmundo_error *err);

    /* Ask the guest to power off and wait. *ret_off false: the time is up and it still runs. */
    int (*shutdown)(const struct instance *i, unsigned timeout_ms, bool *ret_off, struct vmundo_error *err);

    /* End it now, and return when it no longer touches its disks and nothing of it is left but its directory. */
    int (*destroy)(const struct instance *i, struct vmundo_error *err);

    int (*state)(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err);

    /* As state, from what costs next to nothing and cannot hang, for lists: ≤ 0.2 ms. What a guest did in the last
     * milliseconds may not show yet. May be missing: then state is used. */
    int (*glance)(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err);

    /* Pause it for at most ms, with a watcher that outlives us: it runs again when it is released, when *ret_fd (the
     * caller's) is closed, when the time is up, and when we are killed. One that is paused already is left so by all of
     * these. saving: save follows at once; with HYPER_SAVE_PAUSES the guest is let run until then. May be
     * missing. Errors: VMUNDO_CONFLICT it is off, or held by somebody else; or it is paused, and cannot be saved so. */
    int (*hold)(const struct instance *i, unsigned ms, bool saving, int *ret_fd, struct vmundo_error *err);

    /* Let it run again; fd is closed in any case. *ret_held: it was paused all the time until now. */
    int (*release)(int fd, bool *ret_held, struct vmundo_error *err);

    /* Ask the agent in the guest to bring its file systems to rest, within wait_ms, and to keep them so for at most keep_ms,
     * with a watcher that outlives us: they are thawed when thaw is called, when *ret_fd (the caller's) is closed, when the
     * time is up, and when we are killed. May be missing. Errors: VMUNDO_CONFLICT it is off, or frozen by somebody else;
     * VMUNDO_FAILED no agent answers, or it cannot; what it may have frozen nevertheless will be thawed. */
    int (*freeze)(const struct instance *i, unsigned wait_ms, unsigned keep_ms, int *ret_fd, struct vmundo_error *err);

    /* Thaw them; fd is closed in any case. *ret_frozen: they were frozen all the time until now. Errors: VMUNDO_FAILED the
     * agent does not answer; it will be asked again and again. */
    int (*thaw)(int fd, bool *ret_frozen, struct vmundo_error *err);

    /* Of a guest that was brought back with its RAM and runs: have its agent, if there is one, thaw what was frozen at that
     * instant, and set its clock. Returns at once. May be missing. */
    int (*wake)(const struct instance *i, struct vmundo_error *err);

    /* Write the state of a paused or held guest to a new file: its devices, and its RAM too unless that is in a file that
     * is not private. path is absolute, nothing is there; the file gets mode 0600. It is the caller's to make it durable (fsync(2)), which a
     * guest need not wait for. The guest stays paused. On failure there is no file, and the guest can be let run and, after
     * that, be saved. If we are killed, the guest runs on like one that was held, and a file may be left that start
     * refuses. Saving again a guest that was paused all the time since gives the same contents. Errors: VMUNDO_CONFLICT
     * it runs, is off, or has ended; or was let run meanwhile. May be missing: then the driver has no checkpoints with
     * RAM. */
    int (*save)(const struct instance *i, const char *path, struct vmundo_error *err);

    /* Let the disks of a paused or held guest go on in other images, all of them at one instant, or none; what they are on
     * is complete, durable and no longer written to on return. Those that are on them already are left so. Errors:
     * VMUNDO_CONFLICT it runs or is off. May be missing: then a running domain's disks stay where they are. */
    int (*move)(const struct instance *i, const struct hyper_move *moves, size_t n, struct vmundo_error *err);

    /* Are they on them? A move that was cut off is either done or not begun by the time that this answers; of one that is
     * not done nothing is left. Errors: VMUNDO_CONFLICT the domain is off. */
    int (*moved)(const struct instance *i, const struct hyper_move *moves, size_t n, bool *ret,
                 struct vmundo_error *err);

    /* Have the hypervisor write images that a disk rests on into a lower one of them, while the guest runs, and then do
     * without them; in what rests on chain[top] its name stays as it is. Returns at once: *ret_done false, it is under
     * way, and the same call will tell when it is done; true: all of it is in chain[base], durable, and the hypervisor
     * reads nothing from the others any more. It is whole or not done, whoever is killed. One at a time. May be
     * missing, all three: then what a disk rests on stays as it is. Errors: VMUNDO_CONFLICT the domain is off. */
    int (*merge)(const struct instance *i, const struct hyper_merge *m, bool *ret_done, struct vmundo_error *err);
    /* Is it under way? Not when it is done, and not when it failed. */
    int (*merging)(const struct instance *i, bool *ret, struct vmundo_error *err);
    /* Give it up, if it is. On return nothing is written any more. */
    int (*unmerge)(const struct instance *i, struct vmundo_error *err);

    /* How large the RAM file of this domain is, in bytes. Missing: the driver cannot keep RAM in a file. */
    uint64_t (*ram_size)(const struct domain *d);

    /* Connect to the serial console. Errors: VMUNDO_CONFLICT another client has it, or the domain is off. */
    int (*console)(const struct instance *i, int *ret_fd, struct vmundo_error *err);

    /* A running instance without a monitor gets a new one. May be missing: then it stays without. */
    int (*rewatch)(const struct instance *i, struct vmundo_error *err);

    /* Is a domain of this name running that is not ours? *ret false where that cannot be. May be missing. */
    int (*name_taken)(const char *name, bool *ret, struct vmundo_error *err);

    /* Is the file or device at path a disk of a domain that runs, ours or not? *ret_who says of which ("disk xvda of the
     * running domain web"), the caller's; NULL: of none. Only has to see what the host's processes, mounts and loop
     * devices do not show. May be missing. */
    int (*disk_in_use)(const char *path, char **ret_who, struct vmundo_error *err);
};

/* Known drivers, NULL-terminated. */
const struct hyper_driver *const *hyper_drivers(void);
const struct hyper_driver *hyper_find(const char *name);

/* The driver asked for, or by default xen in a Xen control domain and qemu elsewhere. *ret_why says which, the
 * caller's. Errors: VMUNDO_USAGE no such driver, VMUNDO_FAILED not usable here. */
int hyper_choose(const char *name, const struct hyper_driver **ret, char **ret_why, struct vmundo_error *err);

/* Checked calls, as in storage.h. */
int hyper_check(const struct hyper_driver *h, const struct domain *d, const struct hyper_options *o,
                struct strv *ignored, struct vmundo_error *err);
int hyper_start(const struct instance *i, struct vmundo_error *err);
int hyper_load(const struct instance *i, struct vmundo_error *err);
int hyper_resume(const struct instance *i, struct vmundo_error *err);
int hyper_pause(const struct instance *i, struct vmundo_error *err);
int hyper_step_aside(const struct instance *i, struct vmundo_error *err);
int hyper_shutdown(const struct instance *i, unsigned timeout_ms, bool *ret_off, struct vmundo_error *err);
int hyper_destroy(const struct instance *i, struct vmundo_error *err);
int hyper_state(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err);
int hyper_glance(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err);
int hyper_hold(const struct instance *i, unsigned ms, bool saving, int *ret_fd, struct vmundo_error *err);
int hyper_release(const struct hyper_driver *h, int fd, bool *ret_held, struct vmundo_error *err);
int hyper_freeze(const struct instance *i, unsigned wait_ms, unsigned keep_ms, int *ret_fd, struct vmundo_error *err);
int hyper_thaw(const struct hyper_driver *h, int fd, bool *ret_frozen, struct vmundo_error *err);
int hyper_wake(const struct instance *i, struct vmundo_error *err);
int hyper_save(const struct instance *i, const char *path, struct vmundo_error *err);
int hyper_move(const struct instance *i, const struct hyper_move *moves, size_t n, struct vmundo_error *err);
int hyper_moved(const struct instance *i, const struct hyper_move *moves, size_t n, bool *ret, struct vmundo_error *err);
bool hyper_can_merge(const struct hyper_driver *h);
int hyper_merge(const struct instance *i, const struct hyper_merge *m, bool *ret_done, struct vmundo_error *err);
int hyper_merging(const struct instance *i, bool *ret, struct vmundo_error *err);
int hyper_unmerge(const struct instance *i, struct vmundo_error *err);
/* 0: the driver cannot keep RAM in a file. */
uint64_t hyper_ram_size(const struct hyper_driver *h, const struct domain *d);
int hyper_console(const struct instance *i, int *ret_fd, struct vmundo_error *err);
int hyper_rewatch(const struct instance *i, struct vmundo_error *err);
int hyper_name_taken(const struct hyper_driver *h, const char *name, bool *ret, struct vmundo_error *err);
/* Asks all drivers that can be used here. */
int hyper_disk_in_use(const char *path, char **ret_who, struct vmundo_error *err);
void hyper_status_clear(struct hyper_status *s);

#endif
