/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sys.h: the only place with raw system calls that libc lacks or makes easy to misuse.
 *
 * Paths: a user's path is opened once with sys_open_parent() (no links, no races), and everything after works relative
 * to that descriptor.
 * Durability: sys_write_file() replaces a file atomically and returns when it would survive a power cut.
 */
#ifndef UTIL_SYS_H
#define UTIL_SYS_H

#include "util/error.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

/* openat2(2) with RESOLVE_NO_MAGICLINKS, plus resolve flags. Returns the descriptor (O_CLOEXEC is added), or -1 and
 * errno. */
int sys_openat2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve);

/* Open the directory that holds a canonical (symlink-free, absolute) path, refusing any symbolic link on the way.
 * *ret_base points into path. Errors: VMUNDO_FAILED. */
int sys_open_parent(const char *path, int *ret_dirfd, const char **ret_base, struct vmundo_error *err);

/* FICLONE: make dst share all of src's blocks. 0, or -1 and errno. ioctl_ficlone(2). */
int sys_ficlone(int dst, int src);

/* renameat2(2) with flags, within one directory descriptor pair. */
int sys_renameat2(int olddir, const char *old, int newdir, const char *new, unsigned flags);

/* fsync a directory, by descriptor. Filesystems that cannot (EINVAL) are taken for synchronous. */
int sys_fsync_dir(int dirfd);

/* Atomically replace dirfd/name by text (mode 0600), durable on return. name is one component. On the way there is a
 * .NAME.tmp, which the next call replaces if a crash leaves it behind: writers of one name must exclude each other. */
int sys_write_file(int dirfd, const char *name, const char *text, size_t len, struct vmundo_error *err);

/* The same without waiting for the disk: for what means nothing after a reboot. */
int sys_put_file(int dirfd, const char *name, const char *text, size_t len, struct vmundo_error *err);

/* Read a whole regular file of at most max bytes; the result is NUL-terminated and the caller's. *ret_len may be NULL.
 * Errors: VMUNDO_FAILED, errnum ENOENT, EFBIG, EISDIR … */
int sys_read_file(int dirfd, const char *name, size_t max, char **ret, size_t *ret_len, struct vmundo_error *err);
/* The same of what is open, from its offset on; name is for messages. */
int sys_read_fd(int fd, const char *name, size_t max, char **ret, size_t *ret_len, struct vmundo_error *err);

/* The next entry of a directory but "." and "..": 1, and *ret is it until the next call; 0 at the end; -1 and *err when the
 * directory cannot be read on, which is not the same as its end. */
int sys_next_entry(DIR *d, const struct dirent **ret, struct vmundo_error *err);

/* Remove directory dirfd/name (one component) with all that is in it, never crossing symbolic links or mounts: errnum
 * EXDEV when something is mounted on it or below. What is gone already is success. */
int sys_remove_tree(int dirfd, const char *name, struct vmundo_error *err);

/* mkdirat, success if it is there already as a real directory (not a link) owned by us with no permissions beyond
 * mode. Returns the open directory in *ret_fd (may be NULL). */
int sys_ensure_dir(int dirfd, const char *name, mode_t mode, int *ret_fd, struct vmundo_error *err);

/* Monotonic and wall-clock milliseconds. */
uint64_t sys_monotonic_ms(void);
int64_t sys_realtime_ms(void);

/* A process named so that reuse of its pid is noticed: start time in clock ticks since boot, /proc/PID/stat field 22. */
struct sys_process {
    pid_t pid;
    uint64_t start;
};
int sys_process_self(struct sys_process *ret);
int sys_process_of(pid_t pid, struct sys_process *ret);
/* A pidfd of that very process, or -1 and ESRCH when it is gone. */
int sys_process_open(const struct sys_process *p);
int sys_pidfd_signal(int pidfd, int sig);
/* For a process that stays when its terminal and who started it are gone: hang-ups, interrupts and terminations are
 * blocked, broken pipes are errors of write(2). */
void sys_outlive_terminal(void);
/* Wait until fd can be read, or as a pidfd until its process is gone: 1 it is so, 0 the time is up. timeout_ms < 0: for
 * ever. A signal does not end it. */
int sys_wait_readable(int fd, int timeout_ms);

/* A UNIX stream socket bound or connected at dirfd/name, however long the directory's path is. Returns the
 * descriptor or -1 and errno. The socket's file gets mode 0600; an old one in its place is EADDRINUSE.
 * Connecting fails with EAGAIN when for 2 s too many others wait already: the listener hangs. */
int sys_unix_listen(int dirfd, const char *name);
int sys_unix_connect(int dirfd, const char *name);

/* From now on madvise(2) with MADV_HUGEPAGE for a range of exactly that many bytes fails (EINVAL) in this process and its
 * children, who cannot gain privileges any more either: a file that is mapped in huge pages is written in huge pages, however
 * little of one has changed. 0, or -1 and errno. */
int sys_deny_huge_pages(uint64_t length);

/* Non-cryptographic 128 random bits as 32 hex digits from getrandom(2). */
int sys_random_hex(char out[33], struct vmundo_error *err);

#endif
