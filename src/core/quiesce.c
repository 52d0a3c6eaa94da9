/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * quiesce.c: see quiesce.h. First what the user wants, then the two commands, then all of it together.
 */
#include "core/quiesce.h"

#include "util/cleanup.h"
#include "util/json.h"
#include "util/process.h"
#include "util/sys.h"

#include <sys/socket.h>
#include <sys/wait.h>

#define DEFAULT_MS 10000u
#define MAX_MS 600000u
#define GRACE_MS 5000u /* for vmundo-hook to end what does not end by itself, and to tell us */
#define HOOK_FD 3

/* ---- what is wanted -------------------------------------------------------------------------------------------------
 */

void quiesce_wish_clear(struct quiesce_wish *w)
{
    strv_clear(&w->before);
    strv_clear(&w->after);
}

static int parse_command(const char *option, const char *text, struct strv *ret, struct vmundo_error *err)
{
    if (!text)
        return 0;
    if (str_split_words(text, ret, err) < 0)
        return error_wrap(err, "--%s", option);
    if (ret->n == 0)
        return error_set(err, VMUNDO_USAGE, "--%s wants a program and its arguments", option);
    return process_have(ret->items[0])
               ? 0
               : error_set(err, VMUNDO_USAGE, "--%s: there is no program %s", option, ret->items[0]);
}

int quiesce_parse(bool freeze, const char *before, const char *after, unsigned timeout_ms, struct quiesce_wish *ret,
                  struct vmundo_error *err)
{
    CLEANUP(quiesce_wish_clear)
    struct quiesce_wish w = {.freeze = freeze, .timeout_ms = timeout_ms ? timeout_ms : DEFAULT_MS};
    if (w.timeout_ms > MAX_MS)
        return error_set(err, VMUNDO_USAGE, "a guest cannot be kept waiting for more than %u s", MAX_MS / 1000);
    if (parse_command("before", before, &w.before, err) < 0 || parse_command("after", after, &w.after, err) < 0)
        return -1;
    *ret = w;
    w = (struct quiesce_wish){0};
    return 0;
}

/* ---- the two commands -----------------------------------------------------------------------------------------------
 */

static int hook_argv(const struct quiesce_wish *w, unsigned keep_ms, struct strv *ret, struct vmundo_error *err)
{
    if (strv_take(ret, process_libexec("vmundo-hook", err), err) < 0 ||
        strv_addf(ret, err, "%u", w->timeout_ms) < 0 || strv_addf(ret, err, "%u", keep_ms) < 0 ||
        strv_addf(ret, err, "%zu", w->before.n) < 0)
        return -1;
    for (size_t i = 0; i < w->before.n; i++)
        if (strv_add(ret, w->before.items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < w->after.n; i++)
        if (strv_add(ret, w->after.items[i], err) < 0)
            return -1;
    return 0;
}

static int spawn_hook(const struct quiesce_wish *w, unsigned keep_ms, struct quiesce *q, struct vmundo_error *err)
{
    AUTO_STRV struct strv argv = {0};
    AUTO_CLOSE int ours = -1, theirs = -1;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return error_errno(err, errno, "cannot make a socket");
    ours = ends[0];
    theirs = ends[1];
    struct process_options o = PROCESS_OPTIONS_INIT;
    const struct process_fd fd = {theirs, HOOK_FD};
    o.fds = &fd;
    o.n_fds = 1;
    o.new_session = true;
    if (hook_argv(w, keep_ms, &argv, err) < 0 ||
        process_spawn((const char *const *)argv.items, &o, &q->hook_pid, err) < 0)
        return -1;
    q->hook = TAKE_FD(ours);
    return 0;
}

/* It was killed, which is no reason for the second command not to be run. */
static int hook_is_gone(const struct quiesce *q, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    if (q->wish->after.n)
        process_run((const char *const *)q->wish->after.items, q->wish->timeout_ms, NULL, &e);
    return error_set(err, VMUNDO_FAILED, "vmundo-hook, which runs the commands, was killed%s%s", e.code ? "; " : "",
                     e.code ? e.msg : "");
}

/* What it says next, *ret the caller's. */
static int hear(const struct quiesce *q, unsigned ms, json_t **ret, struct vmundo_error *err)
{
    char line[1024];
    size_t len = 0;
    uint64_t deadline = sys_monotonic_ms() + ms;
    while (len < sizeof(line) - 1 && !memchr(line, '\n', len)) {
        uint64_t now = sys_monotonic_ms();
        if (now >= deadline || sys_wait_readable(q->hook, (int)(deadline - now)) <= 0)
            return error_set(err, VMUNDO_FAILED, "vmundo-hook, which runs the commands, does not answer");
        ssize_t n = TEMP_FAILURE_RETRY(recv(q->hook, line + len, 1, 0));
        if (n <= 0)
            return hook_is_gone(q, err);
        len += (size_t)n;
    }
    line[len] = '\0';
    AUTO_JSON json_t *o = NULL;
    AUTO_FREE char *why = NULL;
    if (json_parse(line, "the report of vmundo-hook", &o, err) < 0 || json_opt_string(o, "error", &why, err) < 0)
        return -1;
    if (why)
        return error_set(err, VMUNDO_FAILED, "%s", why);
    *ret = TAKE(o);
    return 0;
}

static void put_hook_down(struct quiesce *q)
{
    close(TAKE_FD(q->hook));
    while (waitpid(q->hook_pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int begin_commands(const struct quiesce_wish *w, unsigned keep_ms, struct quiesce *q, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    if (!w->before.n && !w->after.n)
        return 0;
    q->wish = w;
    if (spawn_hook(w, keep_ms, q, err) < 0)
        return -1;
    /* When the first fails the second is run before we hear of it. */
    if (hear(q, 2 * (w->timeout_ms + GRACE_MS), &o, err) == 0)
        return 0;
    put_hook_down(q);
    return error_wrap(err, "before the checkpoint");
}

static int end_commands(struct quiesce *q, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    if (q->hook < 0)
        return 0;
    (void)send(q->hook, "\n", 1, MSG_NOSIGNAL);
    int r = hear(q, q->wish->timeout_ms + GRACE_MS, &o, err);
    put_hook_down(q);
    if (r < 0)
        return error_wrap(err, "after the checkpoint");
    return json_opt_bool(o, "kept", false)
               ? 0
               : error_set(err, VMUNDO_FAILED, "%s had to be run before the checkpoint was complete",
                           q->wish->after.n ? q->wish->after.items[0] : "what follows");
}

/* ---- all of it ------------------------------------------------------------------------------------------------------
 */

int quiesce_begin(const struct instance *i, const struct quiesce_wish *w, unsigned keep_ms, struct quiesce *ret,
                  struct vmundo_error *err)
{
    struct quiesce q = QUIESCE_INIT;
    if (begin_commands(w, keep_ms + w->timeout_ms, &q, err) < 0)
        return -1;
    if (w->freeze && hyper_freeze(i, w->timeout_ms, keep_ms, &q.frozen, err) < 0) {
        end_commands(&q, NULL);
        return error_wrap(err, "the guest's file systems cannot be brought to rest");
    }
    *ret = q;
    return 0;
}

int quiesce_end(const struct instance *i, struct quiesce *q, struct vmundo_error *err)
{
    bool frozen = true;
    struct vmundo_error e = {0}, commands = {0};
    if (q->frozen >= 0 && hyper_thaw(i->driver, TAKE_FD(q->frozen), &frozen, &e) < 0)
        error_wrap(&e, "the guest's file systems may still be frozen (the monitor goes on trying)");
    else if (!frozen)
        error_set(&e, VMUNDO_FAILED, "the guest's file systems were thawed before the checkpoint was complete");
    if (end_commands(q, &commands) < 0 && !e.code)
        e = commands;
    if (e.code && err)
        *err = e;
    return e.code ? -1 : 0;
}
