/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options.c: getopt_long(3) fed from the option tables.
 */
#include "cli/cli.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 40
#define FIRST_ID 256

static bool want_json, want_dry_run, want_quiet, want_verbose, want_help;
static const char *state_dir;

const struct cli_option global_options[] = {
    {"dry-run", 'n', NULL, OPT_FLAG, &want_dry_run, "print what would be done, and touch nothing", COMPLETE_NONE},
    {"json", 'j', NULL, OPT_FLAG, &want_json, "print JSON", COMPLETE_NONE},
    {"quiet", 'q', NULL, OPT_FLAG, &want_quiet, "print errors only", COMPLETE_NONE},
    {"verbose", 'v', NULL, OPT_FLAG, &want_verbose, "tell each step", COMPLETE_NONE},
    {"state-dir", 0, "DIR", OPT_TEXT, &state_dir, "keep state in DIR instead of the default", COMPLETE_DIR},
    {"help", 'h', NULL, OPT_FLAG, &want_help, "show this help", COMPLETE_NONE},
    {0},
};

bool option_applies(const struct cli_option *o, const struct command *c)
{
    if (o->to == &want_dry_run)
        return c->flags & COMMAND_CHANGES;
    if (o->to == &want_json)
        return c->flags & (COMMAND_PRINTS | COMMAND_CHANGES);
    if (o->to == &want_verbose)
        return c->flags & COMMAND_CHANGES;
    return true;
}

/* Both tables in the form that getopt_long wants. */
struct tables {
    const struct cli_option *options[OPTIONS_MAX];
    struct option longs[OPTIONS_MAX + 1];
    char shorts[2 * OPTIONS_MAX + 3];
    int n;
};

static void add_option(struct tables *t, const struct cli_option *o)
{
    if (t->n == OPTIONS_MAX)
        abort();
    t->options[t->n] = o;
    t->longs[t->n] = (struct option){.name = o->name, .has_arg = o->arg ? required_argument : no_argument,
                                     .val = FIRST_ID + t->n};
    size_t end = strlen(t->shorts);
    if (o->letter) {
        t->shorts[end] = o->letter;
        t->shorts[end + 1] = o->arg ? ':' : '\0';
    }
    t->n++;
}

static void fill_tables(struct tables *t, const struct command *c)
{
    strcpy(t->shorts, ":");
    for (const struct cli_option *o = c->options; o && o->name; o++)
        add_option(t, o);
    for (const struct cli_option *o = global_options; o->name; o++)
        if (option_applies(o, c))
            add_option(t, o);
}

static const struct cli_option *option_of(const struct tables *t, int id)
{
    if (id >= FIRST_ID)
        return t->options[id - FIRST_ID];
    for (int i = 0; i < t->n; i++)
        if (t->options[i]->letter == id)
            return t->options[i];
    return NULL;
}

static int parse_number(const char *name, const char *text, double max, double *ret, struct vmundo_error *err)
{
    const char *rest;
    *ret = cli_parse_decimal(text, &rest);
    if (*ret < 0 || *rest || *ret > max)
        return cli_error(err, VMUNDO_USAGE, "--%s takes a number from 0 to %.0f, not '%.40s'", name, max, text);
    return 0;
}

static int store_value(const struct cli_option *o, char *text, struct vmundo_error *err)
{
    double n;
    struct list_option *list = o->to;
    switch (o->type) {
    case OPT_FLAG:
        *(bool *)o->to = true;
        return 0;
    case OPT_TEXT:
        *(const char **)o->to = text;
        return 0;
    case OPT_SIZE:
        return vmundo_parse_size(text, o->to, err);
    case OPT_SECONDS:
        if (parse_number(o->name, text, 1000000, &n, err) < 0)
            return -1;
        *(unsigned *)o->to = (unsigned)(n * 1000);
        return 0;
    case OPT_COUNT:
        if (parse_number(o->name, text, 1000000, &n, err) < 0)
            return -1;
        *(unsigned *)o->to = (unsigned)n;
        return 0;
    case OPT_LIST:
        if (list->n == LIST_MAX)
            return cli_error(err, VMUNDO_USAGE, "too many --%s", o->name);
        list->items[list->n++] = text;
        return 0;
    }
    return 0;
}

static int check_args(const struct cli *c, struct vmundo_error *err)
{
    const struct command *k = c->command;
    if (c->n_args < k->min_args)
        return cli_error(err, VMUNDO_USAGE, "usage: vmundo %s %s ('vmundo %s --help' tells more)", k->name, k->args,
                         k->name);
    if (c->n_args > k->max_args)
        return cli_error(err, VMUNDO_USAGE, "'%.60s' is one word too many for 'vmundo %s %s'", c->args[k->max_args],
                         k->name, k->args);
    return 0;
}

int options_parse(struct cli *c, int argc, char **argv, bool *ret_help, struct vmundo_error *err)
{
    struct tables t = {0};
    int id;
    fill_tables(&t, c->command);
    opterr = 0;
    while ((id = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
        const char *word = argv[optind - 1];
        if (id == ':')
            return cli_error(err, VMUNDO_USAGE, "%.60s wants an argument", word);
        const struct cli_option *o = id == '?' ? NULL : option_of(&t, id);
        if (!o)
            return cli_error(err, VMUNDO_USAGE, "%s has no option '%.60s' ('vmundo %s --help' lists them)",
                             c->command->name, optopt && optopt < FIRST_ID ? (char[]){'-', (char)optopt, 0} : word,
                             c->command->name);
        if (store_value(o, optarg, err) < 0)
            return -1;
    }
    c->args = argv + optind;
    c->n_args = argc - optind;
    c->json = want_json;
    c->quiet = want_quiet;
    c->verbose = want_verbose;
    c->options.dry_run = want_dry_run;
    c->options.state_dir = state_dir;
    *ret_help = want_help;
    return want_help ? 0 : check_args(c, err);
}
