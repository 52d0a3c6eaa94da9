/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-tool: the xen driver on the command line, without the engine, for the scenarios: xen-tool ACTION DIR [ARGUMENT].
 *
 *     start DIR CFG         DIR/domain.cfg becomes a copy of CFG
 *     resume, pause, step-aside, destroy DIR
 *     shutdown DIR MS       prints "off" or "still running"
 *     state DIR             prints "running|paused|off PID HOW-IT-ENDED"
 *     cat DIR               the console on stdin and stdout, until stdin ends or the domain does; "connected" on stderr
 *     time DIR N            N times state: microseconds each
 *     in-use PATH           prints of which domain it is a disk, or "no"
 *     await NAME DOMID      waits until a domain of this name that is newer than DOMID runs; prints when, in milliseconds
 *     check DIR CFG         $XEN_TOOL_NET is the network, $XEN_TOOL_ACCEL the acceleration
 *
 * DIR is an instance's directory; its parent's name is the domain's. Errors go to stderr, and their code is the exit
 * status. $XEN_TOOL_WAIT: seconds that start waits before it does anything, so that a test can kill it in time.
 */
#include "config/config.h"
#include "hyper/drivers.h"
#include "hyper/xen-libxl.h"
#include "util/sys.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <poll.h>

#define AWAIT_TIMEOUT_MS 300000

static struct vmundo_error err;

static int copy_config(const char *from, const char *dir, struct domain *ret)
{
    AUTO_FREE char *text = NULL, *real = NULL;
    AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (config_load(from, &text, &real, &err) < 0 || config_parse(text, real, ret, &err) < 0)
        return -1;
    return sys_put_file(fd, "domain.cfg", text, strlen(text), &err);
}

static int print_state(const struct instance *i)
{
    static const char *const names[] = {[HYPER_OFF] = "off", [HYPER_RUNNING] = "running", [HYPER_PAUSED] = "paused"};
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    if (hyper_state(i, &s, &err) < 0)
        return -1;
    printf("%s %d %s\n", names[s.power], s.pid, s.ended ? s.ended : "-");
    return 0;
}

static int time_states(const struct instance *i, unsigned n)
{
    uint64_t begun = sys_monotonic_ms();
    for (unsigned k = 0; k < n; k++) {
        CLEANUP(hyper_status_clear) struct hyper_status s = {0};
        if (hyper_state(i, &s, &err) < 0)
            return -1;
    }
    printf("%" PRIu64 "\n", (sys_monotonic_ms() - begun) * 1000 / n);
    return 0;
}

/* false: that end is closed. */
static bool carry(int from, int to)
{
    char buf[4096];
    ssize_t n = read(from, buf, sizeof(buf));
    return n > 0 && write(to, buf, (size_t)n) == n;
}

static int cat_console(const struct instance *i)
{
    AUTO_CLOSE int fd = -1;
    if (hyper_console(i, &fd, &err) < 0)
        return -1;
    fputs("connected\n", stderr);
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    while (poll(p, 2, -1) > 0)
        if ((p[0].revents && !carry(fd, STDOUT_FILENO)) || (p[1].revents && !carry(STDIN_FILENO, fd)))
            break;
    return 0;
}

static int print_use(const char *path)
{
    AUTO_FREE char *who = NULL;
    if (hyper_disk_in_use(path, &who, &err) < 0)
        return -1;
    puts(who ? who : "no");
    return 0;
}

/* A newer domain of this name that has been let run; a cheap question to Xen before xenstore is asked for the name. */
static bool runs_newer(struct xen *x, const char *name, uint32_t older)
{
    int n = 0;
    bool found = false;
    libxl_dominfo *all = libxl_list_domain(x->ctx, &n);
    for (int k = 0; all && k < n; k++) {
        bool maybe = !found && all[k].domid > older && !all[k].paused && !all[k].dying;
        AUTO_FREE char *is = maybe ? libxl_domid_to_name(x->ctx, all[k].domid) : NULL;
        found = found || str_eq(is, name);
    }
    if (all)
        libxl_dominfo_list_free(all, n);
    return found;
}

static int await(const char *name, uint32_t older)
{
    AUTO_XEN struct xen x = XEN_INIT;
    uint64_t deadline = sys_monotonic_ms() + AWAIT_TIMEOUT_MS;
    if (xen_open(&x, &err) < 0)
        return -1;
    for (; sys_monotonic_ms() < deadline; poll(NULL, 0, 50))
        if (runs_newer(&x, name, older)) {
            printf("%" PRIu64 "\n", sys_realtime_ms());
            return 0;
        }
    return error_set(&err, VMUNDO_FAILED, "no new domain %s in time", name);
}

static int check(const struct instance *i)
{
    AUTO_STRV struct strv ignored = {0};
    return hyper_check(i->driver, i->domain, &i->options, &ignored, &err);
}

static int act(struct instance *i, struct domain *d, const char *action, const char *argument)
{
    unsigned number = argument ? (unsigned)strtoul(argument, NULL, 10) : 0;
    bool off;
    if (str_eq(action, "start") || str_eq(action, "check")) {
        domain_clear(d);
        if (copy_config(argument, i->dir, d) < 0)
            return -1;
        sleep(getenv("XEN_TOOL_WAIT") ? (unsigned)atoi(getenv("XEN_TOOL_WAIT")) : 0);
        return str_eq(action, "start") ? hyper_start(i, &err) : check(i);
    }
    if (str_eq(action, "resume"))
        return hyper_resume(i, &err);
    if (str_eq(action, "pause"))
        return hyper_pause(i, &err);
    if (str_eq(action, "step-aside"))
        return hyper_step_aside(i, &err);
    if (str_eq(action, "destroy"))
        return hyper_destroy(i, &err);
    if (str_eq(action, "cat"))
        return cat_console(i);
    if (str_eq(action, "time"))
        return time_states(i, number);
    if (str_eq(action, "state"))
        return print_state(i);
    if (!str_eq(action, "shutdown"))
        return error_set(&err, VMUNDO_USAGE, "no such action");
    if (hyper_shutdown(i, number, &off, &err) < 0)
        return -1;
    puts(off ? "off" : "still running");
    return 0;
}

static int run(int argc, char **argv)
{
    CLEANUP(domain_clear) struct domain d = {0};
    if (argc < 3)
        return error_set(&err, VMUNDO_USAGE, "xen-tool ACTION DIR [ARGUMENT]");
    if (str_eq(argv[1], "in-use"))
        return print_use(argv[2]);
    if (str_eq(argv[1], "await") && argc == 4)
        return await(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
    AUTO_FREE char *config = str_printf(&err, "%s/domain.cfg", argv[2]);
    AUTO_FREE char *copy = strdup(argv[2]);
    if (!config || !copy || str_copy(basename(dirname(copy)), &d.name, &err) < 0)
        return -1;
    struct instance i = {.driver = &hyper_xen,
                         .domain = &d,
                         .config = config,
                         .dir = argv[2],
                         .console_log = "/dev/null",
                         .options = {.accel = getenv("XEN_TOOL_ACCEL"), .net = getenv("XEN_TOOL_NET")}};
    return act(&i, &d, argv[1], argc > 3 ? argv[3] : NULL);
}

int main(int argc, char **argv)
{
    if (run(argc, argv) == 0)
        return 0;
    fprintf(stderr, "%s\n", err.msg);
    return (int)err.code;
}
