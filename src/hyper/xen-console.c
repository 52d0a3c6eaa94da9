/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-console.c: connecting to a guest's console, which is a terminal that xenconsoled (or a device model) has made for
 * it. We open that terminal ourselves, which spares the process `xl console`; what is handed out is the descriptor of
 * the terminal, which reads and writes as a socket does. One client at a time: two would each get a part of what the
 * guest says. Our own exclude each other by flock(2) on the terminal, which lasts exactly as long as the descriptor; xl
 * console takes a lock file.
 */
#include "hyper/xen.h"

#include "util/sys.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <termios.h>

#define APPEAR_TIMEOUT_MS 5000u
#define POLL_MS 10
#define XL_LOCK "/var/lock/xenconsole.%u"

/* xenconsoled needs a moment after the domain was made. *ret is the caller's. */
static int find_terminal(struct xen *x, uint32_t domid, char **ret, struct vmundo_error *err)
{
    uint64_t deadline = sys_monotonic_ms() + APPEAR_TIMEOUT_MS;
    for (;;) {
        AUTO_FREE char *path = NULL;
        int rc = libxl_primary_console_get_tty(x->ctx, domid, &path);
        if (rc == 0 && path && path[0] == '/') {
            *ret = TAKE(path);
            return 0;
        }
        if (sys_monotonic_ms() > deadline)
            return xen_error(x, rc, err, "Xen's domain %u has no console", domid);
        poll(NULL, 0, POLL_MS);
    }
}

static bool xl_has_it(uint32_t domid)
{
    char path[64];
    snprintf(path, sizeof(path), XL_LOCK, domid);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static int make_raw(int fd)
{
    struct termios t;
    if (tcgetattr(fd, &t) < 0)
        return -1;
    cfmakeraw(&t);
    return tcsetattr(fd, TCSANOW, &t);
}

static int open_terminal(const char *path, int *ret_fd, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open the console %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, VMUNDO_CONFLICT, "another process has the console %s already", path);
    if (make_raw(fd) < 0)
        return error_errno(err, errno, "%s is no terminal", path);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int xen_console(const struct instance *i, int *ret_fd, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    AUTO_FREE char *path = NULL;
    struct xen_domain is;
    if (xen_open_live(i, &x, &is, err) < 0 || find_terminal(&x, is.domid, &path, err) < 0)
        return -1;
    if (xl_has_it(is.domid))
        return error_set(err, VMUNDO_CONFLICT, "an 'xl console' has the console already");
    return open_terminal(path, ret_fd, err);
}
