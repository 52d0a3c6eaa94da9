/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-start.c: starting. `xl create -F -p`, or `xl restore` for a saved guest, makes the domain, paused, and stays in the foreground (ours: a session of
 * its own, its output in our directory) to do what on_poweroff, on_reboot and on_crash say, and so becomes the monitor
 * of the domain. We wait until it says that the domain is complete.
 *
 * xl gets the instance's configuration and, at its end, what differs: image files replaced by loop devices (xen-disk.c),
 * for block devices our own block script (xen-block.c), paths that xl would resolve against its working directory made
 * absolute, the UUID noted beforehand, and another name: the domain is made as NAME--new and gets its real name when it
 * is resumed. So it can be made while an older instance of the same domain still runs. Where two of it cannot be at once (no memory, or the configuration names something that
 * there is only one of), start leaves it at that, successfully: the engine starts it again when the old one is gone.
 */
#include "hyper/xen.h"

#include "hyper/rundir.h"

#include "util/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <sys/wait.h>

#define START_TIMEOUT_MS 300000u /* a boot loader may ask its user, a device model may be slow; xl has its own limits  \
                                  */
#define END_TIMEOUT_MS 60000u
#define MAX_CONFIG ((size_t)2 << 20)

struct launch {
    const struct instance *i;
    int dirfd, lock, back;
    char uuid[XEN_UUID_SIZE];
    bool own_uuid;
    struct xen_loop *loops;
};
#define LAUNCH_INIT                                                                                                    \
    {                                                                                                                  \
        .dirfd = -1, .lock = -1, .back = -1                                                                            \
    }

static void launch_close(struct launch *l)
{
    cleanup_close(&l->lock);
    cleanup_close(&l->back);
    cleanup_close(&l->dirfd);
    xen_loops_free(l->loops, l->i->domain->n_disks);
}
#define AUTO_LAUNCH CLEANUP(launch_close)

/* ---- may it be made now? ------------------------------------------------------------------------------------------
 */

/* Is domid that of another instance of our domain? They have their directories beside ours. */
static bool is_sibling(struct xen *x, const struct instance *i, uint32_t domid)
{
    AUTO_FREE char *copy = strdup(i->dir);
    const char *parent = copy ? dirname(copy) : "";
    AUTO_DIR DIR *d = opendir(parent);
    bool found = false;
    for (const struct dirent *e; d && !found && (e = readdir(d));) {
        AUTO_FREE char *path = e->d_name[0] == '.' ? NULL : str_printf(NULL, "%s/%s", parent, e->d_name);
        AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
        struct instance other = *i;
        struct xen_domain is = {0};
        other.dir = path;
        found = path && xen_run_open(&other, &n, NULL) == 0 && n.known &&
                xen_find(x, &n, i->domain->name, &is, NULL) == 0 && is.domid == domid;
    }
    return found;
}

/* *ret false: not while the older instance runs. */
static int may_start(const struct instance *i, bool *ret, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    uint32_t domid;
    if (xen_open(&x, err) < 0)
        return -1;
    *ret = true;
    if (libxl_name_to_domid(x.ctx, i->domain->name, &domid) != 0)
        return 0;
    if (!is_sibling(&x, i, domid))
        return error_set(err, VMUNDO_CONFLICT,
                         "Xen runs a domain '%s' already, not started by vmundo: shut it down first", i->domain->name);
    uint64_t free_kib;
    *ret = xen_config_is_shareable(i->domain) && libxl_get_free_memory(x.ctx, &free_kib) == 0 &&
           free_kib >= xen_config_memory_kib(i->domain);
    return 0;
}

/* ---- its configuration -------------------------------------------------------------------------------------------- */

/* The block script for disks that are block devices; NULL: it is not installed, and Xen's own has to do. */
static char *block_script(void)
{
    char *path = process_libexec("vmundo-xen-block", NULL);
    if (path && access(path, X_OK) == 0 && !strpbrk(path, ", ="))
        return path;
    free(path);
    return NULL;
}

static int write_config(const struct launch *l, struct vmundo_error *err)
{
    AUTO_FREE char *old = NULL, *text = NULL;
    AUTO_FREE char *script = block_script();
    struct xen_config c = {.domain = l->i->domain,
                           .uuid = l->uuid,
                           .loops = l->loops,
                           .script = script,
                           .no_net = str_eq(l->i->options.net, "none")};
    if (sys_read_file(AT_FDCWD, l->i->config, MAX_CONFIG, &old, NULL, err) < 0 ||
        xen_config_text(&c, old, &text, err) < 0)
        return -1;
    return sys_put_file(l->dirfd, XEN_CONFIG, text, strlen(text), err);
}

/* ---- xl -------------------------------------------------------------------------------------------------------------
 */

static int spawn_xl(const struct launch *l, int log, pid_t *ret_pid, struct vmundo_error *err)
{
    size_t n_disks = l->i->domain->n_disks;
    AUTO_FREE struct process_fd *fds = calloc(n_disks + 1, sizeof(*fds));
    AUTO_FREE char *config = str_printf(err, "%s/%s", l->i->dir, XEN_CONFIG);
    if (!fds || !config)
        return fds ? -1 : error_nomem(err);
    struct process_options o = PROCESS_OPTIONS_INIT;
    o.in = l->lock;
    o.out = log;
    o.errout = log;
    o.fds = fds;
    o.new_session = true;
    fds[o.n_fds++] = (struct process_fd){l->back, XL_FD_BACK_LOCK};
    for (size_t k = 0; k < n_disks; k++)
        if (l->loops[k].fd >= 0)
            fds[o.n_fds++] = (struct process_fd){l->loops[k].fd, XL_FD_LOOP + (int)k};
    const char *const create[] = {"xl", "create", "-F", "-q", "-p", config, NULL};
    const char *const restore[] = {"xl", "restore", "-F", "-p", config, l->i->saved, NULL};
    return process_spawn(l->i->saved ? restore : create, &o, ret_pid, err);
}

/* What xl said, or its exit status. The instance is known and has no domain. */
static int creation_failed(const struct xen_run *n, int status, struct vmundo_error *err)
{
    AUTO_FREE char *errors = xl_log_errors(n->log_text, err);
    if (!errors)
        return -1;
    if (errors[0])
        return error_set(err, VMUNDO_FAILED, "xl create: %s", errors);
    if (WIFSIGNALED(status))
        return error_set(err, VMUNDO_FAILED, "xl create was killed by signal %d", WTERMSIG(status));
    return error_set(err, VMUNDO_FAILED, "xl create failed with status %d and does not say why", WEXITSTATUS(status));
}

static int reap(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static int await_domain(const struct instance *i, pid_t pid, struct vmundo_error *err)
{
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    bool settled;
    if (xen_run_open(i, &n, err) < 0 || xen_run_settle(&n, START_TIMEOUT_MS, &settled, err) < 0)
        return -1;
    if (n.log.phase == XL_WATCHING && n.xl_lives)
        return 0;
    if (settled)
        return creation_failed(&n, reap(pid), err);
    kill(pid, SIGTERM); /* our child, not yet waited for: this pid is it */
    if (xen_run_settle(&n, END_TIMEOUT_MS, &settled, err) < 0 || !settled)
        return error_set(err, VMUNDO_FAILED, "xl create does not end; its pid is %d", pid);
    reap(pid);
    return error_set(err, VMUNDO_FAILED, "xl create did not get ready within %u s", START_TIMEOUT_MS / 1000);
}

/* ---- starting -------------------------------------------------------------------------------------------------------
 */

static int choose_uuid(struct launch *l, struct vmundo_error *err)
{
    libxl_uuid uuid;
    l->own_uuid = !l->i->domain->uuid;
    if (l->own_uuid)
        libxl_uuid_generate(&uuid);
    else if (libxl_uuid_from_string(&uuid, l->i->domain->uuid) != 0)
        return error_set(err, VMUNDO_FAILED, "bad uuid '%s'", l->i->domain->uuid);
    snprintf(l->uuid, sizeof(l->uuid), LIBXL_UUID_FMT, LIBXL_UUID_BYTES(uuid));
    return 0;
}

/* The log is emptied before anything says that there is an instance: what an earlier one said must not count. */
static int launch(struct launch *l, struct vmundo_error *err)
{
    AUTO_CLOSE int log =
        openat(l->dirfd, XEN_LOG, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    pid_t pid;
    if (log < 0)
        return error_errno(err, errno, "cannot write %s/%s", l->i->dir, XEN_LOG);
    l->back = rundir_lock(l->dirfd, XEN_BACK_LOCK);
    if (l->back < 0)
        return error_errno(err, errno, "cannot lock %s/%s", l->i->dir, XEN_BACK_LOCK);
    if (choose_uuid(l, err) < 0 || xen_loops_make(l->i->domain, &l->loops, err) < 0 || write_config(l, err) < 0 ||
        xen_run_write(l->dirfd, l->uuid, l->own_uuid, err) < 0 || spawn_xl(l, log, &pid, err) < 0)
        return -1;
    const struct instance *i = l->i;
    close(TAKE_FD(log));
    launch_close(l); /* the locks and loop devices are xl's now */
    *l = (struct launch)LAUNCH_INIT;
    l->i = i;
    return await_domain(i, pid, err);
}

/* Nobody has ever started it, or what did is gone: then *ret_fresh, with l->lock taken. */
static int look_before(struct launch *l, bool *ret_fresh, struct vmundo_error *err)
{
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    AUTO_XEN struct xen x = XEN_INIT;
    struct xen_domain is = {0};
    bool settled;
    if (xen_run_open(l->i, &n, err) < 0 || xen_run_settle(&n, START_TIMEOUT_MS, &settled, err) < 0)
        return -1;
    if (n.known && (xen_open(&x, err) < 0 || xen_find(&x, &n, l->i->domain->name, &is, err) < 0))
        return -1;
    *ret_fresh = !(is.domid && n.log.domid);
    if (!*ret_fresh)
        return 0;
    if (n.known && xen_destroy(l->i, err) < 0) /* half of one */
        return -1;
    l->lock = rundir_lock(l->dirfd, XEN_XL_LOCK);
    if (l->lock < 0 && errno == EAGAIN)
        return error_set(err, VMUNDO_CONFLICT, "it is being started or is ending at this moment");
    return l->lock < 0 ? error_errno(err, errno, "cannot lock %s/%s", l->i->dir, XEN_XL_LOCK) : 0;
}

int xen_start(const struct instance *i, struct vmundo_error *err)
{
    AUTO_LAUNCH struct launch l = LAUNCH_INIT;
    bool fresh, now;
    l.i = i;
    l.dirfd = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (l.dirfd < 0)
        return error_errno(err, errno, "cannot open %s", i->dir);
    if (look_before(&l, &fresh, err) < 0)
        return -1;
    if (!fresh)
        return 0;
    if ((i->saved && xen_saved_check(i->saved, i->saved_of, err) < 0) || may_start(i, &now, err) < 0)
        return -1;
    if (!now || launch(&l, err) == 0)
        return 0;
    launch_close(&l); /* the locks above all */
    l = (struct launch)LAUNCH_INIT;
    l.i = i;
    xen_destroy(i, NULL);
    return -1;
}
