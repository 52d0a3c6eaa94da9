/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu.c: the driver for qemu-system-x86_64. Each instance is a QEMU process below a small monitor process
 * (src/monitor) that outlives the command. rundir.h says how they are found again. Here: what this host offers, what
 * the domain asks for, what state it is in, and everything that is a question to QEMU (over QMP) or to the monitor
 * (over its control socket).
 */
#include "hyper/qemu.h"
#include "hyper/drivers.h"
#include "hyper/rundir.h"

#include "util/process.h"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>

#define USER "vmundo-qemu" /* sysusers.d/vmundo.conf makes it */
#define COMMAND_TIMEOUT_MS 10000u
#define STATUS_TIMEOUT_MS 1000u
#define PRESS_AGAIN_MS 5000u /* the power button, should the guest not have been ready for it */

/* ---- this host -------------------------------------------------------------------------------------------------- */

static const char *program(void)
{
    const char *named = secure_getenv("VMUNDO_QEMU");
    return named && *named ? named : "qemu-system-x86_64";
}

/* A /dev/kvm that cannot virtualise exists where the CPU flags are missing: on some hosts that are guests themselves.
 */
static bool cpu_virtualises(void)
{
    AUTO_FCLOSE FILE *f = fopen("/proc/cpuinfo", "re");
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    while (f && getline(&line, &size, f) > 0)
        if (str_has_prefix(line, "flags"))
            return strstr(line, " vmx") || strstr(line, " svm");
    return false;
}

static bool have_kvm(void)
{
    AUTO_CLOSE int fd = cpu_virtualises() ? open("/dev/kvm", O_RDWR | O_CLOEXEC) : -1;
    return fd >= 0;
}

int qemu_processor(const char *const *argv, size_t n, struct strv *ret, struct vmundo_error *err)
{
    bool kvm = false;
    for (size_t i = 0; i + 1 < n; i++)
        kvm = kvm || (str_eq(argv[i], "-accel") && str_eq(argv[i + 1], "kvm"));
    AUTO_FCLOSE FILE *f = kvm ? fopen("/proc/cpuinfo", "re") : NULL;
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    while (f && getline(&line, &size, f) > 0)
        if (str_has_prefix(line, "model name") && strchr(line, ':'))
            return strv_addf(ret, err, "processor%.*s", (int)strcspn(strchr(line, ':'), "\n"), strchr(line, ':'));
    return 0;
}

/* Who QEMU becomes when root starts it. */
static int find_user(char ret[32], struct vmundo_error *err)
{
    const char *named = secure_getenv("VMUNDO_QEMU_USER");
    const char *const names[] = {named && *named ? named : USER, named && *named ? NULL : "nobody"};
    struct passwd p, *found = NULL;
    char text[4096];
    if (geteuid() != 0)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(names) && names[i] && !found; i++)
        getpwnam_r(names[i], &p, text, sizeof(text), &found);
    if (!found)
        return error_set(err, VMUNDO_FAILED, "there is no user %s for QEMU to run as", names[0]);
    if (found->pw_uid != 0)
        snprintf(ret, 32, "%u:%u", (unsigned)found->pw_uid, (unsigned)found->pw_gid);
    return 0;
}

static const char *find_ovmf(void)
{
    static const char *const places[] = {"/usr/share/ovmf/OVMF.fd", "/usr/share/qemu/OVMF.fd",
                                         "/usr/share/edk2/ovmf/OVMF.fd", "/usr/share/edk2-ovmf/OVMF.fd"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], R_OK) == 0)
            return places[i];
    return NULL;
}

static int parse_options(const struct hyper_options *o, struct qemu_host *h, struct vmundo_error *err)
{
    if (o->accel && !str_eq(o->accel, "kvm") && !str_eq(o->accel, "tcg"))
        return error_set(err, VMUNDO_USAGE, "no such acceleration '%s': kvm or tcg", o->accel);
    h->isolated = o->isolated;
    h->kvm = o->accel ? str_eq(o->accel, "kvm") : have_kvm();
    if (!o->net || str_eq(o->net, "bridge"))
        h->net = NET_BRIDGE;
    else if (str_eq(o->net, "user"))
        h->net = NET_USER;
    else if (str_eq(o->net, "none"))
        h->net = NET_NONE;
    else
        return error_set(err, VMUNDO_USAGE, "no such network '%s': bridge, user or none", o->net);
    return 0;
}

int qemu_host(const struct domain *d, const struct hyper_options *o, struct qemu_host *ret, bool **ret_is_block,
              struct vmundo_error *err)
{
    AUTO_FREE bool *is_block = calloc(d->n_disks + 1, sizeof(*is_block));
    struct qemu_host h = {.program = program(), .ovmf = find_ovmf(), .is_block = is_block};
    if (!is_block)
        return error_nomem(err);
    for (size_t i = 0; i < d->n_disks; i++) {
        struct stat st;
        is_block[i] = d->disks[i].target && stat(d->disks[i].target, &st) == 0 && S_ISBLK(st.st_mode);
    }
    if (parse_options(o, &h, err) < 0 || find_user(h.run_as, err) < 0)
        return -1;
    *ret = h;
    *ret_is_block = TAKE(is_block);
    return 0;
}

static int available(struct vmundo_error *err)
{
    if (process_have(program()))
        return 0;
    error_set(err, VMUNDO_FAILED, "%s is not installed: apt install qemu-system-x86", program());
    if (err)
        err->errnum = ENOENT;
    return -1;
}

static int check_readable(const char *key, const char *path, struct vmundo_error *err)
{
    if (path && access(path, R_OK) < 0)
        return error_errno(err, errno, "%s: cannot read %s", key, path);
    return 0;
}

static int check(const struct domain *d, const struct hyper_options *o, struct strv *ignored, struct vmundo_error *err)
{
    AUTO_STRV struct strv argv = {0};
    AUTO_FREE bool *is_block = NULL;
    struct qemu_host h;
    if (qemu_host(d, o, &h, &is_block, err) < 0 || check_readable("kernel", d->kernel, err) < 0 ||
        check_readable("ramdisk", d->ramdisk, err) < 0 || qemu_argv(d, &h, &argv, err) < 0)
        return -1;
    for (size_t i = 0; h.net == NET_BRIDGE && !h.isolated && i < d->n_vifs; i++) {
        const char *bridge;
        if (qemu_find_bridge(&d->vifs[i], &bridge, err) < 0)
            return -1;
    }
    return qemu_notes(d, &h, ignored, err);
}

/* ---- finding it again ------------------------------------------------------------------------------------------- */

int qemu_open_dir(const struct instance *i, int *ret_fd, struct vmundo_error *err)
{
    int fd = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", i->dir);
    *ret_fd = fd;
    return 0;
}

static int is_off(struct vmundo_error *err)
{
    return error_set(err, VMUNDO_CONFLICT, "the domain is off");
}

/* For what needs a running domain: without its directory it is off. */
int qemu_open_live_dir(const struct instance *i, int *ret_fd, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    if (qemu_open_dir(i, ret_fd, &e) == 0)
        return 0;
    return e.errnum == ENOENT ? is_off(err) : error_set(err, e.code, "%s", e.msg);
}

int qemu_connect(int dirfd, const char *name, int *ret_fd, struct vmundo_error *err)
{
    int fd = sys_unix_connect(dirfd, name);
    if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED))
        return is_off(err);
    if (fd < 0 && errno == EAGAIN)
        return error_set(err, VMUNDO_FAILED, "QEMU does not answer, and too many others wait for it already");
    if (fd < 0)
        return error_errno(err, errno, "cannot connect to %s", name);
    *ret_fd = fd;
    return 0;
}

int qemu_qmp(int dirfd, unsigned timeout_ms, struct qmp *ret, struct vmundo_error *err)
{
    AUTO_QMP struct qmp q = QMP_INIT;
    q.timeout_ms = timeout_ms;
    if (qemu_connect(dirfd, RUNDIR_QMP_SOCKET, &q.fd, err) < 0)
        return -1;
    if (qmp_start(&q, err) < 0)
        return err && err->errnum == ECONNRESET ? is_off(err) : -1; /* it ended while we waited for our turn */
    *ret = q;
    q = (struct qmp)QMP_INIT;
    return 0;
}

/* ---- state ------------------------------------------------------------------------------------------------------ */

/* qemu.pid and not end.json: nobody was there to see the end. */
static int read_end(int dirfd, char **ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *end = NULL;
    struct vmundo_error e = {0};
    if (rundir_get(dirfd, RUNDIR_END, &end, &e) == 0)
        return json_get_string(end, "ended", ret, err);
    if (e.errnum != ENOENT)
        return error_set(err, e.code, "%s", e.msg);
    if (faccessat(dirfd, RUNDIR_QEMU_PID, F_OK, 0) < 0)
        return 0;
    return str_copy("ended together with its monitor: killed, or the host was restarted", ret, err);
}

static int fill_running(int dirfd, struct hyper_status *s, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    struct monitor_record record = {0};
    struct sys_process p;
    uint64_t since;
    s->power = HYPER_RUNNING;
    if (!s->unwatched && monitor_record_read(dirfd, &record, NULL) == 0 && record.paused) {
        s->power = HYPER_PAUSED;
        s->no_room = record.no_room || record.crowded;
    }
    if (rundir_get(dirfd, RUNDIR_QEMU_PID, &o, NULL) < 0)
        return 0; /* it has only just been spawned */
    if (rundir_process_parse(o, &p, err) < 0 || json_get_u64(o, "since", &since, err) < 0)
        return -1;
    s->pid = p.pid;
    s->since = (int64_t)since;
    return 0;
}

static int glance_dir(int dirfd, struct hyper_status *ret, bool *ret_watched, struct vmundo_error *err)
{
    struct hyper_status s = {.power = HYPER_OFF};
    bool runs;
    if (rundir_is_locked(dirfd, RUNDIR_MONITOR_LOCK, ret_watched, err) < 0 ||
        rundir_is_locked(dirfd, RUNDIR_QEMU_LOCK, &runs, err) < 0)
        return -1;
    s.unwatched = runs && !*ret_watched;
    if (runs ? fill_running(dirfd, &s, err) < 0 : read_end(dirfd, &s.ended, err) < 0)
        return -1;
    *ret = s;
    return 0;
}

static int glance(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    struct vmundo_error e = {0};
    bool watched;
    if (qemu_open_dir(i, &dirfd, &e) == 0)
        return glance_dir(dirfd, ret, &watched, err);
    if (e.errnum != ENOENT)
        return error_set(err, e.code, "%s", e.msg);
    *ret = (struct hyper_status){.power = HYPER_OFF};
    return 0;
}

/* What QEMU calls the guest's state, in our words. */
static int apply_status(const char *status, struct hyper_status *s, struct vmundo_error *err)
{
    s->power = str_eq(status, "running") || str_eq(status, "suspended") ? HYPER_RUNNING : HYPER_PAUSED;
    if (str_eq(status, "shutdown"))
        return str_copy("guest powered off", &s->ended, err);
    if (str_eq(status, "guest-panicked"))
        return str_copy("guest crashed", &s->ended, err);
    return 0;
}

static int state(const struct instance *i, struct hyper_status *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    CLEANUP(hyper_status_clear) struct hyper_status s = {0};
    struct vmundo_error e = {0};
    bool watched = true;
    if (qemu_open_dir(i, &dirfd, &e) < 0)
        return glance(i, ret, err);
    if (glance_dir(dirfd, &s, &watched, err) < 0)
        return -1;
    /* QEMU is gone and the monitor is not: it is about to write down how it ended. */
    for (int n = 0; n < 100 && s.power == HYPER_OFF && watched; n++) {
        hyper_status_clear(&s);
        poll(NULL, 0, 10);
        if (glance_dir(dirfd, &s, &watched, err) < 0)
            return -1;
    }
    AUTO_QMP struct qmp q = QMP_INIT;
    AUTO_FREE char *status = NULL;
    /* A QEMU that is too busy to answer runs, as the glance said. */
    if (s.power != HYPER_OFF && qemu_qmp(dirfd, STATUS_TIMEOUT_MS, &q, NULL) == 0 &&
        qmp_status(&q, &status, NULL) == 0 && apply_status(status, &s, err) < 0)
        return -1;
    *ret = s;
    s = (struct hyper_status){0};
    return 0;
}

/* ---- asking QEMU ------------------------------------------------------------------------------------------------ */

static int ask(const struct instance *i, struct qmp *q, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    return qemu_open_live_dir(i, &dirfd, err) < 0 ? -1 : qemu_qmp(dirfd, COMMAND_TIMEOUT_MS, q, err);
}

static int resume(const struct instance *i, struct vmundo_error *err)
{
    AUTO_QMP struct qmp q = QMP_INIT;
    return ask(i, &q, err) < 0 ? -1 : qmp_cont(&q, err);
}

static int pause_it(const struct instance *i, struct vmundo_error *err)
{
    AUTO_QMP struct qmp q = QMP_INIT;
    return ask(i, &q, err) < 0 ? -1 : qmp_do(&q, "stop", err);
}

/* ---- asking the monitor ----------------------------------------------------------------------------------------- */

/* Send the request, which is taken, and take the answer. */
static int control_within(int fd, json_t *request, unsigned ms, json_t **ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = request;
    AUTO_FREE char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    AUTO_FREE char *line = text ? str_printf(err, "%s\n", text) : NULL;
    char answer[1024];
    if (!line)
        return error_nomem(err);
    if (TEMP_FAILURE_RETRY(send(fd, line, strlen(line), MSG_NOSIGNAL)) != (ssize_t)strlen(line))
        return error_errno(err, errno, "the monitor does not listen");
    /* The monitor writes an answer whole. */
    ssize_t n = sys_wait_readable(fd, (int)ms) > 0 ? TEMP_FAILURE_RETRY(recv(fd, answer, sizeof(answer) - 1, 0)) : -1;
    if (n <= 0)
        return error_set(err, VMUNDO_FAILED, "the monitor does not answer");
    answer[n] = '\0';
    AUTO_JSON json_t *a = NULL;
    AUTO_FREE char *refusal = NULL;
    uint64_t code;
    if (json_parse(answer, "the monitor's answer", &a, err) < 0 || json_opt_string(a, "error", &refusal, err) < 0 ||
        json_opt_u64(a, "code", VMUNDO_FAILED, &code, err) < 0)
        return -1;
    if (refusal)
        return error_set(err, (enum vmundo_code)code, "%s", refusal);
    if (ret)
        *ret = TAKE(a);
    return 0;
}

/* Send {key: value} and take the answer, which comes at once. */
static int control(int fd, const char *key, json_t *value, json_t **ret, struct vmundo_error *err)
{
    return control_within(fd, json_pack("{s:o}", key, value), COMMAND_TIMEOUT_MS, ret, err);
}

static int hold(const struct instance *i, unsigned ms, bool saving, int *ret_fd, struct vmundo_error *err)
{
    (void)saving; /* it is paused first, and then saved */
    AUTO_CLOSE int dirfd = -1, fd = -1;
    if (qemu_open_live_dir(i, &dirfd, err) < 0 || qemu_connect(dirfd, RUNDIR_CONTROL_SOCKET, &fd, err) < 0 ||
        control(fd, "hold", json_integer(ms), NULL, err) < 0)
        return -1;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int release(int fd, bool *ret_held, struct vmundo_error *err)
{
    AUTO_CLOSE int owned = fd;
    AUTO_JSON json_t *answer = NULL;
    if (control(owned, "release", json_true(), &answer, err) < 0)
        return -1;
    *ret_held = json_opt_bool(answer, "held", false);
    return 0;
}

/* The agent in the guest has its time, and then some for the monitor to tell us. */
static int freeze(const struct instance *i, unsigned wait_ms, unsigned keep_ms, int *ret_fd, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1, fd = -1;
    if (qemu_open_live_dir(i, &dirfd, err) < 0 || qemu_connect(dirfd, RUNDIR_CONTROL_SOCKET, &fd, err) < 0)
        return -1;
    json_t *request = json_pack("{s:i, s:i}", "freeze", (int)keep_ms, "wait", (int)wait_ms);
    if (control_within(fd, request, wait_ms + COMMAND_TIMEOUT_MS, NULL, err) < 0)
        return -1;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int thaw(int fd, bool *ret_frozen, struct vmundo_error *err)
{
    AUTO_CLOSE int owned = fd;
    AUTO_JSON json_t *answer = NULL;
    if (control(owned, "thaw", json_true(), &answer, err) < 0)
        return -1;
    *ret_frozen = json_opt_bool(answer, "frozen", false);
    return 0;
}

static int wake(const struct instance *i, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1, fd = -1;
    return qemu_open_live_dir(i, &dirfd, err) < 0 || qemu_connect(dirfd, RUNDIR_CONTROL_SOCKET, &fd, err) < 0
               ? -1
               : control(fd, "wake", json_true(), NULL, err);
}

/* ---- shutting down ---------------------------------------------------------------------------------------------- */

/* Press the button, wait; *ret_off as in hyper.h. */
static int press_and_wait(int dirfd, int pidfd, unsigned timeout_ms, bool *ret_off, struct vmundo_error *err)
{
    uint64_t deadline = sys_monotonic_ms() + timeout_ms;
    for (uint64_t now = sys_monotonic_ms();; now = sys_monotonic_ms()) {
        AUTO_QMP struct qmp q = QMP_INIT;
        struct vmundo_error e = {0};
        if ((qemu_qmp(dirfd, COMMAND_TIMEOUT_MS, &q, &e) < 0 || qmp_do(&q, "system_powerdown", &e) < 0) &&
            e.code != VMUNDO_CONFLICT && e.errnum != ECONNRESET) /* those two: it is ending */
            return error_set(err, e.code, "%s", e.msg);
        uint64_t left = now < deadline ? deadline - now : 0;
        if (sys_wait_readable(pidfd, (int)(left < PRESS_AGAIN_MS ? left : PRESS_AGAIN_MS)) > 0) {
            *ret_off = true;
            return 0;
        }
        if (left <= PRESS_AGAIN_MS) {
            *ret_off = false;
            return 0;
        }
    }
}

/* A paused guest hears no power button. One that has powered off and was preserved only needs its process ended. */
static int check_listens(int dirfd, bool *ret_ended, struct vmundo_error *err)
{
    AUTO_QMP struct qmp q = QMP_INIT;
    AUTO_FREE char *status = NULL;
    if (qemu_qmp(dirfd, COMMAND_TIMEOUT_MS, &q, err) < 0 || qmp_status(&q, &status, err) < 0)
        return -1;
    *ret_ended = str_eq(status, "shutdown") || str_eq(status, "guest-panicked");
    if (*ret_ended || str_eq(status, "running") || str_eq(status, "suspended"))
        return 0;
    return error_set(err, VMUNDO_CONFLICT, "the guest is paused (%s) and cannot shut down: let it run, or use force",
                     status);
}

static int shutdown_it(const struct instance *i, unsigned timeout_ms, bool *ret_off, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1, pidfd = -1, monitor = -1;
    struct vmundo_error e = {0};
    bool runs = false, ended = false;
    if (qemu_open_dir(i, &dirfd, &e) < 0 && e.errnum != ENOENT)
        return error_set(err, e.code, "%s", e.msg);
    if (dirfd >= 0 && rundir_is_locked(dirfd, RUNDIR_QEMU_LOCK, &runs, err) < 0)
        return -1;
    pidfd = runs ? qemu_pidfd(dirfd) : -1;
    if (pidfd < 0) {
        *ret_off = true;
        return 0;
    }
    if (check_listens(dirfd, &ended, &e) < 0 && sys_wait_readable(pidfd, 0) == 0)
        return error_set(err, e.code, "%s", e.msg);
    if (ended) {
        *ret_off = true;
        return qemu_destroy(i, err);
    }
    /* For as long as this connection lasts, off means off, even with on_poweroff="restart". Without a monitor only
     * QEMU's own handling is left, which is to end. */
    if (qemu_connect(dirfd, RUNDIR_CONTROL_SOCKET, &monitor, NULL) == 0)
        control(monitor, "stopping", json_true(), NULL, NULL);
    return press_and_wait(dirfd, pidfd, timeout_ms, ret_off, err);
}

const struct hyper_driver hyper_qemu = {
    .name = "qemu",
    .flags = HYPER_SIDE_BY_SIDE | HYPER_ISOLATES,
    .available = available,
    .check = check,
    .start = qemu_start,
    .load = qemu_load,
    .resume = resume,
    .pause = pause_it,
    .step_aside = qemu_step_aside,
    .shutdown = shutdown_it,
    .destroy = qemu_destroy,
    .state = state,
    .glance = glance,
    .hold = hold,
    .release = release,
    .freeze = freeze,
    .thaw = thaw,
    .wake = wake,
    .save = qemu_save,
    .move = qemu_move,
    .moved = qemu_moved,
    .merge = qemu_merge,
    .merging = qemu_merging,
    .unmerge = qemu_unmerge,
    .ram_size = qemu_ram_size,
    .console = qemu_console,
    .rewatch = qemu_rewatch,
};
