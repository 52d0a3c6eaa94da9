/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-run.c: which of Xen's domains an instance is, if any.
 *
 * A name proves nothing, and domids change with every reboot. What we go by is the UUID: chosen (or read from the
 * configuration) and noted before xl is spawned, so that even half a domain, left behind by an xl that was killed, can
 * be found; and xl's log in our directory, which says which domid it got, each time. A UUID of the configuration's own
 * may belong to somebody else's domain too: then the domid must be the one in the log, or the name the one that only
 * our new domains have. After a restart of the host nothing of that counts.
 */
#include "hyper/xen.h"

#include "hyper/rundir.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>

#define MAX_LOG ((size_t)4 << 20)
#define LOCK_TICK_MS 200

void xen_run_close(struct xen_run *n)
{
    cleanup_close(&n->dirfd);
    free(n->log_text);
    *n = (struct xen_run)XEN_RUN_INIT;
}

static int boot_id(char **ret, struct vmundo_error *err)
{
    return sys_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, ret, NULL, err);
}

int xen_run_write(int dirfd, const char *uuid, bool own_uuid, struct vmundo_error *err)
{
    AUTO_FREE char *boot = NULL;
    if (boot_id(&boot, err) < 0)
        return -1;
    AUTO_JSON json_t *o = json_pack("{s:s, s:b, s:s, s:I}", "uuid", uuid, "own", own_uuid, "boot", boot, "since",
                                    (json_int_t)(sys_realtime_ms() / 1000));
    return o ? rundir_put(dirfd, XEN_RUN, o, err) : error_nomem(err);
}

static int read_run(struct xen_run *n, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    AUTO_FREE char *uuid = NULL, *boot = NULL, *boot_now = NULL;
    struct vmundo_error e = {0};
    uint64_t since;
    if (rundir_get(n->dirfd, XEN_RUN, &o, &e) < 0)
        return e.errnum == ENOENT ? 0 : error_set(err, e.code, "%s", e.msg);
    if (json_get_string(o, "uuid", &uuid, err) < 0 || json_get_string(o, "boot", &boot, err) < 0 ||
        json_get_u64(o, "since", &since, err) < 0 || boot_id(&boot_now, err) < 0)
        return -1;
    snprintf(n->uuid, sizeof(n->uuid), "%s", uuid);
    n->own_uuid = json_opt_bool(o, "own", false);
    n->same_boot = str_eq(boot, boot_now);
    n->since = (int64_t)since;
    n->known = true;
    return xen_run_refresh(n, err);
}

int xen_run_refresh(struct xen_run *n, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    struct vmundo_error e = {0};
    /* The lock first: an xl that has ended has said all that it had to say. */
    if (rundir_is_locked(n->dirfd, XEN_XL_LOCK, &n->xl_lives, err) < 0)
        return -1;
    if (sys_read_file(n->dirfd, XEN_LOG, MAX_LOG, &text, NULL, &e) < 0 &&
        (e.errnum != ENOENT || str_copy("", &text, &e) < 0))
        return error_set(err, e.code, "%s", e.msg);
    xl_log_parse(text, &n->log);
    free(n->log_text);
    n->log_text = TAKE(text);
    return 0;
}

int xen_run_open(const struct instance *i, struct xen_run *ret, struct vmundo_error *err)
{
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    n.dirfd = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (n.dirfd < 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot open %s", i->dir);
    if (n.dirfd >= 0 && read_run(&n, err) < 0)
        return error_wrap(err, "%s", i->dir);
    *ret = n;
    n = (struct xen_run)XEN_RUN_INIT;
    return 0;
}

/* ---- waiting for xl -----------------------------------------------------------------------------------------------
 */

static bool is_busy(const struct xen_run *n)
{
    return n->xl_lives && (n->log.phase == XL_CREATING || n->log.phase == XL_RESTARTING);
}

/* A descriptor that is readable when something is written to xl's log, or xl closes it. */
static int watch_log(int dirfd)
{
    char path[64];
    AUTO_CLOSE int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, XEN_LOG);
    return fd < 0 || inotify_add_watch(fd, path, IN_MODIFY | IN_CLOSE_WRITE) < 0 ? -1 : TAKE_FD(fd);
}

int xen_run_settle(struct xen_run *n, unsigned timeout_ms, bool *ret_settled, struct vmundo_error *err)
{
    uint64_t deadline = sys_monotonic_ms() + timeout_ms;
    AUTO_CLOSE int watch = n->known ? watch_log(n->dirfd) : -1; /* before the first look: nothing is missed */
    for (;;) {
        char events[4096];
        if (n->known && xen_run_refresh(n, err) < 0)
            return -1;
        *ret_settled = !n->known || !is_busy(n);
        if (*ret_settled || sys_monotonic_ms() >= deadline)
            return 0;
        struct pollfd p = {.fd = watch, .events = POLLIN};
        poll(&p, 1, LOCK_TICK_MS);
        while (watch >= 0 && read(watch, events, sizeof(events)) > 0)
            ;
    }
}

int xen_run_pidfd(struct xen_run *n)
{
    struct sys_process p;
    AUTO_CLOSE int fd = -1;
    if (!n->xl_lives || n->log.pid <= 0 || sys_process_of(n->log.pid, &p) < 0)
        return -1;
    fd = sys_process_open(&p);
    /* Whoever has this pid now is xl if the lock is still held. */
    return fd >= 0 && xen_run_refresh(n, NULL) == 0 && n->xl_lives ? TAKE_FD(fd) : -1;
}

/* ---- Xen's domains ------------------------------------------------------------------------------------------------
 */

char *xen_new_name(const char *name, struct vmundo_error *err)
{
    return str_printf(err, "%s--new", name);
}

static bool has_name(struct xen *x, uint32_t domid, const char *name)
{
    AUTO_FREE char *is = libxl_domid_to_name(x->ctx, domid);
    return str_eq(is, name);
}

static bool is_ours(struct xen *x, const struct xen_run *n, const libxl_dominfo *info, const char *new_name)
{
    libxl_uuid uuid;
    if (libxl_uuid_from_string(&uuid, n->uuid) != 0 || libxl_uuid_compare(&uuid, &info->uuid) != 0 || info->domid == 0)
        return false;
    return n->own_uuid || info->domid == n->log.domid || has_name(x, info->domid, new_name);
}

int xen_find(struct xen *x, const struct xen_run *n, const char *name, struct xen_domain *ret, struct vmundo_error *err)
{
    struct xen_domain found = {0};
    int count = 0;
    AUTO_FREE char *new_name = xen_new_name(name, err);
    if (!new_name)
        return -1;
    if (!n->known || !n->same_boot) {
        *ret = found;
        return 0;
    }
    libxl_dominfo *all = libxl_list_domain(x->ctx, &count);
    if (!all)
        return xen_error(x, ERROR_FAIL, err, "cannot list Xen's domains");
    for (int k = 0; k < count; k++)
        if (!all[k].dying && is_ours(x, n, &all[k], new_name))
            found = (struct xen_domain){.domid = all[k].domid,
                                        .paused = all[k].paused,
                                        .shutdown = all[k].shutdown,
                                        .reason = (int)all[k].shutdown_reason};
    libxl_dominfo_list_free(all, count);
    *ret = found;
    return 0;
}
