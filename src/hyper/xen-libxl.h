/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-libxl.h: libxl as we use it: within our own process, since every spawned xl costs what several of these calls do
 * together; without output and without signal handlers.
 */
#ifndef HYPER_XEN_LIBXL_H
#define HYPER_XEN_LIBXL_H

#define LIBXL_API_VERSION 0x041300

#include "util/error.h"

#include <libxl.h>
#include <libxl_utils.h>

struct xen {
    xentoollog_logger logger; /* first, as xentoollog.h wants it */
    char said[512];           /* the first error that libxl reported in the current call */
    libxl_ctx *ctx;
};
#define XEN_INIT {.ctx = NULL}
#define AUTO_XEN CLEANUP(xen_close)

/* *x stays where it is until xen_close(). Errors: VMUNDO_FAILED Xen does not run here, or we may not talk to it. */
int xen_open(struct xen *x, struct vmundo_error *err);
void xen_close(struct xen *x);

/* Fill in err for a libxl call that returned rc: "WHAT: what libxl said". Returns -1. */
int xen_error(struct xen *x, int rc, struct vmundo_error *err, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Destroy a domain that exists, with its devices. */
int xen_destroy_domain(struct xen *x, uint32_t domid, struct vmundo_error *err);

#endif
