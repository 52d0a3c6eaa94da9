/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hyper-tool: the hypervisor contract on the command line, for the tests: hyper-tool DRIVER ACTION DIR [CFG|ARGUMENT].
 *
 *     start DIR CFG         accel is tcg, the network $HYPER_TOOL_NET (default none); the console's log is
 *                           DIR/console.log; RAM file $HYPER_TOOL_RAM, private if $HYPER_TOOL_PRIVATE; from the saved
 *                           state $HYPER_TOOL_SAVED
 *     restore DIR CFG       start and resume: prints the milliseconds until it runs
 *     resume, pause, destroy, rewatch DIR
 *     shutdown DIR MS       prints "off" or "still running"
 *     state, glance DIR     prints "running|paused|off PID watched|unwatched HOW-IT-ENDED"
 *     hold DIR MS           holds the guest, prints "held", waits for a line on stdin, releases: "in time" or "too late"
 *     save DIR PATH
 *     checkpoint DIR PATH   flush the RAM file, hold, save to PATH, clone the RAM file to PATH.ram and each file of
 *                           $HYPER_TOOL_CLONE (FILE:COPY, or nothing), release: prints the milliseconds of the pause, and
 *                           "in time" or "too late"
 *     console DIR           prints "connected", waits for the end of stdin
 *     check CFG             prints what has no effect
 *     ram-size CFG          prints how large the RAM file must be
 *     time DIR N            N glances: microseconds each
 * Errors go to stderr as "CODE MESSAGE", and the exit status is the code.
 */
#include "config/config.h"
#include "hyper/hyper.h"
#include "util/sys.h"

#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

static struct vmundo_error err;

static int load(const char *path, struct domain *ret)
{
    AUTO_FREE char *text = NULL, *real = NULL;
    if (config_load(path, &text, &real, &err) < 0)
        return -1;
    return config_parse(text, real, ret, &err);
}

static int print_state(int r, const struct hyper_status *s)
{
    static const char *const names[] = {[HYPER_OFF] = "off", [HYPER_RUNNING] = "running", [HYPER_PAUSED] = "paused"};
    if (r == 0)
        printf("%s %d %s %s\n", names[s->power], s->pid, s->unwatched ? "unwatched" : "watched",
               s->ended ? s->ended : "-");
    return r;
}

static int hold(const struct instance *i, unsigned ms)
{
    int fd;
    bool held;
    if (hyper_hold(i, ms, false, &fd, &err) < 0)
        return -1;
    puts("held");
    fflush(stdout);
    getchar();
    if (hyper_release(i->driver, fd, &held, &err) < 0)
        return -1;
    puts(held ? "in time" : "too late");
    return 0;
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int clone_file(const char *from, const char *to)
{
    AUTO_CLOSE int src = open(from, O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int dst = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return src < 0 || dst < 0 || sys_ficlone(dst, src) < 0 ? error_errno(&err, errno, "cannot clone %s", from) : 0;
}

static int clone_all(const struct instance *i, const char *path)
{
    AUTO_FREE char *ram = str_printf(&err, "%s.ram", path), *disk = NULL;
    if (!ram || str_copy(getenv("HYPER_TOOL_CLONE"), &disk, &err) < 0 || (i->ram && clone_file(i->ram, ram) < 0))
        return -1;
    char *colon = disk ? strchr(disk, ':') : NULL;
    if (!colon)
        return 0;
    *colon = '\0';
    return clone_file(disk, colon + 1);
}

static int checkpoint(const struct instance *i, const char *path)
{
    AUTO_CLOSE int ram = i->ram ? open(i->ram, O_RDONLY | O_CLOEXEC) : -1;
    int fd;
    bool held = false;
    if (ram >= 0 && fdatasync(ram) < 0)
        return error_errno(&err, errno, "cannot flush %s", i->ram);
    double begun = now_ms();
    if (hyper_hold(i, 60000, true, &fd, &err) < 0)
        return -1;
    int r = hyper_save(i, path, &err);
    double saved = now_ms();
    r = r < 0 ? r : clone_all(i, path);
    double cloned = now_ms();
    if (hyper_release(i->driver, fd, &held, r < 0 ? NULL : &err) < 0 || r < 0)
        return -1;
    printf("%.1f %s (save %.1f, clone %.1f)\n", now_ms() - begun, held ? "in time" : "too late", saved - begun,
           cloned - saved);
    return 0;
}

static int restore(const struct instance *i)
{
    double begun = now_ms();
    if (hyper_start(i, &err) < 0 || hyper_resume(i, &err) < 0)
        return -1;
    printf("%.1f\n", now_ms() - begun);
    return 0;
}

static int console(const struct instance *i)
{
    AUTO_CLOSE int fd = -1;
    if (hyper_console(i, &fd, &err) < 0)
        return -1;
    puts("connected");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}

static int time_glances(const struct instance *i, unsigned n)
{
    uint64_t begun = sys_monotonic_ms();
    for (unsigned k = 0; k < n; k++) {
        CLEANUP(hyper_status_clear) struct hyper_status s = {0};
        if (hyper_glance(i, &s, &err) < 0)
            return -1;
    }
    printf("%" PRIu64 "\n", (sys_monotonic_ms() - begun) * 1000 / n);
    return 0;
}

static int act(struct instance *i, const char *action, const char *argument)
{
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    unsigned number = argument ? (unsigned)strtoul(argument, NULL, 10) : 0;
    bool off;
    if (str_eq(action, "start"))
        return hyper_start(i, &err);
    if (str_eq(action, "resume"))
        return hyper_resume(i, &err);
    if (str_eq(action, "pause"))
        return hyper_pause(i, &err);
    if (str_eq(action, "destroy"))
        return hyper_destroy(i, &err);
    if (str_eq(action, "rewatch"))
        return hyper_rewatch(i, &err);
    if (str_eq(action, "hold"))
        return hold(i, number);
    if (str_eq(action, "restore"))
        return restore(i);
    if (str_eq(action, "save"))
        return hyper_save(i, argument, &err);
    if (str_eq(action, "checkpoint"))
        return checkpoint(i, argument);
    if (str_eq(action, "console"))
        return console(i);
    if (str_eq(action, "time"))
        return time_glances(i, number);
    if (str_eq(action, "state"))
        return print_state(hyper_state(i, &s, &err), &s);
    if (str_eq(action, "glance"))
        return print_state(hyper_glance(i, &s, &err), &s);
    if (!str_eq(action, "shutdown"))
        return error_set(&err, VMUNDO_USAGE, "no such action");
    if (hyper_shutdown(i, number, &off, &err) < 0)
        return -1;
    puts(off ? "off" : "still running");
    return 0;
}

static int check(const struct instance *i)
{
    AUTO_STRV struct strv notes = {0};
    if (hyper_check(i->driver, i->domain, &i->options, &notes, &err) < 0)
        return -1;
    for (size_t n = 0; n < notes.n; n++)
        puts(notes.items[n]);
    return 0;
}

static int run(int argc, char **argv)
{
    CLEANUP(domain_clear) struct domain d = {0};
    AUTO_FREE char *log = NULL;
    if (argc < 4 || !hyper_find(argv[1]))
        return error_set(&err, VMUNDO_USAGE, "hyper-tool DRIVER ACTION DIR [CFG|ARGUMENT]");
    const char *net = getenv("HYPER_TOOL_NET");
    bool checks = str_eq(argv[2], "check"), starts = str_eq(argv[2], "start") || str_eq(argv[2], "restore");
    bool size = str_eq(argv[2], "ram-size");
    log = str_printf(&err, "%s/console.log", argv[3]);
    if (!log || (checks || starts || size ? load(argv[argc - 1], &d) : str_copy("test", &d.name, &err)) < 0)
        return -1;
    struct instance i = {.driver = hyper_find(argv[1]),
                         .domain = &d,
                         .dir = argv[3],
                         .console_log = log,
                         .options = {.accel = "tcg", .net = net ? net : "none"},
                         .ram = getenv("HYPER_TOOL_RAM"),
                         .ram_private = getenv("HYPER_TOOL_PRIVATE"),
                         .saved = getenv("HYPER_TOOL_SAVED")};
    if (size)
        return printf("%" PRIu64 "\n", hyper_ram_size(i.driver, &d)) < 0;
    return checks ? check(&i) : act(&i, argv[2], argc > 4 ? argv[4] : NULL);
}

int main(int argc, char **argv)
{
    if (run(argc, argv) == 0)
        return 0;
    fprintf(stderr, "%d %s\n", err.code, err.msg);
    return (int)err.code;
}
