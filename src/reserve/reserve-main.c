/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reserve-main.c: vmundo-reserve STATE_DIR NAME, the short-lived process that makes a domain an instance in reserve,
 * after a command that nobody wants to wait for it. Started by the library; it needs nothing but the public interface.
 */
#include "vmundo.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    struct vmundo_error err = {0};
    struct vmundo *v = NULL;
    if (argc != 3) {
        fputs("usage: vmundo-reserve STATE_DIR NAME\n", stderr);
        return VMUNDO_USAGE;
    }
    struct vmundo_options o = {.state_dir = argv[1]};
    int r = vmundo_open(&o, &v, &err) < 0 || vmundo_reserve(v, argv[2], &err) < 0 ? -1 : 0;
    vmundo_close(v);
    if (r < 0)
        fprintf(stderr, "vmundo-reserve: %s\n", err.msg);
    return r < 0 ? (int)err.code : 0;
}
