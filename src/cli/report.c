/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * report.c: what a changing command tells while it works and when it is done.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ACTIONS_MAX 1000
#define BAR_AFTER_MS 2000
#define BAR_EVERY_MS 100

static struct {
    const struct cli *cli;
    struct timespec begun;
    char *actions[ACTIONS_MAX]; /* for --json */
    size_t n_actions;
    double bar_shown_ms;     /* 0: no bar is on the screen */
} state;

static double elapsed_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - state.begun.tv_sec) * 1e3 + (double)(now.tv_nsec - state.begun.tv_nsec) / 1e6;
}

static void erase_bar(void)
{
    if (state.bar_shown_ms > 0)
        fputs("\r\033[K", stderr);
    state.bar_shown_ms = 0;
    waiting_is_seen(false);
}

static void show_bar(const struct vmundo_event *e)
{
    double now = elapsed_ms(), share = e->total ? (double)e->done / (double)e->total : 0;
    if (state.cli->quiet || !isatty(STDERR_FILENO) || now < BAR_AFTER_MS || now - state.bar_shown_ms < BAR_EVERY_MS)
        return;
    share = share > 1 ? 1 : share;
    double left = share > 0.01 ? now / share - now : 0;
    int full = (int)(share * 30);
    fputs("\r\033[K", stderr);
    print_escaped(stderr, e->text ? e->text : "");
    fprintf(stderr, " [%.*s%*s] %3.0f%% %.0f s left", full, "##############################", 30 - full, "",
            share * 100, left / 1000);
    fflush(stderr);
    state.bar_shown_ms = now;
    waiting_is_seen(true);
}

static void keep_action(const char *text)
{
    if (state.n_actions < ACTIONS_MAX)
        state.actions[state.n_actions++] = strdup(text);
}

static void on_event(void *data, const struct vmundo_event *e)
{
    const struct cli *c = data;
    switch (e->kind) {
    case VMUNDO_EVENT_ACTION:
        if (c->json)
            keep_action(e->text);
        else if (c->options.dry_run || c->verbose || (c->command->flags & COMMAND_NO_STORE)) {
            fputs(c->options.dry_run ? "would " : "", stdout);
            print_escaped(stdout, e->text);
            putchar('\n');
            fflush(stdout); /* in order with what goes to stderr */
        }
        break;
    case VMUNDO_EVENT_STAGE:
        if (c->verbose && !c->options.dry_run)
            fprintf(stderr, "%8.1f ms  %s\n", elapsed_ms(), e->stage);
        break;
    case VMUNDO_EVENT_PROGRESS:
        show_bar(e);
        break;
    case VMUNDO_EVENT_WARNING:
        erase_bar();
        if (c->quiet)
            break;
        fputs("vmundo: ", stderr);
        if (e->domain && strncmp(e->text, e->domain, strlen(e->domain)) != 0)
            fprintf(stderr, "%s: ", e->domain);
        print_escaped(stderr, e->text);
        fputc('\n', stderr);
        break;
    }
}

void report_init(struct cli *c)
{
    clock_gettime(CLOCK_MONOTONIC, &state.begun);
    state.cli = c;
    c->options.report = on_event;
    c->options.report_data = c;
    if (!c->quiet)
        waiting_init();
}

static void print_json_result(const struct cli *c, const char *domain)
{
    json_begin(c, NULL, '{');
    json_put_text(c, "operation", c->operation ? c->operation : c->command->name);
    json_put_text(c, c->about ? c->about : "domain", domain);
    if (c->made) {
        json_begin(c, "made", '[');
        for (const char *const *name = c->made; *name; name++)
            json_put_text(c, NULL, *name);
        json_end(c, ']');
    }
    json_put_bool(c, "dry_run", c->options.dry_run);
    json_begin(c, "actions", '[');
    for (size_t i = 0; i < state.n_actions; i++)
        json_put_text(c, NULL, state.actions[i]);
    json_end(c, ']');
    if (!c->options.dry_run)
        json_put_number(c, "ms", elapsed_ms());
    json_end(c, '}');
}

void report_result(const struct cli *c, const char *domain, const char *what)
{
    erase_bar();
    if (c->json) {
        print_json_result(c, domain);
    } else if (c->options.dry_run) {
        if (!c->quiet)
            puts("nothing was changed");
    } else if (!c->quiet) {
        double ms = elapsed_ms();
        if (domain)
            printf("%s: ", domain);
        if (ms < 1000)
            printf(ms < 10 ? "%s (%.1f ms)\n" : "%s (%.0f ms)\n", what, ms);
        else
            printf("%s (%.1f s)\n", what, ms / 1e3);
    }
    for (size_t i = 0; i < state.n_actions; i++)
        free(state.actions[i]);
    state.n_actions = 0;
}

void report_error(const struct cli *c, const struct vmundo_error *err)
{
    static const char *const names[] = {"ok", "failed", "usage", "not found", "conflict", "refused", "interrupted"};
    erase_bar();
    fputs("vmundo: ", stderr);
    print_escaped(stderr, err->msg[0] ? err->msg : "failed");
    fputc('\n', stderr);
    if (!c->json)
        return;
    json_begin(c, NULL, '{');
    json_begin(c, "error", '{');
    json_put_number(c, "code", err->code);
    json_put_text(c, "kind", err->code <= VMUNDO_INTERRUPTED ? names[err->code] : "failed");
    json_put_text(c, "message", err->msg);
    json_end(c, '}');
    json_end(c, '}');
}
