/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cli.h: the command line. Each command is one `struct command` in its own file, and main.c has the table of them, which
 * drives dispatch, --help, shell completion and the checks that the manual mentions everything. The command line uses
 * nothing of the library but vmundo.h.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "vmundo.h"

#include <stdio.h>

enum option_type { OPT_FLAG, OPT_TEXT, OPT_SIZE, OPT_SECONDS, OPT_COUNT, OPT_LIST };

/* What a word can be completed to. */
enum complete { COMPLETE_NONE, COMPLETE_FILE, COMPLETE_DIR, COMPLETE_DOMAIN, COMPLETE_METHOD, COMPLETE_HYPERVISOR,
                COMPLETE_ACCEL, COMPLETE_NET, COMPLETE_SHELL, COMPLETE_FS, COMPLETE_POOL_ACTION, COMPLETE_VOLUME_ACTION };

struct cli_option {
    const char *name;        /* long name, without -- */
    char letter;             /* short name, or 0 */
    const char *arg;         /* placeholder of its argument, NULL for OPT_FLAG */
    enum option_type type;
    void *to;                /* bool *, const char **, uint64_t *, unsigned * (ms), unsigned *, or list_option * */
    const char *help;
    enum complete complete;
};

#define LIST_MAX 64
struct list_option {
    const char *items[LIST_MAX + 1];
    size_t n;
};

enum command_flags {
    COMMAND_CHANGES = 1,     /* has --dry-run */
    COMMAND_PRINTS = 2,      /* has --json */
    COMMAND_NO_STORE = 4,    /* does not want an open struct vmundo */
    COMMAND_HIDDEN = 8,
};

struct cli {
    const struct command *command;
    struct vmundo_options options;
    struct vmundo *v;
    bool json, quiet, verbose;
    char **args;             /* after the options */
    int n_args;
    const char *operation;   /* for the result, NULL: the command's name */
    const char *about;       /* what the result is about, NULL: "domain" */
    const char *const *made; /* names of what came into being, NULL-terminated, NULL: nothing to tell */
};

struct command {
    const char *name;
    const char *args;        /* synopsis of what follows the options: "CFG" */
    int min_args, max_args;
    unsigned flags;
    const char *summary;     /* one line, no full stop */
    const char *help;        /* a paragraph or more */
    const struct cli_option *options; /* ended by one without name; may be NULL */
    enum complete complete;  /* of args */
    int (*run)(struct cli *c, struct vmundo_error *err);
};

extern const struct command *const commands[]; /* NULL-terminated, in the order of the help page */
extern const struct cli_option global_options[];
const struct command *command_find(const char *name);

/* ---- options.c, help.c, completion.c ---- */

/* Parse argv[1…] by the command's and the global tables. Errors: VMUNDO_USAGE. *ret_help: --help was given. */
int options_parse(struct cli *c, int argc, char **argv, bool *ret_help, struct vmundo_error *err);
/* Does the command take this global option? */
bool option_applies(const struct cli_option *o, const struct command *c);
void help_overview(FILE *to);
void help_command(FILE *to, const struct command *c);
int completion_print(const char *shell, struct vmundo_error *err);

/* ---- times.c ---- */

/* A number like "12" or "0.5" at the beginning of text; *ret_rest is what follows. -1: there is none. */
double cli_parse_decimal(const char *text, const char **ret_rest);
/* "10", "500ms", "1s", "10m", "2h", "1d", at least a millisecond, at most ten years. name: of the option. Errors:
 * VMUNDO_USAGE, as below. */
int cli_parse_duration(const char *name, const char *text, uint64_t *ret_ms, struct vmundo_error *err);
/* A moment, milliseconds since the epoch: "-30s", "-5m", "14:03:22" or "14:03" (the last one), "2026-01-31 14:03:22". */
int cli_parse_time(const char *text, int64_t *ret, struct vmundo_error *err);

/* ---- output.c: one description of a row gives both text and JSON ---- */

enum column_type { COL_TEXT, COL_NUMBER, COL_SIZE, COL_TIME, COL_AGE, COL_MS, COL_BOOL, COL_BAR /* double, 0 to 1 */ };
struct column {
    const char *key;         /* in JSON; titles are the same in capitals */
    enum column_type type;
    size_t offset;
    bool json_only;
};

/* Objects of `size` bytes as a table, or as a JSON array. */
void output_table(const struct cli *c, const struct column *columns, const void *rows, size_t size, size_t n);
/* One object as "key: value" lines, or as JSON members with no braces around (see output_begin). */
void output_fields(const struct cli *c, const struct column *columns, const void *row);

/* JSON written as a stream: commas and indentation are looked after. Text mode: they do nothing. */
void json_begin(const struct cli *c, const char *key, char open);
void json_end(const struct cli *c, char close);
void json_put_text(const struct cli *c, const char *key, const char *text);
void json_put_number(const struct cli *c, const char *key, double n);
void json_put_bool(const struct cli *c, const char *key, bool b);
void json_put_null(const struct cli *c, const char *key);

/* Foreign text for a terminal: control characters and bad UTF-8 as \xNN. */
void print_escaped(FILE *to, const char *text);

/* ---- report.c: progress, warnings, results of changing commands ---- */

void report_init(struct cli *c);
/* "web: <what> (43 ms)", or the JSON object of the operation; after a dry run, the actions. */
void report_result(const struct cli *c, const char *domain, const char *what);
void report_error(const struct cli *c, const struct vmundo_error *err);

/* ---- waiting.c: says on standard error which program a command waits for, when that takes many seconds ---- */

void waiting_init(void);
/* There is something on the screen that shows that the work goes on, or not any more. */
void waiting_is_seen(bool seen);

/* ---- console.c ---- */

/* Connect the terminal to the console until ^], end of input or the end of the guest. Takes fd over. */
int console_attach(int fd, const char *domain, struct vmundo_error *err);

/* One line for a command's own errors; as the library's error functions, for the command line's part. */
int cli_error(struct vmundo_error *err, enum vmundo_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
