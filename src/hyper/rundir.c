/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rundir.c: see rundir.h. */
#include "hyper/rundir.h"

#include "util/str.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#define MAX_FILE ((size_t)1 << 20)
#define RECORD_SIZE 160

int rundir_lock(int dirfd, const char *name)
{
    AUTO_CLOSE int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd < 0 || fcntl(fd, F_OFD_SETLK, &whole) < 0)
        return -1;
    return TAKE_FD(fd);
}

int rundir_is_locked(int dirfd, const char *name, bool *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd < 0 && errno == ENOENT) {
        *ret = false;
        return 0;
    }
    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &whole) < 0)
        return error_errno(err, errno, "cannot look at the lock %s", name);
    *ret = whole.l_type != F_UNLCK;
    return 0;
}

int rundir_put(int dirfd, const char *name, const json_t *o, struct vmundo_error *err)
{
    AUTO_FREE char *text = json_text(o, err);
    return text ? sys_put_file(dirfd, name, text, strlen(text), err) : -1;
}

int rundir_get(int dirfd, const char *name, json_t **ret, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    if (sys_read_file(dirfd, name, MAX_FILE, &text, NULL, err) < 0)
        return -1;
    return json_parse(text, name, ret, err);
}

json_t *rundir_process_json(const struct sys_process *p)
{
    return json_pack("{s:i, s:I}", "pid", p->pid, "start", (json_int_t)p->start);
}

int rundir_process_parse(const json_t *o, struct sys_process *ret, struct vmundo_error *err)
{
    uint64_t pid, start;
    if (json_get_u64(o, "pid", &pid, err) < 0 || json_get_u64(o, "start", &start, err) < 0)
        return -1;
    if (pid == 0 || pid > INT_MAX) /* which to kill(2) are many */
        return error_set(err, VMUNDO_FAILED, "member \"pid\" is not that of a process");
    *ret = (struct sys_process){.pid = (pid_t)pid, .start = start};
    return 0;
}

/* Written in place, as the lock is on this very file, and always at the same length, so that one write replaces it. */
int monitor_record_write(int fd, const struct monitor_record *r, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = rundir_process_json(&r->process);
    if (!o || json_object_set_new(o, "paused", json_boolean(r->paused)) < 0 ||
        json_object_set_new(o, "held", json_boolean(r->held)) < 0 ||
        json_object_set_new(o, "no_room", json_boolean(r->no_room)) < 0 ||
        json_object_set_new(o, "crowded", json_boolean(r->crowded)) < 0 ||
        json_object_set_new(o, "frozen", json_boolean(r->frozen)) < 0)
        return error_nomem(err);
    AUTO_FREE char *text = json_text(o, err);
    char record[RECORD_SIZE + 1];
    if (!text)
        return -1;
    snprintf(record, sizeof(record), "%-*s\n", RECORD_SIZE - 1, text);
    if (pwrite(fd, record, RECORD_SIZE, 0) != RECORD_SIZE)
        return error_errno(err, errno, "cannot write %s", RUNDIR_MONITOR_LOCK);
    return 0;
}

int monitor_record_read(int dirfd, struct monitor_record *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    struct sys_process process;
    if (rundir_get(dirfd, RUNDIR_MONITOR_LOCK, &o, err) < 0 || rundir_process_parse(o, &process, err) < 0)
        return -1;
    *ret = (struct monitor_record){process,
                                   json_opt_bool(o, "paused", false),
                                   json_opt_bool(o, "held", false),
                                   json_opt_bool(o, "no_room", false),
                                   json_opt_bool(o, "crowded", false),
                                   json_opt_bool(o, "frozen", false)};
    return 0;
}

/* ---- who holds a lock -------------------------------------------------------------------------------------------- */

/* Does the process have this file open, and hold the lock? proc(5) on fdinfo. Others only look at the lock. */
static bool holds_lock(const char *pid, const struct stat *file)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    AUTO_DIR DIR *d = opendir(path);
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!isdigit((unsigned char)e->d_name[0]) || fstatat(dirfd(d), e->d_name, &st, 0) < 0 ||
            st.st_dev != file->st_dev || st.st_ino != file->st_ino)
            continue;
        AUTO_FREE char *info = NULL;
        snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, e->d_name);
        if (sys_read_file(AT_FDCWD, path, 65536, &info, NULL, NULL) == 0 && strstr(info, "OFDLCK"))
            return true;
    }
    return false;
}

int rundir_lock_holder(int dirfd, const char *lock)
{
    struct stat file;
    if (fstatat(dirfd, lock, &file, 0) < 0) {
        errno = ESRCH;
        return -1;
    }
    AUTO_DIR DIR *proc = opendir("/proc");
    for (const struct dirent *e; proc && (e = readdir(proc));) {
        struct sys_process p;
        pid_t pid = isdigit((unsigned char)e->d_name[0]) ? (pid_t)atoi(e->d_name) : 0;
        if (pid > 0 && holds_lock(e->d_name, &file) && sys_process_of(pid, &p) == 0)
            return sys_process_open(&p);
    }
    errno = ESRCH;
    return -1;
}
