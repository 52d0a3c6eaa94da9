/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * main.c: the table of commands, and from an argument vector to an exit code.
 */
#include "cli/cli.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

extern const struct command cmd_run, cmd_rollback, cmd_drop, cmd_keep, cmd_stop, cmd_start, cmd_list, cmd_status,
    cmd_checkpoint, cmd_fork, cmd_record, cmd_tree, cmd_diff, cmd_prune, cmd_pin, cmd_unpin, cmd_plan, cmd_log, cmd_console, cmd_recover,
    cmd_guard, cmd_pool, cmd_volume, cmd_help, cmd_version, cmd_completion;

const struct command *const commands[] = {
    &cmd_run,  &cmd_rollback, &cmd_drop,       &cmd_keep,    &cmd_stop,  &cmd_start, &cmd_checkpoint,
    &cmd_fork, &cmd_record, &cmd_tree, &cmd_diff,     &cmd_prune,      &cmd_pin,     &cmd_unpin, &cmd_list,  &cmd_status,
    &cmd_plan, &cmd_log,      &cmd_console,    &cmd_recover, &cmd_guard, &cmd_pool,  &cmd_volume,
    &cmd_help, &cmd_version,  &cmd_completion, NULL,
};

const struct command *command_find(const char *name)
{
    for (size_t i = 0; commands[i]; i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i];
    return NULL;
}

int cli_error(struct vmundo_error *err, enum vmundo_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, args);
    va_end(args);
    err->code = code;
    return -1;
}

static int run_command(struct cli *c, int argc, char **argv, struct vmundo_error *err)
{
    bool help = false;
    if (options_parse(c, argc, argv, &help, err) < 0)
        return -1;
    if (help) {
        help_command(stdout, c->command);
        return 0;
    }
    report_init(c);
    if (!(c->command->flags & COMMAND_NO_STORE) && vmundo_open(&c->options, &c->v, err) < 0)
        return -1;
    int r = c->command->run(c, err);
    vmundo_close(c->v);
    return r;
}

static int dispatch(struct cli *c, int argc, char **argv, struct vmundo_error *err)
{
    if (argc < 2) {
        help_overview(stderr);
        return cli_error(err, VMUNDO_USAGE, "no command given");
    }
    const char *word = argv[1];
    if (!strcmp(word, "--help") || !strcmp(word, "-h"))
        word = "help";
    if (!strcmp(word, "--version") || !strcmp(word, "-V"))
        word = "version";
    c->command = command_find(word);
    if (!c->command)
        return cli_error(err, VMUNDO_USAGE, "no command is called '%.40s': 'vmundo help' lists them", word);
    return run_command(c, argc - 1, argv + 1, err);
}

/* If nobody reads any more, as of "| head", we end as other programs do that write on. The work itself is done. */
static int output_failed(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR)) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    fputs("vmundo: cannot write the output\n", stderr);
    return VMUNDO_FAILED;
}

int main(int argc, char **argv)
{
    struct cli c = {0};
    struct vmundo_error err = {0};
    signal(SIGPIPE, SIG_IGN);
    int r = dispatch(&c, argc, argv, &err);
    if (r < 0)
        report_error(&c, &err);
    if ((fflush(stdout) != 0 || ferror(stdout)) && r == 0)
        return output_failed();
    return r < 0 ? (int)(err.code ? err.code : VMUNDO_FAILED) : 0;
}
