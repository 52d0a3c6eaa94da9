/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-console.c: connecting to the guest's serial console, one client at a time: QEMU would let a second one wait
 * without a word. What must live exactly as long as the client's descriptor is the claim to be that client; so the
 * claim is the name that this very socket is bound to, in the abstract namespace (unix(7)). A random token makes it a
 * name that no one outside the directory knows.
 */
#include "hyper/qemu.h"
#include "hyper/rundir.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

static int read_token(int dirfd, char token[33], struct vmundo_error *err)
{
    for (;;) {
        AUTO_CLOSE int fd = openat(dirfd, RUNDIR_CONSOLE_TOKEN, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && read(fd, token, 32) == 32) {
            token[32] = '\0';
            return 0;
        }
        if (fd >= 0 || errno != ENOENT)
            return error_errno(err, errno, "cannot read %s", RUNDIR_CONSOLE_TOKEN);
        /* Written under another name first: whoever is faster wins, and nobody reads half of it. */
        AUTO_FREE char *temp = NULL;
        if (sys_random_hex(token, err) < 0 || !(temp = str_printf(err, ".token-%s", token)) ||
            sys_write_file(dirfd, temp, token, 32, err) < 0)
            return -1;
        int r = linkat(dirfd, temp, dirfd, RUNDIR_CONSOLE_TOKEN, 0);
        int saved = errno;
        unlinkat(dirfd, temp, 0);
        if (r < 0 && saved != EEXIST)
            return error_errno(err, saved, "cannot write %s", RUNDIR_CONSOLE_TOKEN);
    }
}

static int claim(int dirfd, int fd, struct vmundo_error *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char token[33];
    if (read_token(dirfd, token, err) < 0)
        return -1;
    int n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "vmundo-console-%s", token);
    if (bind(fd, (const struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return error_errno(err, errno, "cannot claim the console");
    AUTO_JSON json_t *o = NULL;
    struct sys_process other;
    if (rundir_get(dirfd, RUNDIR_CONSOLE_USER, &o, NULL) == 0 && rundir_process_parse(o, &other, NULL) == 0)
        return error_set(err, VMUNDO_CONFLICT, "process %d has the console already", other.pid);
    return error_set(err, VMUNDO_CONFLICT, "another process has the console already");
}

int qemu_console(const struct instance *i, int *ret_fd, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1, fd = -1;
    struct sys_process self;
    if (qemu_open_live_dir(i, &dirfd, err) < 0 || qemu_connect(dirfd, RUNDIR_CONSOLE_SOCKET, &fd, err) < 0 ||
        claim(dirfd, fd, err) < 0)
        return -1;
    AUTO_JSON json_t *me = sys_process_self(&self) == 0 ? rundir_process_json(&self) : NULL;
    if (!me || rundir_put(dirfd, RUNDIR_CONSOLE_USER, me, err) < 0)
        return error_wrap(err, "cannot note who has the console");
    *ret_fd = TAKE_FD(fd);
    return 0;
}
