/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log.c: qemu.log, where QEMU and the monitor complain, and the console's log. A guest can write to both without end,
 * so both are cut now and then. All writers append, so that the cut is safe at any moment.
 */
#include "monitor/monitor.h"

#include "util/str.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>

#define MAX_LOG ((off_t)16 << 20)
#define TAIL 2048

void log_say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "vmundo-monitor: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
}

/* "2026-11-22T20:55:08.123456Z qemu-system-x86_64: what matters" */
static const char *skip_prefix(const char *line, const char *program)
{
    if (isdigit((unsigned char)line[0]) && strchr(line, 'Z') == line + strcspn(line, " ") - 1)
        line += strcspn(line, " ") + 1;
    size_t n = strlen(program);
    if (!strncmp(line, program, n) && str_has_prefix(line + n, ": "))
        line += n + 2;
    return line;
}

char *log_last_line(const struct monitor *m)
{
    char buf[TAIL + 1];
    struct stat st;
    AUTO_CLOSE int fd = openat(m->dir, RUNDIR_QEMU_LOG, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    ssize_t n = pread(fd, buf, TAIL, st.st_size > TAIL ? st.st_size - TAIL : 0);
    while (n > 0 && isspace((unsigned char)buf[n - 1]))
        n--;
    if (n <= 0)
        return NULL;
    buf[n] = '\0';
    const char *line = strrchr(buf, '\n');
    return str_escape(skip_prefix(line ? line + 1 : buf, m->program), 500);
}

/* Drop the older half where the file system can (fallocate(2): ext4 and XFS), else all of it. */
static void trim(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= MAX_LOG)
        return;
    off_t block = st.st_blksize > 0 ? st.st_blksize : 4096, cut = (st.st_size - MAX_LOG / 2) / block * block;
    if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, cut) < 0 && ftruncate(fd, 0) < 0)
        return; /* the next time, then */
}

void log_trim(void)
{
    trim(STDERR_FILENO);
    trim(MONITOR_FD_CONSOLE_LOG);
}
