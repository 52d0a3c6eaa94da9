/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * process.h: the only place that forks.
 *
 * Programs are run by argument vector, never through a shell, with LC_ALL=C, a minimal environment, no inherited
 * descriptors but those named, and /dev/null or the caller's descriptors on 0-2. A test sees every argument vector by
 * setting a recorder.
 */
#ifndef UTIL_PROCESS_H
#define UTIL_PROCESS_H

#include "util/error.h"
#include "util/str.h"
#include "util/sys.h"

/* Descriptor `fd` of ours becomes descriptor `as` of the child. */
struct process_fd {
    int fd, as;
};

struct process_options {
    const char *cwd;                 /* NULL: / */
    int cwd_fd;                      /* used instead of cwd when cwd is NULL and > 0 */
    int in, out, errout;             /* descriptors for 0, 1, 2; -1: /dev/null */
    const struct process_fd *fds;    /* further descriptors, n_fds of them */
    size_t n_fds;
    const char *const *env;          /* NULL-terminated additions "K=V", may be NULL */
    bool new_session;                /* setsid() */
};
#define PROCESS_OPTIONS_INIT {.in = -1, .out = -1, .errout = -1}

/* Start argv[0] (searched in PATH if it has no slash). *ret_pid is a child to be waited for. Errors: VMUNDO_FAILED
 * with errnum ENOENT when there is no such program; exec failures are reported here, not by an exit status. */
int process_spawn(const char *const *argv, const struct process_options *o, pid_t *ret_pid, struct vmundo_error *err);

/* Run to the end. *ret_out (may be NULL) gets standard output, at most 16 MiB, NUL-terminated, the caller's. A non-zero
 * exit is an error that quotes the last line of standard error, escaped; more output than that has errnum EFBIG.
 * timeout_ms 0: none; when it is over the child gets SIGTERM (never SIGKILL), the call waits on, and unless the child
 * ends with status 0 all the same the error has errnum ETIMEDOUT. */
int process_run(const char *const *argv, unsigned timeout_ms, char **ret_out, struct vmundo_error *err);

/* As process_run, and calls on_line for each line (or carriage-return-separated part) of standard output as it comes,
 * unless it is empty; parts over 64 KiB come in pieces. */
typedef void (*process_line_fn)(void *data, const char *line);
int process_run_lines(const char *const *argv, process_line_fn on_line, void *data, struct vmundo_error *err);

/* The path of a program of ours that is no command ("vmundo-monitor"), the caller's: where it is installed, or in the
 * directory that VMUNDO_LIBEXEC_DIR names, unless we run with more rights than who called us. */
char *process_libexec(const char *program, struct vmundo_error *err);

/* Is there an executable of this name in PATH? */
bool process_have(const char *program);

/* Test hook: called with every argument vector. Returns true to run it for real; false makes process_spawn fail with
 * ECANCELED and process_run succeed with *ret_reply (malloc'd, may stay NULL) as its output. NULL removes it. */
typedef bool (*process_recorder_fn)(void *data, const char *const *argv, char **ret_reply);
void process_set_recorder(process_recorder_fn fn, void *data);

#endif
