/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen.h: what the files of the xen driver share: xen.c (the driver: looking, asking the guest), xen-run.c (which domain
 * an instance is), xen-config.c (what xl reads), xen-start.c and xen-end.c, xen-disk.c (loop devices), xen-save.c, xen-console.c;
 * xen-log.c and xen-libxl.c have headers of their own. xen-block.c and xen-hold.c are programs.
 */
#ifndef HYPER_XEN_H
#define HYPER_XEN_H

#include "hyper/hyper.h"
#include "hyper/xen-libxl.h"
#include "hyper/xen-log.h"

/* Files in an instance's directory. */
#define XEN_RUN "xen.json"       /* uuid and boot; there from before xl is spawned until the domain is destroyed */
#define XEN_CONFIG "xl.cfg"      /* what xl gets */
#define XEN_LOG "xl.log"         /* what xl says */
#define XEN_XL_LOCK "xl.lock"    /* held by xl, as its standard input, which nothing that it leaves behind inherits */
#define XEN_BACK_LOCK "back.lock" /* held by xl and all its descendants: the QEMUs that serve disks, hotplug scripts */

/* xl's descriptors beyond the usual. */
enum { XL_FD_BACK_LOCK = 3, XL_FD_LOOP = 10 };

#define XEN_UUID_SIZE 37

/* ---- xen-run.c ---- */

/* An instance, as its directory tells. */
struct xen_run {
    int dirfd;               /* -1: there is no directory, */
    bool known;              /* or nothing was started in it */
    char uuid[XEN_UUID_SIZE];
    bool own_uuid;           /* made for this instance, not taken from the configuration: whoever has it is ours */
    bool same_boot;          /* the host has not been restarted since */
    int64_t since;
    bool xl_lives;
    struct xl_log log;
    char *log_text;          /* never NULL if known */
};
#define XEN_RUN_INIT {.dirfd = -1}
#define AUTO_XEN_RUN CLEANUP(xen_run_close)

int xen_run_open(const struct instance *i, struct xen_run *ret, struct vmundo_error *err);
void xen_run_close(struct xen_run *n);

/* Look at the log and the lock once more. */
int xen_run_refresh(struct xen_run *n, struct vmundo_error *err);

/* Note what is about to be started; durable enough to be found by another process. */
int xen_run_write(int dirfd, const char *uuid, bool own_uuid, struct vmundo_error *err);

/* While xl is making the domain (for the first time or anew), wait. *ret_settled false: the time is up. */
int xen_run_settle(struct xen_run *n, unsigned timeout_ms, bool *ret_settled, struct vmundo_error *err);

/* A pidfd of the xl that watches it; -1: there is none. */
int xen_run_pidfd(struct xen_run *n);

/* A domain, as Xen tells. */
struct xen_domain {
    uint32_t domid;          /* 0: there is none */
    bool paused, shutdown;
    int reason;              /* of the shutdown, as in struct xl_log */
};

/* The domain of this instance. name: the domain's final one. */
int xen_find(struct xen *x, const struct xen_run *n, const char *name, struct xen_domain *ret,
             struct vmundo_error *err);

/* The domain of an instance that runs or is paused, and *x opened for it, in any case the caller's to close. Errors:
 * VMUNDO_CONFLICT it is off. */
int xen_open_live(const struct instance *i, struct xen *x, struct xen_domain *ret, struct vmundo_error *err);

/* The name that a domain has until it is resumed for the first time. The caller frees it. */
char *xen_new_name(const char *name, struct vmundo_error *err);

/* A disk for the kernel's backend, if it is a block device or made one: raw, not a CD-ROM, and the user has not asked for
 * another way. */
bool xen_disk_is_plain(const struct domain_disk *disk);

/* ---- xen-disk.c ---- */

/* A loop device that is there as long as a copy of its descriptor, or the domain that uses it. */
struct xen_loop {
    int fd;                  /* -1: none */
    char *path;              /* as in "/dev/loop7", NULL: none */
};

/* One for each disk that is a raw image file and that xl would make one for; *ret has d->n_disks members. */
int xen_loops_make(const struct domain *d, struct xen_loop **ret, struct vmundo_error *err);
void xen_loops_free(struct xen_loop *loops, size_t n);

/* Is the file or device at path a disk of a running domain? *ret_who says of which, the caller's; NULL: of none. */
int xen_disk_in_use(const char *path, char **ret_who, struct vmundo_error *err);

/* ---- xen-config.c ---- */

struct xen_config {
    const struct domain *domain;
    const char *uuid;
    const struct xen_loop *loops; /* one for each disk */
    const char *script;      /* block script for disks that are block devices, NULL: Xen's own */
    bool no_net;
};

/* The text that xl gets, from the instance's configuration. *ret is the caller's. */
int xen_config_text(const struct xen_config *c, const char *old, char **ret, struct vmundo_error *err);

/* Can two domains of this configuration be at the same time, as far as it can be told from the configuration? */
bool xen_config_is_shareable(const struct domain *d);
/* The memory that it takes, or more. */
uint64_t xen_config_memory_kib(const struct domain *d);

/* ---- the callbacks that have a file of their own ---- */

int xen_start(const struct instance *i, struct vmundo_error *err);
int xen_destroy(const struct instance *i, struct vmundo_error *err);
int xen_hold(const struct instance *i, unsigned ms, bool saving, int *ret_fd, struct vmundo_error *err);
int xen_release(int fd, bool *ret_held, struct vmundo_error *err);
int xen_save(const struct instance *i, const char *path, struct vmundo_error *err);
/* Is what save has written there whole, and of that checkpoint (struct instance.saved_of)? */
int xen_saved_check(const char *path, const char *of, struct vmundo_error *err);
int xen_console(const struct instance *i, int *ret_fd, struct vmundo_error *err);

#endif
