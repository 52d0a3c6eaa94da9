/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-save.c: saving a paused guest, as a migration into a file. QEMU gets the file's descriptor over the QMP socket,
 * behind the room for its head (qemu-saved.h), so that it opens and starts nothing. RAM that is shared with a file
 * stays where it is; what is left to write are the devices, about 280 KiB.
 *
 * QEMU before 8.2 leaves a paused guest in the state "postmigrate". It can run on from there, but not be migrated again
 * before it has; so saved.json says where its state was saved, and saving it once more is copying that file.
 */
#include "hyper/qemu-saved.h"
#include "hyper/qemu.h"
#include "hyper/rundir.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/sendfile.h>

#define TIMEOUT_MS 10000u

/* ---- what is saved ---------------------------------------------------------------------------------------------- */

static int find_machine(const json_t *argv, struct strv *ret, struct vmundo_error *err)
{
    size_t n = json_array_size(argv);
    AUTO_FREE const char **items = calloc(n + 1, sizeof(*items));
    if (!items)
        return error_nomem(err);
    for (size_t i = 0; i < n; i++)
        if (!(items[i] = json_string_value(json_array_get(argv, i))))
            return error_set(err, VMUNDO_FAILED, "%s is damaged", RUNDIR_SPEC);
    return qemu_machine(items, n, ret, err) < 0 ? -1 : qemu_processor(items, n, ret, err);
}

/* From what QEMU was really started with. */
static int describe(int dirfd, struct qmp *q, const char *of, struct saved *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *spec = NULL;
    AUTO_FREE char *ram = NULL;
    if (rundir_get(dirfd, RUNDIR_SPEC, &spec, err) < 0 || json_opt_string(spec, "ram", &ram, err) < 0 ||
        find_machine(json_object_get(spec, "argv"), &ret->machine, err) < 0 || str_copy(of, &ret->of, err) < 0)
        return -1;
    ret->has_ram = !str_eq(ram, "shared");
    return qmp_version(q, &ret->qemu, err);
}

/* ---- the migration ---------------------------------------------------------------------------------------------- */

static int migration_status(struct qmp *q, char **ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    AUTO_FREE char *status = NULL, *why = NULL;
    if (qmp_call(q, "query-migrate", NULL, &o, err) < 0 || json_opt_string(o, "status", &status, err) < 0 ||
        json_opt_string(o, "error-desc", &why, err) < 0)
        return -1;
    AUTO_FREE char *safe = why ? str_escape(why, 400) : NULL;
    if (str_eq(status, "failed"))
        return error_set(err, VMUNDO_FAILED, "QEMU could not write the guest's state%s%s", safe ? ": " : "",
                         safe ? safe : "; is there space left?");
    *ret = status ? TAKE(status) : strdup("none");
    return *ret ? 0 : error_nomem(err);
}

static bool is_over(const char *status)
{
    return str_eq(status, "completed") || str_eq(status, "cancelled") || str_eq(status, "none");
}

static int await_written(struct qmp *q, struct vmundo_error *err)
{
    for (;; poll(NULL, 0, 1)) {
        AUTO_FREE char *status = NULL;
        if (migration_status(q, &status, err) < 0)
            return -1;
        if (str_eq(status, "completed"))
            return 0;
        if (str_eq(status, "cancelling") || is_over(status))
            return error_set(err, VMUNDO_CONFLICT, "the guest was let run before all of its state was saved");
    }
}

/* Completed is not yet over: for a moment "cont" would still be refused. */
static int await_paused(struct qmp *q, struct vmundo_error *err)
{
    for (;; poll(NULL, 0, 1)) {
        AUTO_FREE char *status = NULL;
        if (qmp_status(q, &status, err) < 0)
            return -1;
        if (str_eq(status, "running"))
            return error_set(err, VMUNDO_CONFLICT, "the guest was let run while it was being saved");
        if (!str_eq(status, "finish-migrate"))
            return 0;
    }
}

/* Return when QEMU writes no more, or does not answer. */
static void give_up(struct qmp *q)
{
    uint64_t deadline = sys_monotonic_ms() + q->timeout_ms;
    bool over = qmp_do(q, "migrate_cancel", NULL) < 0;
    while (!over && sys_monotonic_ms() < deadline) {
        AUTO_FREE char *status = NULL;
        over = migration_status(q, &status, NULL) < 0 || is_over(status);
        poll(NULL, 0, over ? 0 : 1);
    }
    await_paused(q, NULL);
}

static int migrate(struct qmp *q, int fd, bool with_ram, struct vmundo_error *err)
{
    json_t *no_limit = json_pack("{s:I}", "max-bandwidth", (json_int_t)1 << 40);
    if (qmp_call(q, "migrate-set-parameters", no_limit, NULL, err) < 0 || qmp_ignore_shared(q, !with_ram, err) < 0 ||
        qmp_give_fd(q, fd, "saved", err) < 0)
        return -1;
    if (qmp_call(q, "migrate", json_pack("{s:s}", "uri", "fd:saved"), NULL, err) == 0 && await_written(q, err) == 0 &&
        await_paused(q, err) == 0)
        return 0;
    give_up(q);
    return -1;
}

/* ---- once more -------------------------------------------------------------------------------------------------- */

/* Not being able to write this down is no reason to fail. */
static void remember(int dirfd, int fd, const char *path)
{
    struct stat st;
    AUTO_JSON json_t *o = fstat(fd, &st) < 0 ? NULL
                                             : json_pack("{s:s, s:I, s:I}", "path", path, "dev", (json_int_t)st.st_dev,
                                                         "ino", (json_int_t)st.st_ino);
    if (o)
        rundir_put(dirfd, RUNDIR_SAVED, o, NULL);
}

static int open_last(int dirfd, int *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    AUTO_FREE char *path = NULL;
    AUTO_CLOSE int fd = -1;
    AUTO_SAVED struct saved s = {0};
    uint64_t dev, ino;
    struct stat st;
    if (rundir_get(dirfd, RUNDIR_SAVED, &o, err) < 0 || json_get_string(o, "path", &path, err) < 0 ||
        json_get_u64(o, "dev", &dev, err) < 0 || json_get_u64(o, "ino", &ino, err) < 0 ||
        saved_open(path, &fd, &s, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0 || st.st_dev != dev || st.st_ino != ino)
        return error_set(err, VMUNDO_FAILED, "%s is another file", path);
    *ret = TAKE_FD(fd);
    return 0;
}

static int copy(int to, int from, struct vmundo_error *err)
{
    ssize_t n = 1;
    off_t at = 0;
    if (sys_ficlone(to, from) < 0)
        while ((n = sendfile(to, from, &at, (size_t)1 << 30)) > 0)
            ;
    return n < 0 || fdatasync(to) < 0 ? error_errno(err, errno, "cannot copy the guest's state") : 0;
}

static int save_again(int dirfd, int fd, const char *of, struct vmundo_error *err)
{
    AUTO_CLOSE int last = -1;
    struct vmundo_error e = {0};
    if (open_last(dirfd, &last, &e) < 0)
        return error_set(err, VMUNDO_CONFLICT,
                         "this QEMU saves a paused guest only once, and where that was cannot be "
                         "read (%s): let the guest run for a moment",
                         e.msg);
    return copy(fd, last, err) < 0 ? -1 : saved_give(fd, of, err);
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static int save_now(int dirfd, struct qmp *q, int fd, const char *path, const char *of, struct vmundo_error *err)
{
    AUTO_SAVED struct saved s = {0};
    if (describe(dirfd, q, of, &s, err) < 0 || saved_begin(fd, &s, err) < 0)
        return -1;
    unlinkat(dirfd, RUNDIR_SAVED, 0);
    if (migrate(q, fd, s.has_ram, err) < 0 || saved_finish(fd, &s, err) < 0)
        return -1;
    remember(dirfd, fd, path);
    return 0;
}

static int check_paused(const char *status, struct vmundo_error *err)
{
    static const char *const fine[] = {"paused", "prelaunch", "postmigrate", "io-error"};
    for (size_t n = 0; n < ARRAY_SIZE(fine); n++)
        if (str_eq(status, fine[n]))
            return 0;
    if (str_eq(status, "running"))
        return error_set(err, VMUNDO_CONFLICT, "the guest runs: it must be held or paused to be saved");
    return error_set(err, VMUNDO_CONFLICT, "the guest cannot be saved in this state (%s)", status);
}

int qemu_save(const struct instance *i, const char *path, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1, fd = -1;
    AUTO_QMP struct qmp q = QMP_INIT;
    AUTO_FREE char *status = NULL;
    if (qemu_open_live_dir(i, &dirfd, err) < 0 || qemu_qmp(dirfd, TIMEOUT_MS, &q, err) < 0 ||
        qmp_status(&q, &status, err) < 0 || check_paused(status, err) < 0)
        return -1;
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot create %s", path);
    int r = str_eq(status, "postmigrate") ? save_again(dirfd, fd, i->saved_of, err)
                                          : save_now(dirfd, &q, fd, path, i->saved_of, err);
    if (r < 0)
        unlink(path);
    return r;
}

uint64_t qemu_ram_size(const struct domain *d)
{
    return d->memory_mib << 20;
}
