/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_cli.c: what users and scripts hand over. The first byte says what the rest is:
 *     o  a command line, a word per line, up to and without carrying it out     z  a size     d  a duration     w  a moment
 *     n  a name     e  foreign text that is shown     q  a command that is to be run when a guest is held
 */
#include "fuzz.h"

#include "cli/cli.h"
#include <getopt.h>

#define MAX_WORDS 40

static void check_options(char *text)
{
    char *argv[MAX_WORDS + 1] = {NULL}, *rest = text;
    struct cli c = {0};
    struct vmundo_error err = {0};
    bool help = false;
    int n = 0;
    for (char *word; n < MAX_WORDS && (word = strsep(&rest, "\n"));)
        argv[n++] = word;
    c.command = command_find(argv[0]);
    optind = 0; /* getopt(3): begin anew */
    if (!c.command)
        return;
    for (const struct cli_option *o = c.command->options; o && o->name; o++)
        if (o->type == OPT_LIST)
            ((struct list_option *)o->to)->n = 0;
    if (options_parse(&c, n, argv, &help, &err) < 0)
        REQUIRE(err.code == VMUNDO_USAGE && err.msg[0]);
    else
        REQUIRE(help || (c.n_args >= c.command->min_args && c.n_args <= c.command->max_args));
}

static void check_number(char choice, const char *text)
{
    struct vmundo_error err = {0};
    uint64_t n = 0;
    int64_t at = 0;
    int r = choice == 'z'   ? vmundo_parse_size(text, &n, &err)
            : choice == 'd' ? cli_parse_duration("every", text, &n, &err)
                            : cli_parse_time(text, &at, &err);
    if (r < 0)
        REQUIRE(err.code == VMUNDO_USAGE && err.msg[0]);
    else
        REQUIRE(choice == 'w' || (n > 0 && n <= INT64_MAX));
}

/* Safe on a terminal: nothing in it has to be escaped again, and it is not longer than four times the text. */
static void check_shown(const char *text)
{
    AUTO_FREE char *safe = str_escape(text, strlen(text));
    REQUIRE(safe && strlen(safe) <= 4 * strlen(text));
    AUTO_FREE char *again = str_escape(safe, strlen(safe));
    REQUIRE(str_eq(safe, again));
    for (const char *s = safe; *s; s++)
        REQUIRE((unsigned char)*s >= 0x20 && *s != 0x7f);
    char *out = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&out, &size);
    REQUIRE(to);
    print_escaped(to, text);
    REQUIRE(fclose(to) == 0);
    AUTO_FREE char *printed = out;
    REQUIRE(str_eq(printed, safe)); /* one idea of what is safe */
}

static void check_command(const char *text)
{
    AUTO_STRV struct strv words = {0};
    struct vmundo_error err = {0};
    if (str_split_words(text, &words, &err) < 0)
        REQUIRE(err.code == VMUNDO_USAGE && err.msg[0]);
    for (size_t i = 0, all = 0; i < words.n; i++)
        REQUIRE((all += strlen(words.items[i])) <= strlen(text));
}

static void check_name(const char *text)
{
    if (!vmundo_name_is_valid(text))
        return;
    REQUIRE(strlen(text) < VMUNDO_NAME_SIZE && !strchr(text, '/') && text[0] != '.' && text[0] != '-');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char choice = fuzz_choice(&data, &size);
    AUTO_FREE char *text = fuzz_text(data, size);
    if (choice == 'o')
        check_options(text);
    else if (choice == 'z' || choice == 'd' || choice == 'w')
        check_number(choice, text);
    else if (choice == 'n')
        check_name(text);
    else if (choice == 'e')
        check_shown(text);
    else if (choice == 'q')
        check_command(text);
    return 0;
}
