/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-hold.c: vmundo-xen-hold DOMID MS pause|wait|leave, which sees to it that a domain of Xen's that is paused for a
 * checkpoint runs again, whoever is killed meanwhile (hyper.h, hold). Its standard input is a socket: it says "held"
 * when the domain is paused, and lets it run when it reads a line, when the other end is closed, and when the time is
 * up. Then it says "kept", or "late". With "wait" somebody else is about to pause it: `xl save -p`, which may go on
 * after whoever spawned it has been killed. It is waited for by its lock in the current directory. Until then the xl
 * that watches the domain, whose pidfd is descriptor 3, is stopped: it would take the suspension for the domain's end,
 * and leave it.
 */
#include "hyper/rundir.h"
#include "hyper/xen-libxl.h"
#include "hyper/xen-save.h"

#include "util/cleanup.h"
#include "util/str.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS 20
#define XL_PIDFD 3

static void tell_xl(int sig)
{
    if (fcntl(XL_PIDFD, F_GETFD) >= 0)
        sys_pidfd_signal(XL_PIDFD, sig);
}

static void say(const char *text)
{
    ssize_t n = write(STDIN_FILENO, text, strlen(text));
    (void)n; /* whoever is to hear it may be gone */
}

static int fail(const struct vmundo_error *err)
{
    fprintf(stderr, "vmundo-xen-hold: %s\n", err->msg);
    return EXIT_FAILURE;
}

static void await_save(void)
{
    bool busy = true;
    AUTO_CLOSE int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (rundir_is_locked(dir, XEN_SAVE_LOCK, &busy, NULL) == 0 && busy)
        poll(NULL, 0, POLL_MS);
}

/* An xl save that was killed leaves it suspended. */
static int let_run(struct xen *x, uint32_t domid, struct vmundo_error *err)
{
    libxl_dominfo info;
    libxl_dominfo_init(&info);
    int rc = libxl_domain_info(x->ctx, &info, domid);
    bool suspended = !rc && info.shutdown && info.shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND;
    bool paused = !rc && info.paused;
    libxl_dominfo_dispose(&info);
    if (rc)
        return 0; /* it is gone */
    if (suspended && (rc = libxl_domain_resume(x->ctx, domid, 1, NULL)))
        return xen_error(x, rc, err, "cannot resume Xen's domain %u", domid);
    rc = paused ? libxl_domain_unpause(x->ctx, domid, NULL) : 0;
    return rc ? xen_error(x, rc, err, "cannot let Xen's domain %u run", domid) : 0;
}

int main(int argc, char **argv)
{
    AUTO_XEN struct xen x = XEN_INIT;
    struct vmundo_error err = {0};
    if (argc != 4)
        return EXIT_FAILURE;
    uint32_t domid = (uint32_t)strtoul(argv[1], NULL, 10);
    int ms = (int)strtoul(argv[2], NULL, 10), rc = 0;
    sys_outlive_terminal();
    if (xen_open(&x, &err) < 0)
        return fail(&err);
    if (str_eq(argv[3], "pause") && (rc = libxl_domain_pause(x.ctx, domid, NULL))) {
        xen_error(&x, rc, &err, "cannot pause Xen's domain %u", domid);
        return fail(&err);
    }
    tell_xl(SIGSTOP);
    say("held\n");
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    int n;
    while ((n = poll(&p, 1, ms)) < 0)
        ;
    await_save();
    int let = str_eq(argv[3], "leave") ? 0 : let_run(&x, domid, &err); /* somebody else had paused it */
    tell_xl(SIGCONT);
    if (let < 0)
        return fail(&err);
    say(n > 0 ? "kept\n" : "late\n");
    return EXIT_SUCCESS;
}
