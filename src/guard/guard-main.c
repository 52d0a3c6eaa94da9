/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard-main.c: vmundo-guard STATE_DIR NAME, the process that watches the bounded branches of one running domain until
 * it is off. Started by the library when such a domain starts, with the lock that says so as its standard input; it needs
 * nothing but the public interface.
 */
#include "vmundo.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile int stop;

static void on_signal(int sig)
{
    (void)sig;
    stop = 1;
}

/* A busy host must not make us late. What we start is not meant, and without the right it stays as it is. */
static void get_ahead(void)
{
    struct sched_param p = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &p);
}

int main(int argc, char **argv)
{
    struct vmundo_error err = {0};
    struct vmundo *v = NULL;
    if (argc != 3) {
        fputs("usage: vmundo-guard STATE_DIR NAME\n", stderr);
        return VMUNDO_USAGE;
    }
    get_ahead();
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    struct vmundo_options o = {.state_dir = argv[1]};
    struct vmundo_guard_options g = {.name = argv[2], .until_off = true, .stop = &stop, .lock_fd = dup(STDIN_FILENO)};
    int r = vmundo_open(&o, &v, &err) < 0 || vmundo_guard(v, &g, &err) < 0 ? -1 : 0;
    vmundo_close(v);
    if (r < 0)
        fprintf(stderr, "vmundo-guard: %s\n", err.msg);
    return r < 0 ? (int)err.code : 0;
}
