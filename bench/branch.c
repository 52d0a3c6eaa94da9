/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * branch.c: branch IMAGE COUNT: what a durable branch of an image costs, bare (FICLONE and fsync of file and directory)
 * and made by the reflink driver, in turn, COUNT times. Prints in microseconds "bare driver first": the medians, and what the first branch took, with
 * the directory for it.
 */
#include "storage/storage.h"
#include "util/sys.h"

#include <err.h>
#include <fcntl.h>
#include <libgen.h>
#include <time.h>

#define COUNT_MAX 1000

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double bare(const char *image, int dirfd)
{
    AUTO_CLOSE int src = open(image, O_RDONLY | O_CLOEXEC);
    double begun = now_us();
    AUTO_CLOSE int dst = openat(dirfd, "bare", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (src < 0 || dst < 0 || sys_ficlone(dst, src) < 0 || fsync(dst) < 0 || fsync(dirfd) < 0)
        err(1, "cannot clone %s", image);
    double took = now_us() - begun;
    unlinkat(dirfd, "bare", 0);
    return took;
}

static double make(const char *image, uint64_t generation, struct branch *b)
{
    struct mark m = {.store = "0123abcd", .domain = "bench", .generation = generation};
    struct vmundo_error e = {0};
    b->driver = storage_find("reflink");
    if (str_copy(image, &b->origin, &e) < 0 || str_copy("raw", &b->origin_format, &e) < 0 ||
        storage_name(b, &m, "/tmp", &e) < 0)
        errx(1, "%s", e.msg);
    double begun = now_us();
    if (storage_create(b, &m, &e) < 0)
        errx(1, "%s", e.msg);
    return now_us() - begun;
}

static void unmake(const struct branch *b)
{
    struct vmundo_error e = {0};
    if (storage_remove(b, &e) < 0)
        errx(1, "%s", e.msg);
}

static double by_driver(const char *image, uint64_t generation)
{
    CLEANUP(branch_clear) struct branch b = {0};
    double took = make(image, generation, &b);
    unmake(&b);
    return took;
}

int main(int argc, char **argv)
{
    static double times[2][COUNT_MAX];
    int count = argc == 3 ? atoi(argv[2]) : 0;
    if (count < 1 || count > COUNT_MAX)
        errx(2, "usage: branch IMAGE COUNT");
    AUTO_FREE char *copy = strdup(argv[1]);
    AUTO_CLOSE int dirfd = open(copy ? dirname(copy) : "", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        err(1, "%s", argv[1]);
    /* As in a rollback: the branch before stands, and so does the directory that they lie in. */
    CLEANUP(branch_clear) struct branch before = {0};
    double first = make(argv[1], 0, &before);
    for (int i = 0; i < count; i++) {
        times[0][i] = bare(argv[1], dirfd);
        times[1][i] = by_driver(argv[1], (uint64_t)i + 1);
    }
    unmake(&before);
    for (size_t i = 0; i < 2; i++)
        qsort(times[i], (size_t)count, sizeof(times[i][0]), by_size);
    printf("%.1f %.1f %.1f\n", times[0][count / 2], times[1][count / 2], first);
    return 0;
}
