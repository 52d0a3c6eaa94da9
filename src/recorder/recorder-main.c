/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recorder-main.c: vmundo-recorder STATE_DIR NAME, the process that records one running domain until it is off, or to
 * be recorded no longer. Started by the library, with the lock that says so as its standard input; it needs nothing but
 * the public interface.
 */
#include "vmundo.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile int stop;

static void on_signal(int sig)
{
    (void)sig;
    stop = 1;
}

int main(int argc, char **argv)
{
    struct vmundo_error err = {0};
    struct vmundo *v = NULL;
    if (argc != 3) {
        fputs("usage: vmundo-recorder STATE_DIR NAME\n", stderr);
        return VMUNDO_USAGE;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    struct vmundo_options o = {.state_dir = argv[1]};
    struct vmundo_recorder_options r = {.name = argv[2], .stop = &stop, .lock_fd = dup(STDIN_FILENO)};
    int failed = vmundo_open(&o, &v, &err) < 0 || vmundo_recorder(v, &r, &err) < 0;
    vmundo_close(v);
    if (failed)
        fprintf(stderr, "vmundo-recorder: %s\n", err.msg);
    return failed ? (int)err.code : 0;
}
