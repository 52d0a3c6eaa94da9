/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spawned.c: in the place of a program that vmundo starts (a link with its name, in a directory at the front of PATH, or
 * of $VMUNDO_LIBEXEC_DIR): counts itself, and is the program, unless its number is the one at which something happens.
 *
 *     $VMUNDO_FAULT_SPAWN   a directory: `count` (one byte for each program started), `at` (the number, 0: none), `how`,
 *                           and `real/NAME`, links to the programs
 *     $VMUNDO_FAULT_ONLY    if it is set, no program of another name counts
 *     how                   killed: by SIGKILL, before it does anything; late: by SIGKILL, when it has done everything;
 *                           fails: ends with 1, and does nothing; hangs: does nothing, and does not end
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int read_text(const char *dir, const char *name, char *buf, size_t size)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    if (fd >= 0)
        close(fd);
    return n < 0 ? -1 : 0;
}

/* The kernel appends one at a time, so that the size after it is our number. */
static long count_us(const char *dir, const char *name)
{
    char path[PATH_MAX], line[64];
    snprintf(path, sizeof(path), "%s/count", dir);
    snprintf(line, sizeof(line), "%-31.31s\n", name);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, line, 32) != 32)
        return -1;
    off_t end = lseek(fd, 0, SEEK_CUR);
    close(fd);
    return end / 32;
}

static int be(const char *dir, const char *name, char **argv)
{
    char path[PATH_MAX], real[PATH_MAX];
    snprintf(path, sizeof(path), "%s/real/%s", dir, name);
    ssize_t n = readlink(path, real, sizeof(real) - 1);
    if (n > 0) {
        real[n] = '\0';
        execv(real, argv);
    }
    perror(path);
    return 127;
}

int main(int argc, char **argv)
{
    const char *dir = getenv("VMUNDO_FAULT_SPAWN"), *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    const char *only = getenv("VMUNDO_FAULT_ONLY");
    char at[32], how[32];
    if (!dir || argc < 1)
        return 127;
    if (only && strcmp(only, name) != 0)
        return be(dir, name, argv);
    long n = count_us(dir, name);
    if (read_text(dir, "at", at, sizeof(at)) < 0 || read_text(dir, "how", how, sizeof(how)) < 0 || n != atol(at))
        return be(dir, name, argv);
    if (!strcmp(how, "fails")) {
        fprintf(stderr, "%s: it is made to fail\n", name);
        return 1;
    }
    if (!strcmp(how, "hangs"))
        for (;;)
            pause();
    if (!strcmp(how, "late")) {
        pid_t child = fork();
        if (child == 0)
            _exit(be(dir, name, argv));
        while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    raise(SIGKILL);
    return 1;
}
