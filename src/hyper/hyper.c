/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hyper.c: which hypervisor drivers there are, the choice of one, and the checked calls: a callback that a driver does
 * not have is a clear refusal, here, once for all of them.
 */
#include "hyper/hyper.h"
#include "hyper/drivers.h"

#include "util/sys.h"

#include <fcntl.h>

/* clang-format off: one a line */
static const struct hyper_driver *const drivers[] = {
    &hyper_qemu,
#ifdef HAVE_XEN
    &hyper_xen,
#endif
    &hyper_null,
    NULL,
};
/* clang-format on */

const struct hyper_driver *const *hyper_drivers(void)
{
    return drivers;
}

const struct hyper_driver *hyper_find(const char *name)
{
    for (size_t i = 0; drivers[i]; i++)
        if (str_eq(drivers[i]->name, name))
            return drivers[i];
    return NULL;
}

static bool is_xen_control_domain(void)
{
    AUTO_FREE char *text = NULL;
    return sys_read_file(AT_FDCWD, "/proc/xen/capabilities", 4096, &text, NULL, NULL) == 0 && strstr(text, "control_d");
}

static int no_such_driver(const char *name, struct vmundo_error *err)
{
    AUTO_FREE char *known = NULL;
    if (str_eq(name, "xen"))
        return error_set(err, VMUNDO_FAILED, "this vmundo was built without the hypervisor driver xen: it needs libxl "
                         "(apt install libxen-dev) when it is built");
    for (size_t i = 0; drivers[i]; i++) {
        char *longer = str_printf(err, "%s%s%s", known ? known : "", known ? ", " : "", drivers[i]->name);
        if (!longer)
            return -1;
        free(known);
        known = longer;
    }
    return error_set(err, VMUNDO_USAGE, "there is no hypervisor driver '%s'; there are: %s", name, known);
}

int hyper_choose(const char *name, const struct hyper_driver **ret, char **ret_why, struct vmundo_error *err)
{
    const struct hyper_driver *h = name ? hyper_find(name) : NULL;
    const char *why = "asked for";
    if (name && !h)
        return no_such_driver(name, err);
    if (!h) {
        bool xen = is_xen_control_domain();
        h = hyper_find(xen ? "xen" : "qemu");
        why = xen ? "this is a Xen control domain" : "this is no Xen control domain";
        if (!h)
            return no_such_driver("xen", err);
    }
    AUTO_FREE char *copy = NULL;
    if (str_copy(why, &copy, err) < 0 || (h->available && h->available(err) < 0))
        return -1;
    *ret = h;
    *ret_why = TAKE(copy);
    return 0;
}

static int cannot(const struct hyper_driver *h, const char *what, struct vmundo_error *err)
{
    return error_set(err, VMUNDO_FAILED, "the hypervisor driver %s cannot %s", h->name, what);
}

int hyper_check(const struct hyper_driver *h, const struct domain *d, const struct hyper_options *o,
                struct strv *ignored, struct vmundo_error *err)
{
    return h->check ? h->check(d, o, ignored, err) : 0;
}

int hyper_start(const struct instance *i, struct vmundo_error *err)
{
    if (i->ram && !i->driver->ram_size)
        return cannot(i->driver, "keep a guest's RAM in a file", err);
    if (i->saved && !i->driver->save)
        return cannot(i->driver, "bring back guests with their RAM", err);
    if (i->reserve_for && !i->driver->load)
        return cannot(i->driver, "keep a guest in reserve", err);
    return i->driver->start ? i->driver->start(i, err) : cannot(i->driver, "start domains", err);
}

int hyper_load(const struct instance *i, struct vmundo_error *err)
{
    return i->driver->load ? i->driver->load(i, err) : cannot(i->driver, "keep a guest in reserve", err);
}

int hyper_resume(const struct instance *i, struct vmundo_error *err)
{
    return i->driver->resume ? i->driver->resume(i, err) : cannot(i->driver, "resume domains", err);
}

int hyper_pause(const struct instance *i, struct vmundo_error *err)
{
    return i->driver->pause ? i->driver->pause(i, err) : cannot(i->driver, "pause domains", err);
}

int hyper_step_aside(const struct instance *i, struct vmundo_error *err)
{
    return i->driver->step_aside ? i->driver->step_aside(i, err) : cannot(i->driver, "run two instances in turn", err);
}

int hyper_shutdown(const struct instance *i, unsigned timeout_ms, bool *ret_off, struct vmundo_error *err)
{
    return i->driver->shutdown ? i->driver->shutdown(i, timeout_ms, ret_off, err)
                               : cannot(i->driver, "shut domains down", err);
}

int hyper_destroy(const struct instance *i, struct vmundo_error *err)
{
    return i->driver->destroy ? i->driver->destroy(i, err) : cannot(i->driver, "destroy domains", err);
}

int hyper_state(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err)
{
    return i->driver->state ? i->driver->state(i, ret, err) : cannot(i->driver, "tell the state of domains", err);
}

int hyper_glance(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err)
{
    return i->driver->glance ? i->driver->glance(i, ret, err) : hyper_state(i, ret, err);
}

int hyper_hold(const struct instance *i, unsigned ms, bool saving, int *ret_fd, struct vmundo_error *err)
{
    return i->driver->hold ? i->driver->hold(i, ms, saving, ret_fd, err)
                           : cannot(i->driver, "pause domains for a limited time", err);
}

int hyper_release(const struct hyper_driver *h, int fd, bool *ret_held, struct vmundo_error *err)
{
    return h->release ? h->release(fd, ret_held, err) : cannot(h, "pause domains for a limited time", err);
}

int hyper_freeze(const struct instance *i, unsigned wait_ms, unsigned keep_ms, int *ret_fd, struct vmundo_error *err)
{
    return i->driver->freeze ? i->driver->freeze(i, wait_ms, keep_ms, ret_fd, err)
                             : cannot(i->driver, "talk to an agent in the guest", err);
}

int hyper_thaw(const struct hyper_driver *h, int fd, bool *ret_frozen, struct vmundo_error *err)
{
    return h->thaw ? h->thaw(fd, ret_frozen, err) : cannot(h, "talk to an agent in the guest", err);
}

int hyper_wake(const struct instance *i, struct vmundo_error *err)
{
    return i->driver->wake ? i->driver->wake(i, err) : 0;
}

int hyper_save(const struct instance *i, const char *path, struct vmundo_error *err)
{
    return i->driver->save ? i->driver->save(i, path, err) : cannot(i->driver, "save guests with their RAM", err);
}

int hyper_move(const struct instance *i, const struct hyper_move *moves, size_t n, struct vmundo_error *err)
{
    return i->driver->move ? i->driver->move(i, moves, n, err)
                           : cannot(i->driver, "let the disks of a running domain go on in other images", err);
}

int hyper_moved(const struct instance *i, const struct hyper_move *moves, size_t n, bool *ret, struct vmundo_error *err)
{
    *ret = false; /* by a driver that cannot move them */
    return i->driver->moved ? i->driver->moved(i, moves, n, ret, err) : 0;
}

bool hyper_can_merge(const struct hyper_driver *h)
{
    return h && h->merge && h->merging && h->unmerge;
}

int hyper_merge(const struct instance *i, const struct hyper_merge *m, bool *ret_done, struct vmundo_error *err)
{
    return hyper_can_merge(i->driver) ? i->driver->merge(i, m, ret_done, err)
                                      : cannot(i->driver, "merge what the disks of a running domain rest on", err);
}

int hyper_merging(const struct instance *i, bool *ret, struct vmundo_error *err)
{
    *ret = false;
    return hyper_can_merge(i->driver) ? i->driver->merging(i, ret, err) : 0;
}

int hyper_unmerge(const struct instance *i, struct vmundo_error *err)
{
    return hyper_can_merge(i->driver) ? i->driver->unmerge(i, err) : 0;
}

uint64_t hyper_ram_size(const struct hyper_driver *h, const struct domain *d)
{
    return h->ram_size ? h->ram_size(d) : 0;
}

int hyper_console(const struct instance *i, int *ret_fd, struct vmundo_error *err)
{
    return i->driver->console ? i->driver->console(i, ret_fd, err) : cannot(i->driver, "connect to consoles", err);
}

int hyper_rewatch(const struct instance *i, struct vmundo_error *err)
{
    return i->driver->rewatch ? i->driver->rewatch(i, err) : 0;
}

int hyper_name_taken(const struct hyper_driver *h, const char *name, bool *ret, struct vmundo_error *err)
{
    if (h->name_taken)
        return h->name_taken(name, ret, err);
    *ret = false;
    return 0;
}

int hyper_disk_in_use(const char *path, char **ret_who, struct vmundo_error *err)
{
    AUTO_FREE char *who = NULL;
    for (size_t i = 0; drivers[i] && !who; i++)
        if (drivers[i]->disk_in_use && (!drivers[i]->available || drivers[i]->available(NULL) == 0) &&
            drivers[i]->disk_in_use(path, &who, err) < 0)
            return -1;
    *ret_who = TAKE(who);
    return 0;
}

void hyper_status_clear(struct hyper_status *s)
{
    free(s->ended);
    *s = (struct hyper_status){0};
}
