/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* progress.h: how long work below core tells how far it is. */
#ifndef UTIL_PROGRESS_H
#define UTIL_PROGRESS_H

#include <stdint.h>

struct progress {
    void (*fn)(void *data, uint64_t done, uint64_t total);
    void *data;
};

static inline void progress_tell(const struct progress *p, uint64_t done, uint64_t total)
{
    if (p && p->fn)
        p->fn(p->data, done, total);
}

#endif
