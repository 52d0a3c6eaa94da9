/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tmpdir.h: cmocka, and a directory of its own for each test that is set up with it. */
#ifndef TESTS_TMPDIR_H
#define TESTS_TMPDIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "util/str.h"
#include "util/sys.h"

#include <fcntl.h>

struct tmpdir {
    char path[64];
    int fd;
};

static inline int tmpdir_setup(void **state)
{
    struct tmpdir *t = calloc(1, sizeof(*t));
    if (!t)
        return -1;
    strcpy(t->path, "/tmp/vmundo-unit.XXXXXX");
    t->fd = mkdtemp(t->path) ? open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    *state = t;
    return t->fd < 0 ? -1 : 0;
}

static inline int tmpdir_teardown(void **state)
{
    AUTO_FREE struct tmpdir *t = *state;
    AUTO_CLOSE int parent = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close(t->fd);
    return sys_remove_tree(parent, t->path + strlen("/tmp/"), NULL);
}

/* A file with this text, made without the functions under test. */
static inline void put_file(int dirfd, const char *name, const char *text)
{
    AUTO_CLOSE int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static inline void assert_file(int dirfd, const char *name, const char *text)
{
    char buf[4096];
    AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    assert_true(n >= 0);
    buf[n] = '\0';
    assert_string_equal(buf, text);
}

static inline bool exists(int dirfd, const char *name)
{
    struct stat st;
    return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

#endif
