/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cleanup.h: ownership by attribute, so that every exit path is right without goto.
 *
 *     AUTO_FREE char *path = NULL;         freed when it leaves scope
 *     AUTO_CLOSE int fd = -1;              closed when it leaves scope, errno kept
 *     return TAKE(path);                   hand it over: the variable becomes NULL
 *     *ret_fd = TAKE_FD(fd);               hand it over: the variable becomes -1
 */
#ifndef UTIL_CLEANUP_H
#define UTIL_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}

static inline void cleanup_fclose(FILE **f)
{
    if (*f)
        fclose(*f);
}

static inline void cleanup_closedir(DIR **d)
{
    if (*d)
        closedir(*d);
}

#define AUTO_FREE CLEANUP(cleanup_free)
#define AUTO_CLOSE CLEANUP(cleanup_close)
#define AUTO_FCLOSE CLEANUP(cleanup_fclose)
#define AUTO_DIR CLEANUP(cleanup_closedir)

#define TAKE(p)                 \
    __extension__({             \
        __typeof__(p) t_ = (p); \
        (p) = NULL;             \
        t_;                     \
    })

#define TAKE_FD(fd)     \
    __extension__({     \
        int t_ = (fd);  \
        (fd) = -1;      \
        t_;             \
    })

#endif
