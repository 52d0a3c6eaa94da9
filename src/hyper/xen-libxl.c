/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-libxl.c: see xen-libxl.h. Destroying a domain is the only call of ours in which libxl needs child processes (for
 * the hotplug scripts, and one more). It would catch SIGCHLD to learn of their end, which a library must not do behind
 * its program's back; so we run its event loop here, and have it look after its children every few milliseconds.
 */
#include "hyper/xen-libxl.h"

#include "util/str.h"

#include <libxl_event.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/time.h>

#define CHILD_POLL_MS 5
#define MAX_POLL_FDS 64

/* ---- the context ------------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 5, 0))) static void take_message(xentoollog_logger *logger, xentoollog_level level,
                                                               int errnum, const char *context, const char *format,
                                                               va_list args)
{
    struct xen *x = (struct xen *)logger;
    (void)context;
    if (level < XTL_ERROR || x->said[0])
        return;
    int n = vsnprintf(x->said, sizeof(x->said), format, args);
    if (errnum > 0 && n >= 0 && (size_t)n < sizeof(x->said))
        snprintf(x->said + n, sizeof(x->said) - (size_t)n, ": %s", strerror(errnum));
}

/* libxl's children are ours to watch, in run_until_done(). */
static const libxl_childproc_hooks no_signals = {.chldowner = libxl_sigchld_owner_mainloop};

int xen_open(struct xen *x, struct vmundo_error *err)
{
    *x = (struct xen){.logger = {.vmessage = take_message}};
    int rc = libxl_ctx_alloc(&x->ctx, LIBXL_VERSION, 0, &x->logger);
    if (rc) {
        x->ctx = NULL;
        return xen_error(x, rc, err, "cannot talk to Xen");
    }
    libxl_childproc_setmode(x->ctx, &no_signals, NULL);
    return 0;
}

void xen_close(struct xen *x)
{
    libxl_ctx_free(x->ctx);
    x->ctx = NULL;
}

int xen_error(struct xen *x, int rc, struct vmundo_error *err, const char *fmt, ...)
{
    va_list args;
    char what[256];
    const char *name = libxl_error_to_string((libxl_error)rc);
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    AUTO_FREE char *why = str_escape(x->said[0] ? x->said : name ? name : "it does not say why", sizeof(x->said));
    x->said[0] = '\0';
    return why ? error_set(err, VMUNDO_FAILED, "%s: %s", what, why) : error_nomem(err);
}

/* ---- its event loop --------------------------------------------------------------------------------------------- */

struct done {
    bool is;
    int rc;
};

static void on_done(libxl_ctx *ctx, int rc, void *data)
{
    struct done *done = data;
    (void)ctx;
    *done = (struct done){true, rc};
}

static int run_until_done(struct xen *x, const struct done *done, struct vmundo_error *err)
{
    while (!done->is) {
        struct pollfd fds[MAX_POLL_FDS];
        struct timeval now;
        int n = MAX_POLL_FDS, timeout = CHILD_POLL_MS;
        gettimeofday(&now, NULL);
        int rc = libxl_osevent_beforepoll(x->ctx, &n, fds, &timeout, now);
        if (rc)
            return xen_error(x, rc, err, "libxl cannot go on");
        if (poll(fds, (nfds_t)n, timeout) < 0)
            n = 0;
        gettimeofday(&now, NULL);
        libxl_osevent_afterpoll(x->ctx, n, fds, now);
        libxl_childproc_sigchld_occurred(x->ctx);
    }
    return 0;
}

int xen_destroy_domain(struct xen *x, uint32_t domid, struct vmundo_error *err)
{
    struct done done = {0};
    libxl_asyncop_how how = {.callback = on_done, .u.for_callback = &done};
    int rc = libxl_domain_destroy(x->ctx, domid, &how);
    if (rc)
        return xen_error(x, rc, err, "cannot destroy Xen's domain %u", domid);
    if (run_until_done(x, &done, err) < 0)
        return -1;
    if (done.rc == 0 || libxl_domain_info(x->ctx, NULL, domid) == ERROR_DOMAIN_NOTFOUND) {
        x->said[0] = '\0'; /* somebody else may have been faster */
        return 0;
    }
    return xen_error(x, done.rc, err, "cannot destroy Xen's domain %u", domid);
}
