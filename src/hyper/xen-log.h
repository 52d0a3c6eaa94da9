/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-log.h: what `xl create -F` has written so far. That is how we learn from the process that made a domain, and made
 * it again after each reboot, which domain it is and how it ended: xl tells nobody else, and a domain that is gone
 * cannot be asked. Pure functions of text.
 */
#ifndef HYPER_XEN_LOG_H
#define HYPER_XEN_LOG_H

#include "util/error.h"

#include <stdint.h>
#include <sys/types.h>

enum xl_phase {
    XL_CREATING,   /* there is no domain yet, or half of one */
    XL_WATCHING,   /* the domain is complete */
    XL_ENDING,     /* the domain has shut down, or somebody has destroyed it: xl cleans up and ends */
    XL_RESTARTING, /* the domain has shut down and is being made anew */
    XL_PRESERVED,  /* the domain has shut down and stays as it is; xl ends */
};

struct xl_log {
    enum xl_phase phase;
    uint32_t domid; /* the latest domain that was complete, 0: none ever was */
    pid_t pid;      /* of xl, 0: it has not said so yet */
    int reason;     /* code with which that domain shut down, -1: it did not */
};

/* Lines that are not complete yet do not count. */
void xl_log_parse(const char *text, struct xl_log *ret);

/* "guest powered off" and so on; a constant. reason as in struct xl_log. */
const char *xl_reason_text(int reason);

/* The errors among the lines since the last domain was complete, without libxl's file names and line numbers, joined and
 * made safe to show; "" when there are none. The caller frees it. */
char *xl_log_errors(const char *text, struct vmundo_error *err);

#endif
