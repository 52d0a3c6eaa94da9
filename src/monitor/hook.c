/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hook.c: vmundo-hook TIMEOUT_MS KEEP_MS N WORD..., the process that stays between a user's two commands around a
 * checkpoint: the first N words are the one before, the rest the one after (N 0, or no rest: there is none). Once the
 * first was begun the second is run, and once only, whatever becomes of the vmundo that has started us.
 *
 * We talk over HOOK_FD. When the first has ended we say {"ok": true}; then, when we are told anything, or the other end
 * is closed, or KEEP_MS are over, we run the second and say {"ok": true, "kept": did we wait until we were told}. When
 * either fails, or takes longer than TIMEOUT_MS, we say {"error": why}; a first that fails is followed by the second
 * nevertheless.
 */
#include "util/json.h"
#include "util/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define HOOK_FD 3
#define GRACE_MS 2000
#define TAIL 1024

/* What a command said last, escaped; NULL: nothing. */
static char *last_line(int output)
{
    char buf[TAIL + 1];
    off_t size = lseek(output, 0, SEEK_END);
    ssize_t n = pread(output, buf, TAIL, size > TAIL ? size - TAIL : 0);
    while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
        n--;
    if (n <= 0)
        return NULL;
    buf[n] = '\0';
    const char *line = strrchr(buf, '\n');
    return str_escape(line ? line + 1 : buf, 300);
}

/* It is a session of its own, so that all that it has started ends with it. */
static void end(pid_t pid, int pidfd)
{
    kill(-pid, SIGTERM);
    if (sys_wait_readable(pidfd, GRACE_MS) == 0)
        kill(-pid, SIGKILL);
}

static int judge(const char *program, int status, bool late, unsigned timeout_ms, int output, struct vmundo_error *err)
{
    if (late)
        return error_set(err, VMUNDO_FAILED, "%s took longer than %.1f s and was ended", program, timeout_ms / 1e3);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    AUTO_FREE char *said = last_line(output);
    return error_set(err, VMUNDO_FAILED, "%s failed with %s %d%s%s", program, WIFEXITED(status) ? "status" : "signal",
                     WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), said ? ": " : "", said ? said : "");
}

static int run(const char *const *argv, unsigned timeout_ms, struct vmundo_error *err)
{
    struct process_options o = PROCESS_OPTIONS_INIT;
    AUTO_CLOSE int output = memfd_create("hook", MFD_CLOEXEC);
    AUTO_CLOSE int pidfd = -1;
    struct sys_process p;
    pid_t pid;
    int status = 0;
    if (!argv[0])
        return 0;
    o.out = o.errout = output;
    o.new_session = true;
    if (process_spawn(argv, &o, &pid, err) < 0)
        return -1;
    if (sys_process_of(pid, &p) == 0)
        pidfd = sys_process_open(&p);
    bool late = pidfd >= 0 && sys_wait_readable(pidfd, (int)timeout_ms) == 0;
    if (late)
        end(pid, pidfd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return judge(argv[0], status, late, timeout_ms, output, err);
}

static void say(json_t *taken)
{
    AUTO_JSON json_t *o = taken;
    AUTO_FREE char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    AUTO_FREE char *line = text ? str_printf(NULL, "%s\n", text) : NULL;
    if (line)
        (void)send(HOOK_FD, line, strlen(line), MSG_NOSIGNAL);
}

static void say_error(const struct vmundo_error *e)
{
    say(json_pack("{s:s}", "error", e->msg));
}

/* Were we told, and not left alone? */
static bool wait_for_word(unsigned keep_ms)
{
    struct pollfd p = {.fd = HOOK_FD, .events = POLLIN};
    char c;
    int n;
    uint64_t deadline = sys_monotonic_ms() + keep_ms;
    do {
        uint64_t now = sys_monotonic_ms();
        n = poll(&p, 1, now < deadline ? (int)(deadline - now) : 0);
    } while (n < 0 && errno == EINTR);
    return n > 0 && recv(HOOK_FD, &c, 1, 0) == 1;
}

int main(int argc, char **argv)
{
    struct vmundo_error first = {0}, second = {0};
    int n = argc > 3 ? atoi(argv[3]) : -1;
    if (n < 0 || n > argc - 4 || fcntl(HOOK_FD, F_GETFD) < 0) {
        fputs("vmundo-hook is started by vmundo, not by hand\n", stderr);
        return VMUNDO_USAGE;
    }
    unsigned timeout_ms = (unsigned)strtoul(argv[1], NULL, 10), keep_ms = (unsigned)strtoul(argv[2], NULL, 10);
    AUTO_FREE const char **before = calloc((size_t)n + 1, sizeof(*before));
    if (!before)
        return VMUNDO_FAILED;
    for (int i = 0; i < n; i++)
        before[i] = argv[4 + i];
    sys_outlive_terminal();
    fcntl(HOOK_FD, F_SETFD, FD_CLOEXEC);
    bool kept = false;
    if (run(before, timeout_ms, &first) == 0) {
        say(json_pack("{s:b}", "ok", 1));
        kept = wait_for_word(keep_ms);
    }
    run((const char *const *)argv + 4 + n, timeout_ms, &second);
    if (first.code || second.code)
        say_error(first.code ? &first : &second);
    else
        say(json_pack("{s:b, s:b}", "ok", 1, "kept", kept));
    return first.code || second.code ? VMUNDO_FAILED : 0;
}
