/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmundo.h: the public interface of libvmundo, undo for virtual machines.
 *
 * A *domain* (a virtual machine, described by an xl.cfg file) runs on *branches*: writable copy-on-write children of
 * its disks' *origins*. Nothing but vmundo_keep() ever writes to an origin.
 *
 * Conventions
 *  - Fallible functions return 0, or -1 with *err filled in. err may be NULL. Outputs named ret_* are written on
 *    success only.
 *  - Strings in results belong to the result; each result has one function that frees it and accepts NULL.
 *  - Times are seconds since the epoch unless the name says otherwise; sizes are bytes.
 *  - A struct vmundo is used by one thread at a time. Different processes and different handles may work on different
 *    domains at the same moment; on one domain the second gets VMUNDO_CONFLICT.
 *  - The library never prints, never exits, installs no signal handlers and never runs a shell.
 */
#ifndef VMUNDO_H
#define VMUNDO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default) /* the library is built with all else hidden */

/* The kinds of failure. The values are also the exit codes of the vmundo command. */
enum vmundo_code {
    VMUNDO_OK = 0,
    VMUNDO_FAILED = 1,       /* failed; nothing was changed, or all was changed back */
    VMUNDO_USAGE = 2,        /* the caller's arguments make no sense */
    VMUNDO_NOT_FOUND = 3,    /* no such domain or checkpoint */
    VMUNDO_CONFLICT = 4,     /* in use, or not in a state that allows this */
    VMUNDO_REFUSED = 5,      /* possible, but refused for safety: space, origin changed, unprotected disk */
    VMUNDO_INTERRUPTED = 6,  /* stopped half way; vmundo_recover() will finish */
};

struct vmundo_error {
    enum vmundo_code code;
    int errnum;              /* errno of the failing call, or 0 */
    char msg[1024];          /* one line: what happened, to what, why, what to do next */
};

/* What a running operation tells its caller, through vmundo_options.report. */
enum vmundo_event_kind {
    VMUNDO_EVENT_ACTION,     /* one thing the operation does, or with dry_run would do */
    VMUNDO_EVENT_STAGE,      /* a named stage begins */
    VMUNDO_EVENT_PROGRESS,   /* done of total (bytes unless text says otherwise) */
    VMUNDO_EVENT_WARNING,    /* the user should know, the operation goes on */
};

struct vmundo_event {
    enum vmundo_event_kind kind;
    const char *domain;
    const char *stage;       /* "PREPARE", "SWITCH", … */
    const char *text;
    uint64_t done, total;
};

typedef void (*vmundo_report_fn)(void *data, const struct vmundo_event *event);

struct vmundo_options {
    const char *state_dir;   /* NULL: $VMUNDO_STATE_DIR, else /var/lib/vmundo, or for an ordinary user
                              * $XDG_STATE_HOME/vmundo or ~/.local/state/vmundo */
    bool dry_run;            /* changing calls plan, report their actions, and touch nothing */
    vmundo_report_fn report; /* may be NULL */
    void *report_data;
};

struct vmundo;

/* Open the state directory, creating it (mode 0700) unless dry_run. Does no recovery. Errors: VMUNDO_FAILED when it
 * cannot be created, belongs to somebody else, is damaged, or was written by a newer version. */
int vmundo_open(const struct vmundo_options *options, struct vmundo **ret, struct vmundo_error *err);
void vmundo_close(struct vmundo *v);
const char *vmundo_version(void);

/* A domain name (or label): [A-Za-z0-9][A-Za-z0-9._+-]{0,62}. */
#define VMUNDO_NAME_SIZE 64
bool vmundo_name_is_valid(const char *name);

/* The names of the drivers that users choose from, NULL-terminated. */
const char *const *vmundo_storage_names(void);
const char *const *vmundo_hypervisor_names(void);

/* Parse "512M", "6G", "1.5T", "4096" (bytes). Units are powers of 1024. Errors: VMUNDO_USAGE for anything else, a
 * negative or zero size, or one that does not fit in 63 bits. */
int vmundo_parse_size(const char *text, uint64_t *ret, struct vmundo_error *err);

/* ---- starting, going back, going on ---------------------------------------------------------------------------- */

struct vmundo_run_options {
    const char *config;          /* path of the xl.cfg file */
    const char *name;            /* NULL: the name in the configuration */
    const char *method;          /* storage driver for every disk that it can serve, NULL: chosen per disk */
    const char *hypervisor;      /* "qemu", "xen", "null", NULL: chosen */
    const char *accel;           /* "kvm", "tcg", NULL: kvm where the CPU really has it */
    const char *net;             /* "bridge" (default), "user", "none" */
    uint64_t size;               /* of each bounded branch, 0: the driver's default */
    unsigned extend_at, pause_at; /* of its guard, as in vmundo_guard_options */
    bool no_guard;               /* nobody is to watch whether the branches fill up */
    const char *const *unprotected; /* vdevs, NULL-terminated, to run on their origin; may be NULL */
    bool anonymous_ram;          /* keep the guest's RAM in memory, not in a file beside its first disk: checkpoints with
                                  * RAM then take longer */
    bool reserve; /* while it runs and has a checkpoint with RAM in a file, keep an instance in reserve, that
                   * has loaded the one that was made or gone back to last: back there it runs at once */
    bool allow_in_use;           /* branch images that something else is writing to (crash-consistent) */
    char *ret_name;              /* not NULL: VMUNDO_NAME_SIZE bytes, for the name that the domain got */
    int *ret_console;            /* not NULL: the serial console, connected before the guest runs; see vmundo_console */
};

/* Start the domain on fresh branches. Errors: VMUNDO_FAILED bad configuration or the hypervisor failed;
 * VMUNDO_CONFLICT the name is taken or an image is in use; VMUNDO_REFUSED a disk that nothing can protect, no space. */
int vmundo_run(struct vmundo *v, const struct vmundo_run_options *options, struct vmundo_error *err);

struct vmundo_rollback_options {
    const char *checkpoint;      /* label of where to go back to; NULL: the origin */
    int64_t to;                  /* not 0: the checkpoint made nearest to this time, milliseconds since the epoch;
                                  * VMUNDO_NOT_FOUND when that is before the first or after the last */
    bool undo;                   /* to what the last rollback left behind */
    bool boot;                   /* of a checkpoint with RAM, take the disks only, and boot from them */
    bool forget;                 /* do not keep what is left behind: the rollback cannot be undone */
    bool off;                    /* do not start it again */
    int64_t *ret_at;             /* not NULL: when the checkpoint that it went to was made, ms since the epoch; 0: the origin */
    bool *ret_running;           /* not NULL: does it run now? Not if the checkpoint was made of a domain that was off */
    int *ret_console;            /* as in vmundo_run_options */
};
/* Power off and start again from the origin or a checkpoint; of a checkpoint with RAM the guest runs on as of that
 * instant, and one that was made of a domain that was off stays off. The new branches stand (and where the hypervisor can,
 * the new guest is ready to run) before the old ones are given up. Where branches can be branched again, the old ones are
 * kept, for undo, until the next rollback. options may be NULL. Errors: VMUNDO_NOT_FOUND no such checkpoint;
 * VMUNDO_CONFLICT nothing to undo, or the checkpoint's RAM does not fit its disks or this machine. */
int vmundo_rollback(struct vmundo *v, const char *name, const struct vmundo_rollback_options *options,
                    struct vmundo_error *err);

/* Power off, throw the branches away, forget the domain. */
int vmundo_drop(struct vmundo *v, const char *name, struct vmundo_error *err);

struct vmundo_keep_options {
    bool force;                  /* although the origin has changed since the branch was made */
    bool stop;                   /* shut the domain down first, if it runs */
    unsigned timeout_ms;         /* for that; 0: 60 s */
    const char *to;              /* not NULL: leave the origins as they are; a new directory of this name gets images of
                                  * the disks, VDEV.img, and a configuration that has them, NAME.cfg */
};
/* Make the branches' changes permanent in the origins, and forget the domain. Errors: VMUNDO_CONFLICT it runs, or an
 * origin is in use; VMUNDO_REFUSED an origin has changed, or it is a fork and the origin is another domain's as well;
 * VMUNDO_INTERRUPTED merging stopped half way. */
int vmundo_keep(struct vmundo *v, const char *name, const struct vmundo_keep_options *options,
                struct vmundo_error *err);

struct vmundo_stop_options {
    bool force;                  /* destroy it when the time is up */
    unsigned timeout_ms;         /* 0 with force: destroy at once; 0 without: 60 s */
};
/* Shut down, keeping the branches. options may be NULL. Errors: VMUNDO_FAILED the guest did not power off in time. */
int vmundo_stop(struct vmundo *v, const char *name, const struct vmundo_stop_options *options,
                struct vmundo_error *err);
/* Start again on the same branches. ret_console as in vmundo_run_options, may be NULL. */
int vmundo_start(struct vmundo *v, const char *name, int *ret_console, struct vmundo_error *err);

/* Open the guest's serial console. *ret_fd is a connected stream socket that the caller closes. One client at a time:
 * VMUNDO_CONFLICT names the other. */
int vmundo_console(struct vmundo *v, const char *name, int *ret_fd, struct vmundo_error *err);

/* Finish or undo every interrupted operation, bring the state in line with what is really there, and if the database
 * is damaged put it aside and rebuild it from the marks. *ret_done counts what was finished, undone or mended;
 * 0 means there was nothing to do. */
int vmundo_recover(const struct vmundo_options *options, unsigned *ret_done, struct vmundo_error *err);

/* Make the domain's instance in reserve, if it is to have one and has none; remove it, if it is to have none. Other
 * commands have a process of its own do this. */
int vmundo_reserve(struct vmundo *v, const char *name, struct vmundo_error *err);

struct vmundo_guard_options {
    const char *name;            /* one domain, NULL: all of them */
    bool once;                   /* one round, then return */
    bool until_off;              /* return when the domain of that name is off or gone */
    unsigned extend_at, pause_at; /* per cent full, 0: as the domain was started with, or else 70 and 90 */
    unsigned interval_ms;        /* the longest time between two looks, 0: 1000 */
    int lock_fd;                 /* > 0: with until_off, guard.lock of the domain, locked already; it will be closed */
    const volatile int *stop;    /* not NULL: return soon after it becomes non-zero */
};
/* Watch the branches that can fill up under running domains: extend them in time, pause the domain before the end where
 * that is not possible, and let it run again when there is room. Each thing done is an action of the report and a line
 * of the log. Returns 0 when it ends as asked. A domain that another process guards already is left to it; named, it is
 * VMUNDO_CONFLICT. */
int vmundo_guard(struct vmundo *v, const struct vmundo_guard_options *options, struct vmundo_error *err);

/* ---- looking ---------------------------------------------------------------------------------------------------- */

/* One disk as planned, or as it is. Strings may be NULL where they do not apply. */
struct vmundo_disk {
    char *vdev;                  /* xvda, vdb, hdc … */
    char *origin;                /* the user's target, absolute */
    char *format;                /* of the origin: raw, qcow2, vhd … */
    bool readonly, cdrom;
    char *driver;                /* reflink, qcow2, lvm …; NULL: passed through */
    char *why;                   /* why this driver, or why it is passed through */
    char *cost;                  /* time and space */
    char *cannot;                /* what this driver cannot do, NULL: nothing worth saying */
    char *branch;                /* path of the branch that the domain runs on */
    char *consistency;           /* of the branch's base: "off" or "crash" */
    char *health;                /* "ok", or what is wrong with the branch */
    uint64_t size;               /* of the virtual disk, 0: unknown */
    uint64_t used;               /* bytes the branch has for itself */
    bool origin_changed;         /* since the branch was made: keep will refuse */
};

struct vmundo_domain {
    char *name;
    char *state;                 /* running, paused, off, crashed, starting, keeping, interrupted … */
    char *detail;                /* how it ended, or what is unfinished; may be NULL */
    char *hypervisor;
    char *config;                /* the user's file */
    char *parent;                /* of a fork: what it was forked from, "web@before"; else NULL */
    bool reserve;                /* an instance waits for a rollback */
    uint64_t generation;         /* 1 after run, one more with each rollback */
    int64_t created, started;    /* started: 0 when off */
    uint64_t used;               /* all branches together */
    int64_t pid;                 /* of the hypervisor process, 0: none */
    char *console_log;
    char *recording;             /* "every 1 s", and of vmundo_status() more than that; NULL: it is not recorded */
    double recording_paused;     /* share of the time for which that has paused the guest, 0 to 1; -1: unknown */
    struct vmundo_disk *disks;
    size_t n_disks;
};

struct vmundo_domains {
    struct vmundo_domain *domains;
    size_t n_domains;
};

/* Every domain, sorted by name (web-2 before web-10), from one indexed query; disks are not filled in. */
int vmundo_list(struct vmundo *v, struct vmundo_domains *ret, struct vmundo_error *err);
void vmundo_domains_free(struct vmundo_domains *domains);

/* One domain with its disks, looked at closely. */
int vmundo_status(struct vmundo *v, const char *name, struct vmundo_domain *ret, struct vmundo_error *err);
void vmundo_domain_free(struct vmundo_domain *domain);

struct vmundo_plan {
    char *name;
    char *hypervisor;
    char *hypervisor_why;
    struct vmundo_disk *disks;
    size_t n_disks;
    char **ignored;              /* configuration keys that have no effect, "key: why"; NULL-terminated */
    char **warnings;             /* NULL-terminated */
};
/* What vmundo_run would do; touches nothing. A disk that none can protect is an error as in vmundo_run. */
int vmundo_plan(struct vmundo *v, const struct vmundo_run_options *options, struct vmundo_plan *ret,
                struct vmundo_error *err);
void vmundo_plan_free(struct vmundo_plan *plan);

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

struct vmundo_checkpoint_options {
    const char *label;           /* NULL: "cp-N" */
    bool ram;                    /* with the guest's RAM: going back to it is going on from this instant */
    unsigned pause_ms;           /* how long the guest may be paused at most; 0: 10 s, or 10 min where all RAM is written */
    bool quiesce;                /* the guest's agent brings its file systems to rest */
    const char *before, *after;  /* commands to run on the host around it, each a program with arguments, split at blanks
                                  * (quotes as in a shell, but there is no shell); NULL: none. Not if it is off */
    unsigned hook_timeout_ms;    /* how long each of these may take; 0: 10 s */
    char *ret_label;             /* not NULL: VMUNDO_NAME_SIZE bytes, for the label that it got */
    unsigned *ret_paused_us;     /* not NULL: how long the guest was paused, microseconds; 0: it was off */
};
/* Give the domain's present state a name to go back to. A running guest is paused for some milliseconds and runs on; all
 * its disks are of one instant. Once `before` was begun `after` is run, and what was frozen is thawed, whatever happens to us.
 * Errors: VMUNDO_FAILED one of the commands failed, or no agent answers; VMUNDO_CONFLICT the label is taken, or it is off and RAM is asked for;
 * VMUNDO_REFUSED its storage cannot branch branches, or the hypervisor cannot save RAM or talk to an agent. options may be
 * NULL. */
int vmundo_checkpoint(struct vmundo *v, const char *name, const struct vmundo_checkpoint_options *options,
                      struct vmundo_error *err);

struct vmundo_fork_options {
    const char *checkpoint;      /* label of the checkpoint to fork; NULL: the domain as it is. If it runs, a checkpoint is
                                  * made (cp-N), with its RAM where the hypervisor can and unless boot; if it is off, its
                                  * branches */
    unsigned count;              /* how many, 0: one */
    const char *name;            /* of one fork; of several, and with NULL (the domain's own), they are NAME-1, NAME-2 … */
    bool boot;                   /* of a checkpoint with RAM, take the disks only, and boot from them */
    bool network;                /* connect their network cards as those of the domain are; else they lead nowhere */
};
struct vmundo_names {
    char **names;                /* NULL-terminated; NULL: none */
    size_t n;
};
/* Start copies of a domain: other domains with the same disks, and of a checkpoint with RAM as of the same instant, but
 * with names, UUIDs and hardware addresses of their own. They do not depend on it. vmundo_rollback() takes them back to
 * where they were forked; their first checkpoint, "fork", is that. All of them are started, or none. *ret (may be NULL)
 * are their names. Errors: VMUNDO_NOT_FOUND no such checkpoint; VMUNDO_CONFLICT a name is taken; VMUNDO_REFUSED its storage cannot branch
 * branches. options may be NULL. */
int vmundo_fork(struct vmundo *v, const char *name, const struct vmundo_fork_options *options, struct vmundo_names *ret,
                struct vmundo_error *err);
void vmundo_names_free(struct vmundo_names *names);
struct vmundo_record_options {
    uint64_t every_ms;           /* a checkpoint so often; here and below 0: as it is, or else 1 s, */
    uint64_t keep_ms;            /* kept so long at most; 10 min, */
    uint64_t space;              /* bytes that all of them may take up; as much as there is */
    bool no_ram, with_ram;       /* without the guest's RAM; or with it, where it is in a file, which is the default */
    bool once;                   /* make one now, in that way, and change nothing else */
    bool stop;                   /* record no longer; what is recorded stays */
};
/* Record the domain: as long as it runs, a process makes a checkpoint without a label of it again and again. It is one that
 * vmundo_rollback() finds by its time. All of the last minute are kept, one of every ten seconds before that, one of every
 * minute when they are older than ten. Where space gets scarce, the oldest go; when there are none left, recording is
 * paused. That a domain is recorded outlives a stop, a rollback and a reboot. options may be NULL. Errors: VMUNDO_REFUSED as
 * vmundo_checkpoint(), or space is bounded and cannot be measured; VMUNDO_CONFLICT stop: it is not recorded; once: it is off. */
int vmundo_record(struct vmundo *v, const char *name, const struct vmundo_record_options *options,
                  struct vmundo_error *err);

struct vmundo_recorder_options {
    const char *name;
    int lock_fd;                 /* > 0: recorder.lock of the domain, locked already; it will be closed */
    const volatile int *stop;    /* not NULL: return soon after it becomes non-zero */
};
/* What that process does, until the domain is off or not to be recorded any more. Errors: VMUNDO_CONFLICT another does. */
int vmundo_recorder(struct vmundo *v, const struct vmundo_recorder_options *options, struct vmundo_error *err);

/* A place in the tree of a domain. */
struct vmundo_node {
    uint64_t id, parent;         /* parent 0: the origin */
    char *label;                 /* NULL: recorded, or what the last rollback left behind */
    uint64_t recorded;           /* so many recorded ones, each the only child of the one before: this is the newest; 0:
                                  * it is not recorded */
    int64_t created, created_ms; /* the same, in seconds and in milliseconds */
    int64_t since;               /* when the oldest of them was made */
    char *state;                 /* "running", "off": what it goes back to */
    char *consistency;           /* "off", "paused" (one instant of all disks), "crash" (as after a power cut), "quiesced" */
    bool ram, pinned;
    bool current;                /* the domain's branches descend from it directly */
    uint64_t used;               /* bytes that it has for itself, or VMUNDO_UNKNOWN */
};
#define VMUNDO_UNKNOWN UINT64_MAX
struct vmundo_tree {
    struct vmundo_node *nodes;   /* by id */
    size_t n_nodes;
    uint64_t current;            /* id of the checkpoint that the branches descend from; 0: the origin */
};
struct vmundo_tree_options {
    bool all;                    /* every recorded checkpoint is a node of its own */
    bool sizes;                  /* fill in `used` even if there are more than 100 checkpoints, which takes long */
};
/* options may be NULL. */
int vmundo_tree(struct vmundo *v, const char *name, const struct vmundo_tree_options *options, struct vmundo_tree *ret,
                struct vmundo_error *err);
void vmundo_tree_free(struct vmundo_tree *t);

struct vmundo_prune_options {
    const char *const *labels;   /* NULL-terminated: these; or, with NULL, by the numbers below, any of which keeps one */
    bool recorded;               /* all that are recorded; goes with labels and numbers, and alone */
    unsigned last, hourly, daily, weekly; /* keep the newest, and the newest of each of the latest so many hours, … */
};
/* Remove checkpoints; those made of them stay and become children of their parents. Pinned ones stay. *ret_n is how many
 * went. Errors: VMUNDO_NOT_FOUND no such label; VMUNDO_REFUSED one that is named is pinned. */
int vmundo_prune(struct vmundo *v, const char *name, const struct vmundo_prune_options *options, unsigned *ret_n,
                 struct vmundo_error *err);

/* Protect a checkpoint from vmundo_prune(), and the domain from vmundo_drop() and vmundo_keep(); or no longer. */
int vmundo_pin(struct vmundo *v, const char *name, const char *label, bool pinned, struct vmundo_error *err);

/* A part of a disk, bytes. */
struct vmundo_range {
    uint64_t start, length;
};
struct vmundo_disk_diff {
    char *vdev;
    uint64_t bytes;              /* that differ, in all */
    struct vmundo_range *ranges; /* ascending, whole blocks of the storage */
    size_t n_ranges;
};
struct vmundo_diff {
    struct vmundo_disk_diff *disks; /* those that are on branches */
    size_t n_disks;
};
/* Which parts of the disks differ at checkpoint `to` (NULL: now) from what they are at checkpoint `from` (NULL: in the
 * origin), in bytes of the image file or device. Never less than what differs; no data is read. A running guest on overlays
 * is held for a moment. Errors: VMUNDO_NOT_FOUND
 * no such checkpoint; VMUNDO_REFUSED the storage cannot tell. */
int vmundo_diff(struct vmundo *v, const char *name, const char *from, const char *to, struct vmundo_diff *ret,
                struct vmundo_error *err);
void vmundo_diff_free(struct vmundo_diff *d);

/* One line of the log: an operation that was begun. */
struct vmundo_log_entry {
    uint64_t id;
    char *domain, *operation;    /* "web", "rollback" */
    char *outcome;               /* done, failed, undone, unfinished, recovered */
    char *message;               /* of the failure, or NULL */
    int64_t begun_ms, ended_ms;  /* milliseconds since the epoch; ended_ms 0: unfinished */
};
struct vmundo_log {
    struct vmundo_log_entry *entries;
    size_t n_entries;
};
/* The newest limit entries (0: all), oldest first; of one domain, or of all when name is NULL. */
int vmundo_log(struct vmundo *v, const char *name, unsigned limit, struct vmundo_log *ret, struct vmundo_error *err);
void vmundo_log_free(struct vmundo_log *log);

/* ---- pools and volumes: places for domains' disks ---------------------------------------------------------------- */

/* A pool is a volume group, called by its name, or an XFS file system whose files can share blocks, called by the path of
 * the file or device that it is in: a name with a '/' is a path. Every changing call reports its steps as actions; what
 * could cost data is VMUNDO_REFUSED: a device that is in use or not empty, a pool or volume with something in it. */
struct vmundo_pool_options {
    const char *name;
    const char *const *devices;  /* of a volume group, NULL-terminated; may be NULL */
    const char *file;            /* of a volume group, instead of devices: a sparse file of `size`, which is made */
    uint64_t size;               /* bytes of the file; for grow: what it is to have then; 0: not given */
    const char *mount;           /* of a path: where to mount it, NULL: PATH.d */
    bool thin;                   /* with a thin pool over most of the volume group */
    unsigned stripes;            /* of the thin pool, 0: none */
    bool wipe;                   /* although there is something on the devices */
    char **ret_fstab;            /* not NULL: of a path, where there is no systemd, the line for fstab(5) that mounts it at
                                  * boot, the caller's; NULL in it otherwise */
};
/* Errors: VMUNDO_USAGE; VMUNDO_CONFLICT the name is taken; VMUNDO_REFUSED. If it fails, there is no pool. */
int vmundo_pool_create(struct vmundo *v, const struct vmundo_pool_options *options, struct vmundo_error *err);
/* Add the devices, or make the file as large as `size`, or with neither take what the devices have grown by. */
int vmundo_pool_grow(struct vmundo *v, const struct vmundo_pool_options *options, struct vmundo_error *err);
/* Make a pool in a file usable again after a reboot: attach, activate, mount. Only name, mount and ret_fstab count; name
 * NULL: all that this state directory knows of. What is usable already is success. */
int vmundo_pool_mount(struct vmundo *v, const struct vmundo_pool_options *options, struct vmundo_error *err);
/* Errors: VMUNDO_NOT_FOUND; VMUNDO_CONFLICT it is not mounted, so that nobody knows what is in it; VMUNDO_REFUSED. */
int vmundo_pool_remove(struct vmundo *v, const char *name, struct vmundo_error *err);

struct vmundo_import_options {
    const char *pool;            /* path of an XFS pool, mounted */
    const char *image;           /* path of the file */
    const char *name;            /* that it gets in the pool; NULL: the one that it has */
    bool move;                   /* put a symbolic link to the copy in its place, which configurations can go on naming */
    char **ret_path;             /* not NULL: where it is then, the caller's */
};
/* Bring an image file into a pool, so that it has fast snapshots. Errors: VMUNDO_NOT_FOUND; VMUNDO_CONFLICT the name is taken,
 * or the image was changed meanwhile; VMUNDO_REFUSED somebody uses it, it is a disk of a domain, there is no room, or it would
 * not work from there. */
int vmundo_pool_import(struct vmundo *v, const struct vmundo_import_options *options, struct vmundo_error *err);

struct vmundo_pool {
    char *name;
    char *kind;                  /* lvm, lvm-thin, xfs */
    char *devices;               /* or the file */
    char *mount;                 /* NULL: not mounted, or of a kind that is not */
    char *health;                /* "ok", or what is wrong */
    uint64_t size, used;
    uint64_t volumes;
    double fill;                 /* used of size, 0 to 1; -1: unknown, here and below */
    double thin_data, thin_metadata; /* how full the thin pool is */
};
struct vmundo_pools {
    struct vmundo_pool *pools;
    size_t n_pools;
};
/* All volume groups that LVM shows, and the pools in files that this state directory knows of, sorted by name. */
int vmundo_pool_list(struct vmundo *v, struct vmundo_pools *ret, struct vmundo_error *err);
void vmundo_pools_free(struct vmundo_pools *pools);

struct vmundo_volume_options {
    const char *name;            /* POOL/NAME, the pool being a volume group */
    uint64_t size;               /* bytes, rounded up to the group's extents */
    bool thin;                   /* in the group's thin pool */
    unsigned stripes;            /* over so many of the group's disks, 0: not */
    const char *fs;              /* make this file system in it: "ext4", "xfs"; NULL: none */
};
int vmundo_volume_create(struct vmundo *v, const struct vmundo_volume_options *options, struct vmundo_error *err);
/* With the file system in it. Errors: VMUNDO_REFUSED no room; somebody but a mount uses it; it has branches; it cannot be
 * made that small. */
int vmundo_volume_resize(struct vmundo *v, const char *name, uint64_t size, struct vmundo_error *err);
/* Errors: VMUNDO_REFUSED it is in use, or has branches or snapshots. */
int vmundo_volume_remove(struct vmundo *v, const char *name, struct vmundo_error *err);

struct vmundo_volume {
    char *name;                  /* POOL/NAME */
    char *kind;                  /* classic, thin, snapshot, branch … */
    char *path;                  /* of the device */
    char *origin;                /* of a snapshot or branch, or NULL */
    char *domain;                /* that a branch belongs to, or NULL */
    char *mount;                 /* NULL: not mounted */
    char *health;
    uint64_t size;
    double fill;                 /* of a thin volume or snapshot, 0 to 1; -1: of another kind, or unknown */
};
struct vmundo_volumes {
    struct vmundo_volume *volumes;
    size_t n_volumes;
};
/* Of one pool, or of all when pool is NULL; sorted by name. */
int vmundo_volume_list(struct vmundo *v, const char *pool, struct vmundo_volumes *ret, struct vmundo_error *err);
void vmundo_volumes_free(struct vmundo_volumes *volumes);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
