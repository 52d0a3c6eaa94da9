/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * console.c: a terminal on a guest's serial console. The terminal is raw meanwhile, so that every key but ^] goes to the
 * guest, and is put back on every way out, signals included.
 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define LEAVE 0x1d /* ^] */

static struct termios before;
static bool is_raw;
static volatile sig_atomic_t signalled;

static void on_signal(int sig)
{
    signalled = sig;
}

static void restore_terminal(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    is_raw = false;
}

static void make_raw(void)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return;
    raw = before;
    cfmakeraw(&raw);
    is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static int write_all(int fd, const char *buf, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, buf, n);
        if (w < 0 && errno == EINTR && !signalled)
            continue;
        if (w < 0)
            return -1;
        buf += w;
        n -= (size_t)w;
    }
    return 0;
}

/* What the user typed goes to the guest. 0: go on; 1: leave; 2: the input has ended. */
static int from_user(int fd)
{
    char buf[512];
    ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : 1;
    if (n == 0)
        return is_raw ? 1 : 2;
    char *leave = is_raw ? memchr(buf, LEAVE, (size_t)n) : NULL;
    if (write_all(fd, buf, leave ? (size_t)(leave - buf) : (size_t)n) < 0)
        return 1;
    return leave ? 1 : 0;
}

/* 0: go on; 1: the guest is gone. */
static int from_guest(int fd)
{
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof(buf));
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : 1;
    return n == 0 || write_all(STDOUT_FILENO, buf, (size_t)n) < 0;
}

static void shuttle(int fd)
{
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    while (!signalled) {
        /* Input from a pipe has ended: stay as long as the guest keeps answering. */
        int r = poll(p, 2, p[1].fd < 0 ? 1000 : -1);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return;
        if (p[0].revents && from_guest(fd))
            return;
        if (p[1].revents) {
            int what = from_user(fd);
            if (what == 1)
                return;
            if (what == 2)
                p[1].fd = -1;
        }
    }
}

int console_attach(int fd, const char *domain, struct vmundo_error *err)
{
    struct sigaction act = {.sa_handler = on_signal};
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &act, NULL);
    fflush(stdout);
    make_raw();
    if (is_raw)
        fprintf(stderr, "Connected to the console of %s; ^] leaves it.\r\n", domain);
    shuttle(fd);
    restore_terminal();
    close(fd);
    if (isatty(STDIN_FILENO))
        fputc('\n', stderr);
    if (signalled)
        return cli_error(err, VMUNDO_FAILED, "left the console of %s on signal %d; the domain is as it was", domain,
                         (int)signalled);
    return 0;
}
