/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen.c: the driver for Xen, by way of xl and libxl. Here: what this host offers, what state a domain is in, and what is
 * asked of it.
 *
 *     vmundo ──spawns──▶ xl create -F        makes the domain, and again when it reboots; ends when it has ended
 *            ──libxl───▶ Xen                  everything else
 *
 * xl makes the domain, because what a configuration means is its business, and so is on_reboot. Everything else is
 * asked of libxl within this process: in the rig an xl process costs 0.5 s before it begins with its work, and what we
 * ask takes 10 to 50 ms (and destroying as long as the domain's devices take). So there is one xl per rollback.
 *
 * The console's log is not ours to write: xenconsoled alone sees what the guest says, and logs it if it is told to
 * (XENCONSOLED_TRACE=guest), under /var/log/xen/console.
 */
#include "hyper/xen.h"
#include "hyper/drivers.h"

#include "util/process.h"
#include "util/sys.h"

#include <fcntl.h>
#include <poll.h>

#define SETTLE_TIMEOUT_MS 120000u
#define ENDING_TIMEOUT_MS 10000u
#define POLL_MS 20

/* ---- this host ------------------------------------------------------------------------------------------------------ */

static int available(struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    if (sys_read_file(AT_FDCWD, "/proc/xen/capabilities", 4096, &text, NULL, NULL) < 0 || !strstr(text, "control_d"))
        return error_set(err, VMUNDO_FAILED, "this is not a Xen control domain: install xen-system-amd64 and boot Xen, or "
                         "use --hypervisor qemu");
    if (process_have("xl"))
        return 0;
    error_set(err, VMUNDO_FAILED, "xl is not installed: apt install xen-utils-common (Xen 4.17 is known to do)");
    if (err)
        err->errnum = ENOENT;
    return -1;
}

static int check(const struct domain *d, const struct hyper_options *o, struct strv *ignored, struct vmundo_error *err)
{
    (void)d;
    (void)ignored; /* xl knows every key */
    if (o->accel)
        return error_set(err, VMUNDO_USAGE, "acceleration '%s' is a choice for QEMU, not for Xen", o->accel);
    if (o->net && !str_eq(o->net, "bridge") && !str_eq(o->net, "none"))
        return error_set(err, VMUNDO_USAGE, "no such network '%s' under Xen: bridge or none", o->net);
    return 0;
}

static int name_taken(const char *name, bool *ret, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    uint32_t domid;
    if (xen_open(&x, err) < 0)
        return -1;
    *ret = libxl_name_to_domid(x.ctx, name, &domid) == 0;
    return 0;
}

/* ---- state ---------------------------------------------------------------------------------------------------------- */

static int how_it_ended(const struct xen_run *n, char **ret, struct vmundo_error *err)
{
    if (n->log.domid == 0) /* it never was complete */
        return 0;
    if (n->log.reason >= 0 && n->log.phase == XL_RESTARTING) {
        AUTO_FREE char *errors = xl_log_errors(n->log_text, err);
        *ret = errors ? str_printf(err, "%s and could not be started again: %s", xl_reason_text(n->log.reason),
                                   errors[0] ? errors : "its xl process was killed") : NULL;
        return *ret ? 0 : -1;
    }
    return str_copy(n->log.reason >= 0            ? xl_reason_text(n->log.reason)
                    : n->log.phase == XL_ENDING ? "destroyed by somebody else (xl destroy)"
                    : n->same_boot              ? "ended after its xl process had been killed"
                                                : "ended with the host, which was restarted",
                    ret, err);
}

/* One that has shut down but is still there: xl is about to clean it up or to make it anew, keeps it (preserve), or is
 * gone itself. */
static int judge_shutdown(const struct xen_run *n, const struct xen_domain *is, struct hyper_status *s,
                          struct vmundo_error *err)
{
    bool undecided = n->xl_lives && n->log.phase == XL_WATCHING;
    if (undecided && is->reason == LIBXL_SHUTDOWN_REASON_REBOOT) {
        s->power = HYPER_RUNNING;
        return 0;
    }
    s->power = undecided || (n->xl_lives && n->log.phase == XL_ENDING) ? HYPER_OFF : HYPER_PAUSED;
    return str_copy(xl_reason_text(is->reason), &s->ended, err);
}

static int judge(const struct xen_run *n, const struct xen_domain *is, struct hyper_status *s, struct vmundo_error *err)
{
    s->pid = n->xl_lives ? n->log.pid : 0;
    s->since = n->since;
    /* While xl makes the domain, Xen may know none, or a half one that is paused: xl lets it run if it ran before. */
    if (n->xl_lives && (n->log.phase == XL_CREATING || n->log.phase == XL_RESTARTING)) {
        s->power = n->log.phase == XL_CREATING ? HYPER_PAUSED : HYPER_RUNNING;
        return 0;
    }
    if (is->domid && is->shutdown)
        return judge_shutdown(n, is, s, err);
    if (is->domid && n->log.domid) {
        s->power = is->paused ? HYPER_PAUSED : HYPER_RUNNING;
        s->unwatched = !n->xl_lives;
        return 0;
    }
    s->power = HYPER_OFF;
    return how_it_ended(n, &s->ended, err);
}

static int state(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err)
{
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    AUTO_XEN struct xen x = XEN_INIT;
    uint64_t deadline = sys_monotonic_ms() + ENDING_TIMEOUT_MS;
    if (xen_run_open(i, &n, err) < 0)
        return -1;
    if (!n.known) {
        *ret = (struct hyper_status){.power = HYPER_OFF};
        return 0;
    }
    if (xen_open(&x, err) < 0)
        return -1;
    for (;;) {
        CLEANUP(hyper_status_clear) struct hyper_status s = {0};
        struct xen_domain is;
        if (xen_run_refresh(&n, err) < 0 || xen_find(&x, &n, i->domain->name, &is, err) < 0 ||
            judge(&n, &is, &s, err) < 0)
            return -1;
        /* Off while xl lives: it is about to say how it ended, and to let go of the disks. */
        if (s.power != HYPER_OFF || !n.xl_lives || sys_monotonic_ms() > deadline) {
            *ret = s;
            s = (struct hyper_status){0};
            return 0;
        }
        poll(NULL, 0, POLL_MS);
    }
}

/* ---- what is asked of it --------------------------------------------------------------------------------------------- */

int xen_open_live(const struct instance *i, struct xen *x, struct xen_domain *ret, struct vmundo_error *err)
{
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    struct xen_domain is = {0};
    bool settled;
    if (xen_run_open(i, &n, err) < 0 || xen_run_settle(&n, SETTLE_TIMEOUT_MS, &settled, err) < 0)
        return -1;
    if (n.known && (xen_open(x, err) < 0 || xen_find(x, &n, i->domain->name, &is, err) < 0))
        return -1;
    if (!is.domid || !n.log.domid || is.shutdown)
        return error_set(err, VMUNDO_CONFLICT, "the domain is off");
    *ret = is;
    return 0;
}

/* The name that it is to have from now on. */
static int give_name(const struct instance *i, struct xen *x, uint32_t domid, struct vmundo_error *err)
{
    AUTO_FREE char *is = libxl_domid_to_name(x->ctx, domid);
    uint32_t other;
    if (str_eq(is, i->domain->name))
        return 0;
    int rc = libxl_domain_rename(x->ctx, domid, is, i->domain->name);
    if (rc && libxl_name_to_domid(x->ctx, i->domain->name, &other) == 0 && other != domid)
        return error_set(err, VMUNDO_CONFLICT, "Xen runs another domain '%s': shut it down first", i->domain->name);
    return rc ? xen_error(x, rc, err, "cannot rename Xen's domain %u to %s", domid, i->domain->name) : 0;
}

static int resume(const struct instance *i, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    struct xen_domain is;
    if (xen_open_live(i, &x, &is, err) < 0 || give_name(i, &x, is.domid, err) < 0)
        return -1;
    int rc = is.paused ? libxl_domain_unpause(x.ctx, is.domid, NULL) : 0;
    return rc ? xen_error(&x, rc, err, "cannot let Xen's domain %u run", is.domid) : 0;
}

static int pause_it(const struct instance *i, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    struct xen_domain is;
    if (xen_open_live(i, &x, &is, err) < 0)
        return -1;
    int rc = is.paused ? 0 : libxl_domain_pause(x.ctx, is.domid, NULL); /* Xen counts pauses */
    return rc ? xen_error(&x, rc, err, "cannot pause Xen's domain %u", is.domid) : 0;
}

/* Paused, and under a name that says what it is until it is destroyed. */
static int step_aside(const struct instance *i, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    struct vmundo_error e = {0};
    struct xen_domain is;
    if (xen_open_live(i, &x, &is, &e) < 0)
        return e.code == VMUNDO_CONFLICT ? 0 : error_set(err, e.code, "%s", e.msg);
    int rc = is.paused ? 0 : libxl_domain_pause(x.ctx, is.domid, NULL);
    if (rc)
        return xen_error(&x, rc, err, "cannot pause Xen's domain %u", is.domid);
    AUTO_FREE char *now = libxl_domid_to_name(x.ctx, is.domid);
    AUTO_FREE char *old = str_printf(err, "%s--old", i->domain->name);
    if (!old || !str_eq(now, i->domain->name))
        return old ? 0 : -1;
    rc = libxl_domain_rename(x.ctx, is.domid, now, old);
    return rc ? xen_error(&x, rc, err, "cannot rename Xen's domain %u to %s", is.domid, old) : 0;
}

/* Guests without Xen's drivers have a power button at best. */
static int press_button(struct xen *x, uint32_t domid, struct vmundo_error *err)
{
    int rc = libxl_domain_shutdown(x->ctx, domid, NULL);
    if (rc == ERROR_NOPARAVIRT)
        rc = libxl_send_trigger(x->ctx, domid, LIBXL_TRIGGER_POWER, 0, NULL);
    return rc ? xen_error(x, rc, err, "cannot ask Xen's domain %u to shut down", domid) : 0;
}

static int await_off(const struct instance *i, uint64_t deadline, bool *ret_off, struct vmundo_error *err)
{
    for (;;) {
        CLEANUP(hyper_status_clear) struct hyper_status s = {0};
        if (state(i, &s, err) < 0)
            return -1;
        *ret_off = s.power == HYPER_OFF || s.ended;
        if (*ret_off && s.power != HYPER_OFF) /* it is kept, but no longer a guest */
            return xen_destroy(i, err);
        if (*ret_off || sys_monotonic_ms() >= deadline)
            return 0;
        poll(NULL, 0, POLL_MS);
    }
}

static int shutdown_it(const struct instance *i, unsigned timeout_ms, bool *ret_off, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    uint64_t deadline = sys_monotonic_ms() + timeout_ms;
    struct vmundo_error e = {0};
    struct xen_domain is = {0};
    if (xen_open_live(i, &x, &is, &e) < 0 && e.code != VMUNDO_CONFLICT)
        return error_set(err, e.code, "%s", e.msg);
    if (is.domid && is.paused)
        return error_set(err, VMUNDO_CONFLICT, "the guest is paused and cannot shut down: let it run, or use force");
    if (is.domid && press_button(&x, is.domid, err) < 0)
        return -1;
    xen_close(&x);
    return await_off(i, deadline, ret_off, err);
}

const struct hyper_driver hyper_xen = {
    .name = "xen",
    .flags = HYPER_SIDE_BY_SIDE | HYPER_SAVE_PAUSES,
    .available = available,
    .check = check,
    .start = xen_start,
    .resume = resume,
    .pause = pause_it,
    .step_aside = step_aside,
    .shutdown = shutdown_it,
    .destroy = xen_destroy,
    .state = state,
    .hold = xen_hold,
    .release = xen_release,
    .save = xen_save,
    .console = xen_console,
    .name_taken = name_taken,
    .disk_in_use = xen_disk_in_use,
};
