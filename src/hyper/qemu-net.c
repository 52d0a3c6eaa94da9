/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-net.c: tap devices on a bridge. QEMU may not spawn anything, so it is not QEMU that calls its bridge helper; the
 * descriptor is made here and handed down.
 */
#include "hyper/qemu.h"

#include "util/process.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define HELPER_TIMEOUT_MS 10000
#define HELPER_FD 3

static bool is_bridge(const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/class/net/%.*s/bridge", IFNAMSIZ, name);
    return !strchr(name, '/') && access(path, F_OK) == 0;
}

int qemu_find_bridge(const struct domain_vif *vif, const char **ret, struct vmundo_error *err)
{
    static const char *const usual[] = {"xenbr0", "br0"}; /* xl's default, and that of QEMU's helper */
    if (vif->bridge) {
        if (!is_bridge(vif->bridge))
            return error_set(err, VMUNDO_FAILED, "vif: there is no bridge %s here; make it, or use --net user or none",
                             vif->bridge);
        *ret = vif->bridge;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
        if (is_bridge(usual[i])) {
            *ret = usual[i];
            return 0;
        }
    }
    return error_set(err, VMUNDO_FAILED,
                     "vif: there is no bridge xenbr0 or br0 here; name one with bridge=, or use "
                     "--net user or none");
}

/* ---- as root ---------------------------------------------------------------------------------------------------- */

/* A hardware address that starts with fe is never taken over by the bridge, whose own address would change with it. */
static int set_high_address(int sock, struct ifreq *ifr)
{
    if (ioctl(sock, SIOCGIFHWADDR, ifr) < 0)
        return -1;
    ifr->ifr_hwaddr.sa_data[0] = (char)0xfe;
    return ioctl(sock, SIOCSIFHWADDR, ifr);
}

static int plug_in(const struct ifreq *tap, const char *bridge)
{
    AUTO_CLOSE int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq ifr = *tap, br = {0};
    snprintf(br.ifr_name, sizeof(br.ifr_name), "%s", bridge);
    br.ifr_ifindex = (int)if_nametoindex(ifr.ifr_name);
    if (sock < 0 || set_high_address(sock, &ifr) < 0 || ioctl(sock, SIOCBRADDIF, &br) < 0 ||
        ioctl(sock, SIOCGIFMTU, &br) < 0)
        return -1;
    ifr.ifr_mtu = br.ifr_mtu;
    if (ioctl(sock, SIOCSIFMTU, &ifr) < 0 || ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
        return -1;
    ifr.ifr_flags = (short)(ifr.ifr_flags | IFF_UP);
    return ioctl(sock, SIOCSIFFLAGS, &ifr);
}

/* The kernel fills in a number for %d. *ret gets the name. */
static int open_tun(const char *name, struct ifreq *ret, int *ret_fd, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    *ret = (struct ifreq){.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    snprintf(ret->ifr_name, sizeof(ret->ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, ret) < 0)
        return error_errno(err, errno, "cannot make a tap device");
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int qemu_open_dead_tap(int *ret_fd, struct vmundo_error *err)
{
    struct ifreq ifr;
    if (geteuid() != 0)
        return error_set(err, VMUNDO_FAILED,
                         "only root can make a network that leads nowhere; connect it to its bridge (fork --network)");
    return open_tun("vmundo%d", &ifr, ret_fd, err);
}

static int make_tap(const struct domain_vif *vif, const char *bridge, int *ret_fd, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = -1;
    struct ifreq ifr;
    const char *name = vif->vifname ? vif->vifname : "vmundo%d";
    if (strlen(name) >= sizeof(ifr.ifr_name) || (vif->vifname && strchr(name, '%')))
        return error_set(err, VMUNDO_FAILED, "'%s' cannot be the name of a network device", name);
    if (open_tun(name, &ifr, &fd, err) < 0)
        return -1;
    if (plug_in(&ifr, bridge) < 0)
        return error_errno(err, errno, "cannot plug a tap device into %s", bridge);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* ---- as everyone else ------------------------------------------------------------------------------------------- */

static const char *find_helper(void)
{
    static const char *const places[] = {"/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper",
                                         "/usr/libexec/qemu/qemu-bridge-helper"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

/* One byte of data, and with it the descriptor: unix(7), cmsg(3). -1 when none comes. */
static int receive_fd(int sock)
{
    char byte;
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } u;
    struct iovec io = {&byte, 1};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u)};
    if (sys_wait_readable(sock, HELPER_TIMEOUT_MS) <= 0 ||
        TEMP_FAILURE_RETRY(recvmsg(sock, &m, MSG_CMSG_CLOEXEC)) <= 0)
        return -1;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    int fd = -1;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

/* What it said on its standard error, a pipe. */
static int helper_failed(int pipe, const char *bridge, struct vmundo_error *err)
{
    char said[512];
    ssize_t n = TEMP_FAILURE_RETRY(read(pipe, said, sizeof(said) - 1));
    said[n > 0 ? n : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    AUTO_FREE char *safe = str_escape(said, sizeof(said));
    return error_set(err, VMUNDO_FAILED,
                     "QEMU's bridge helper gives no access to %s: %s; /etc/qemu/bridge.conf must say "
                     "'allow %s'",
                     bridge, safe ? safe : "", bridge);
}

static int run_helper(const char *bridge, int ends[2], int out[2], int *ret_fd, struct vmundo_error *err)
{
    const char *helper = find_helper();
    AUTO_FREE char *br = str_printf(err, "--br=%s", bridge), *as = str_printf(err, "--fd=%d", HELPER_FD);
    if (!br || !as)
        return -1;
    if (!helper)
        return error_set(err, VMUNDO_FAILED, "qemu-bridge-helper is not installed: apt install qemu-system-common");
    const struct process_fd theirs = {ends[1], HELPER_FD};
    struct process_options o = PROCESS_OPTIONS_INIT;
    o.fds = &theirs;
    o.n_fds = 1;
    o.errout = out[1];
    pid_t pid;
    if (process_spawn((const char *const[]){helper, "--use-vnet", br, as, NULL}, &o, &pid, err) < 0)
        return -1;
    close(TAKE_FD(ends[1])); /* so that its end is noticed */
    close(TAKE_FD(out[1]));
    int fd = receive_fd(ends[0]);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (fd < 0)
        return helper_failed(out[0], bridge, err);
    *ret_fd = fd;
    return 0;
}

static void close_pair(int (*fds)[2])
{
    cleanup_close(&(*fds)[0]);
    cleanup_close(&(*fds)[1]);
}

static int ask_helper(const char *bridge, int *ret_fd, struct vmundo_error *err)
{
    CLEANUP(close_pair) int ends[2] = {-1, -1};
    CLEANUP(close_pair) int out[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 || pipe2(out, O_CLOEXEC) < 0)
        return error_errno(err, errno, "cannot talk to QEMU's bridge helper");
    return run_helper(bridge, ends, out, ret_fd, err);
}

int qemu_open_tap(const struct domain_vif *vif, int *ret_fd, struct vmundo_error *err)
{
    const char *bridge;
    if (qemu_find_bridge(vif, &bridge, err) < 0)
        return -1;
    return geteuid() == 0 ? make_tap(vif, bridge, ret_fd, err) : ask_helper(bridge, ret_fd, err);
}
