/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-save.c: holding a domain, and saving it, as `xl save -p` does: the guest is suspended, all of its RAM is written,
 * and it is left paused. So, other than with QEMU, the guest runs until then, and it takes as long as its RAM takes to
 * be written. Whoever is killed meanwhile, vmundo-xen-hold lets it run again.
 */
#include "hyper/xen-save.h"

#include "hyper/rundir.h"
#include "hyper/sum.h"
#include "hyper/xen.h"

#include "util/process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define MAGIC "vmundo saved guest of Xen 1\n"
#define READY_MS 60000
#define MAX_SAVE_LOG ((size_t)1 << 20)

/* ---- hold -----------------------------------------------------------------------------------------------------------
 */

/* The word, without its end, that the holder says. Errors: VMUNDO_FAILED it ends without one. */
static int hear(int fd, int ms, char *word, size_t size, struct vmundo_error *err)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int r;
    while ((r = poll(&p, 1, ms)) < 0 && errno == EINTR)
        ;
    ssize_t n = r > 0 ? TEMP_FAILURE_RETRY(read(fd, word, size - 1)) : 0;
    if (n <= 0)
        return error_set(err, VMUNDO_FAILED, "vmundo-xen-hold %s", r > 0 ? "failed" : "does not answer");
    word[n] = '\0';
    word[strcspn(word, "\n")] = '\0';
    return 0;
}

/* xl: a pidfd of the one that watches the domain, -1: none. */
static int spawn_holder(int dirfd, uint32_t domid, int xl, unsigned ms, const char *how, int fd,
                        struct vmundo_error *err)
{
    AUTO_FREE char *program = process_libexec("vmundo-xen-hold", err);
    AUTO_FREE char *id = str_printf(err, "%u", domid), *time = str_printf(err, "%u", ms);
    AUTO_CLOSE int log = openat(dirfd, XEN_LOG, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
    const struct process_fd fds[] = {{xl, XL_FD_BACK_LOCK}};
    struct process_options o = PROCESS_OPTIONS_INIT;
    pid_t pid;
    o.fds = fds;
    o.n_fds = xl >= 0;
    if (!program || !id || !time)
        return -1;
    o.in = fd;
    o.errout = log;
    o.cwd_fd = dirfd;
    o.new_session = true;
    return process_spawn((const char *const[]){program, id, time, how, NULL}, &o, &pid, err);
}

int xen_hold(const struct instance *i, unsigned ms, bool saving, int *ret_fd, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    AUTO_XEN_RUN struct xen_run n = XEN_RUN_INIT;
    AUTO_CLOSE int ours = -1, theirs = -1, xl = -1;
    struct xen_domain is;
    char word[16];
    int pair[2];
    if (xen_open_live(i, &x, &is, err) < 0 || xen_run_open(i, &n, err) < 0)
        return -1;
    if (is.paused && saving)
        return error_set(err, VMUNDO_CONFLICT, "the guest is paused, and Xen can only save one that runs");
    xl = saving ? xen_run_pidfd(&n) : -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, errno, "cannot hold %s", i->domain->name);
    ours = pair[0];
    theirs = pair[1];
    if (spawn_holder(n.dirfd, is.domid, xl, ms, saving ? "wait" : is.paused ? "leave" : "pause", theirs, err) < 0)
        return -1;
    cleanup_close(&theirs);
    if (hear(ours, READY_MS, word, sizeof(word), err) < 0)
        return -1;
    *ret_fd = TAKE_FD(ours);
    return 0;
}

int xen_release(int fd, bool *ret_held, struct vmundo_error *err)
{
    AUTO_CLOSE int socket = fd;
    char word[16];
    ssize_t n = send(socket, "\n", 1, MSG_NOSIGNAL); /* if it has let it run, it says so, and may be gone */
    (void)n;
    if (hear(socket, READY_MS, word, sizeof(word), err) < 0)
        return -1;
    *ret_held = str_eq(word, "kept");
    return 0;
}

/* ---- the block behind it --------------------------------------------------------------------------------------------
 */

static int write_tail(int fd, const char *of, struct vmundo_error *err)
{
    char block[XEN_TAIL_SIZE] = "", sum[SUM_SIZE];
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot look at the saved state");
    uint64_t size = (uint64_t)st.st_size;
    if (sum_file(fd, 0, size, sum, err) < 0)
        return -1;
    AUTO_JSON json_t *o = json_pack("{s:s, s:I, s:s}", "of", of ? of : "", "size", (json_int_t)size, "sum", sum);
    AUTO_FREE char *text = o ? json_text(o, err) : NULL;
    if (!text)
        return error_nomem(err);
    snprintf(block, sizeof(block), MAGIC "%s\n", text);
    ssize_t n = pwrite(fd, block, sizeof(block), st.st_size);
    if (n != (ssize_t)sizeof(block) || fdatasync(fd) < 0)
        return error_errno(err, n >= 0 && n != (ssize_t)sizeof(block) ? ENOSPC : errno, "cannot write the saved state");
    return 0;
}

static int check_tail(int fd, const char *of, struct vmundo_error *err)
{
    char block[XEN_TAIL_SIZE + 1] = "", now[SUM_SIZE];
    AUTO_FREE char *sum = NULL, *whose = NULL;
    AUTO_JSON json_t *o = NULL;
    struct stat st;
    uint64_t size;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot look at it");
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)XEN_TAIL_SIZE)
        return error_set(err, VMUNDO_FAILED, "it is no complete saved state");
    uint64_t end = (uint64_t)st.st_size - XEN_TAIL_SIZE;
    if (sum_read(fd, block, XEN_TAIL_SIZE, end, err) < 0)
        return -1;
    if (!str_has_prefix(block, MAGIC))
        return error_set(err, VMUNDO_FAILED, "it is no complete saved state");
    if (json_parse(block + strlen(MAGIC), "what stands at its end", &o, err) < 0 ||
        json_get_string(o, "of", &whose, err) < 0 || json_get_string(o, "sum", &sum, err) < 0 ||
        json_get_u64(o, "size", &size, err) < 0)
        return -1;
    if (of && !str_eq(of, whose))
        return error_set(err, VMUNDO_CONFLICT, "it is that of another checkpoint (%s, and should be %s)", whose, of);
    if (size != end || sum_file(fd, 0, size, now, err) < 0 || !str_eq(sum, now))
        return error_set(err, VMUNDO_FAILED, "it is damaged: it is not what was written");
    return 0;
}

int xen_saved_check(const char *path, const char *of, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open the saved state %s", path);
    return check_tail(fd, of, err) < 0 ? error_wrap(err, "the saved state %s cannot be used", path) : 0;
}

/* ---- save -----------------------------------------------------------------------------------------------------------
 */

/* xl holds the lock as one of its descriptors, so that the holder waits for it even when we are gone. */
static int run_xl(int dirfd, uint32_t domid, const char *path, struct vmundo_error *err)
{
    AUTO_CLOSE int lock = rundir_lock(dirfd, XEN_SAVE_LOCK);
    AUTO_CLOSE int log = openat(dirfd, XEN_SAVE_LOG, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    AUTO_FREE char *id = str_printf(err, "%u", domid), *text = NULL;
    struct process_options o = PROCESS_OPTIONS_INIT;
    int status = 0;
    pid_t pid;
    if (lock < 0 || log < 0)
        return error_errno(err, errno, "cannot write %s", XEN_SAVE_LOG);
    const struct process_fd fds[] = {{lock, XL_FD_BACK_LOCK}};
    o.out = o.errout = log;
    o.fds = fds;
    o.n_fds = 1;
    o.new_session = true;
    if (!id || process_spawn((const char *const[]){"xl", "save", "-p", id, path, NULL}, &o, &pid, err) < 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    AUTO_FREE char *errors =
        sys_read_file(dirfd, XEN_SAVE_LOG, MAX_SAVE_LOG, &text, NULL, err) == 0 ? xl_log_errors(text, err) : NULL;
    return errors ? error_set(err, VMUNDO_FAILED, "xl save: %s", errors[0] ? errors : "it does not say why it failed")
                  : -1;
}

static int save_to(const struct instance *i, int fd, const char *path, struct vmundo_error *err)
{
    AUTO_XEN struct xen x = XEN_INIT;
    struct xen_domain is;
    AUTO_CLOSE int dir = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return error_errno(err, errno, "cannot open %s", i->dir);
    if (xen_open_live(i, &x, &is, err) < 0)
        return -1;
    if (is.paused)
        return error_set(err, VMUNDO_CONFLICT, "the guest is paused, and Xen can only save one that runs");
    return run_xl(dir, is.domid, path, err) < 0 ? -1 : write_tail(fd, i->saved_of, err);
}

int xen_save(const struct instance *i, const char *path, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot create %s", path);
    if (save_to(i, fd, path, err) == 0)
        return 0;
    unlink(path);
    return -1;
}
