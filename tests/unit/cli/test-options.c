/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-options.c: from words to what a command wants, for a command of our own that has an option of each type. */
#include "common.h"

#include <getopt.h>

static struct {
    bool flag;
    const char *text;
    uint64_t size;
    unsigned ms, count;
    struct list_option list;
} values;

static const struct cli_option options[] = {
    {"flag", 'f', NULL, OPT_FLAG, &values.flag, "a flag", COMPLETE_NONE},
    {"text", 't', "TEXT", OPT_TEXT, &values.text, "a text", COMPLETE_NONE},
    {"size", 's', "SIZE", OPT_SIZE, &values.size, "a size", COMPLETE_NONE},
    {"timeout", 0, "SECONDS", OPT_SECONDS, &values.ms, "seconds", COMPLETE_NONE},
    {"count", 'c', "N", OPT_COUNT, &values.count, "a number", COMPLETE_NONE},
    {"disk", 'd', "VDEV", OPT_LIST, &values.list, "several", COMPLETE_NONE},
    {0},
};

static const struct command changes = {
    .name = "try", .args = "NAME [MORE]", .min_args = 1, .max_args = 2, .flags = COMMAND_CHANGES, .options = options};
static const struct command looks = {.name = "look", .args = "", .flags = COMMAND_PRINTS};

static char *argv[200];
static int argc;

/* The words, separated by blanks. */
static int parse(const struct command *command, const char *line, struct cli *c, bool *help, struct vmundo_error *err)
{
    static char copy[1000];
    char *rest = copy;
    memset(&values, 0, sizeof(values));
    snprintf(copy, sizeof(copy), "%s %s", command->name, line);
    argc = 0;
    for (char *word; (word = strsep(&rest, " "));)
        if (*word)
            argv[argc++] = word;
    argv[argc] = NULL;
    optind = 0; /* getopt(3): from the start */
    *c = (struct cli){.command = command};
    return options_parse(c, argc, argv, help, err);
}

static void accept(const struct command *command, const char *line, struct cli *c)
{
    struct vmundo_error e = {0};
    bool help = false;
    if (parse(command, line, c, &help, &e) < 0)
        fail_msg("'%s': %s", line, e.msg);
}

static void test_values(void **state)
{
    struct cli c;
    (void)state;
    accept(&changes, "-f --text=some --size 6G web --timeout 1.5 -c 7 -d xvda --disk xvdb more", &c);
    assert_true(values.flag);
    assert_string_equal(values.text, "some");
    assert_int_equal(values.size, (uint64_t)6 << 30);
    assert_int_equal(values.ms, 1500);
    assert_int_equal(values.count, 7);
    assert_int_equal(values.list.n, 2);
    assert_string_equal(values.list.items[1], "xvdb");
    assert_int_equal(c.n_args, 2);
    assert_string_equal(c.args[0], "web");
    assert_string_equal(c.args[1], "more");
}

static void test_shapes(void **state)
{
    struct cli c;
    (void)state;
    accept(&changes, "-ftsome web", &c);
    assert_true(values.flag);
    assert_string_equal(values.text, "some");
    accept(&changes, "--te some web", &c); /* as getopt_long(3) completes them */
    assert_string_equal(values.text, "some");
    accept(&changes, "-- -f", &c);
    assert_false(values.flag);
    assert_string_equal(c.args[0], "-f");
}

static void test_refused(void **state)
{
    static const struct {
        const char *line, *part;
    } cases[] = {
        {"", "usage: vmundo try NAME [MORE]"},
        {"a b c", "'c' is one word too many"},
        {"-x web", "try has no option '-x'"},
        {"--nothing web", "try has no option '--nothing'"},
        {"--flag=yes web", "try has no option"},
        {"web -t", "-t wants an argument"},
        {"web --size", "--size wants an argument"},
        {"web --size 0", "size"},
        {"web --size -1G", "size"},
        {"web --size 99999999T", "size"},
        {"web -c many", "--count takes a number from 0 to 1000000, not 'many'"},
        {"web -c -1", "--count takes a number"},
        {"web -c 1000001", "--count takes a number"},
        {"web -c 0x10", "--count takes a number"},
        {"web --timeout nan", "--timeout takes a number"},
        {"web --timeout 1e9", "--timeout takes a number"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct vmundo_error e = {0};
        struct cli c;
        bool help = false;
        if (parse(&changes, cases[i].line, &c, &help, &e) == 0)
            fail_msg("'%s' is taken", cases[i].line);
        assert_says(&e, VMUNDO_USAGE, cases[i].part);
    }
}

static void test_too_many(void **state)
{
    char line[900] = "web";
    struct vmundo_error e = {0};
    struct cli c;
    bool help = false;
    (void)state;
    for (int i = 0; i <= LIST_MAX; i++)
        strcat(line, " -d xvda");
    assert_int_equal(parse(&changes, line, &c, &help, &e), -1);
    assert_says(&e, VMUNDO_USAGE, "too many --disk");
}

/* What is common to all: last, for it stays set, as there is one command line in a process. */
static void test_common(void **state)
{
    struct vmundo_error e = {0};
    struct cli c;
    bool help = false;
    (void)state;
    assert_int_equal(parse(&looks, "--dry-run", &c, &help, &e), -1);
    assert_says(&e, VMUNDO_USAGE, "look has no option '--dry-run'");
    assert_int_equal(parse(&looks, "-v", &c, &help, &e), -1);
    accept(&looks, "--json --state-dir /s", &c);
    assert_true(c.json && !c.quiet && !c.options.dry_run);
    assert_string_equal(c.options.state_dir, "/s");
    accept(&changes, "-nqv web", &c);
    assert_true(c.options.dry_run && c.quiet && c.verbose);
    assert_int_equal(parse(&changes, "--help", &c, &help, &e), 0); /* although a word is missing */
    assert_true(help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),   cmocka_unit_test(test_shapes), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_many), cmocka_unit_test(test_common),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
