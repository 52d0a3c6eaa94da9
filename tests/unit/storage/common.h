/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* common.h: images in a directory of the test, and branches of them. */
#ifndef TESTS_STORAGE_COMMON_H
#define TESTS_STORAGE_COMMON_H

#include "../util/tmpdir.h"

#include "storage/sidecar.h"

#define STORE "0badcafe"

static inline char *path_in(const struct tmpdir *t, const char *name)
{
    char *path = str_printf(NULL, "%s/%s", t->path, name);
    assert_non_null(path);
    return path;
}

/* A sparse file with text at its start. */
static inline void put_image(const struct tmpdir *t, const char *name, size_t size, const char *text)
{
    put_file(t->fd, name, text);
    AUTO_CLOSE int fd = openat(t->fd, name, O_RDWR | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
}

static inline void assert_failed(int r, const struct vmundo_error *err, enum vmundo_code code, const char *part)
{
    assert_int_equal(r, -1);
    if (err->code != code || !strstr(err->msg, part))
        fail_msg("error %d \"%s\" instead of %d \"…%s…\"", err->code, err->msg, code, part);
}

static inline void assert_ok(int r, const struct vmundo_error *err)
{
    if (r != 0)
        fail_msg("failed: %s", err->msg);
}

/* A branch of t/name by the driver, named for domain web, generation 1. */
static inline void name_branch(const struct tmpdir *t, const char *driver, const char *name, struct branch *ret)
{
    static const struct mark mark = {STORE, "web", 1};
    struct vmundo_error err = {0};
    *ret = (struct branch){.driver = storage_find(driver), .origin = path_in(t, name)};
    assert_non_null(ret->driver);
    assert_ok(str_copy("raw", &ret->origin_format, &err), &err);
    assert_ok(str_copy("off", &ret->consistency, &err), &err);
    assert_ok(storage_name(ret, &mark, t->path, &err), &err);
}

#endif
