/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * actions.c: commands whose first word says what to do. All actions of a command share its table of options; one that is
 * given to an action that has no use for it is an error, and not ignored.
 */
#include "cli/actions.h"

#include <string.h>

static bool given(const struct cli_option *o)
{
    switch (o->type) {
    case OPT_FLAG:
        return *(const bool *)o->to;
    case OPT_TEXT:
        return *(const char *const *)o->to != NULL;
    case OPT_SIZE:
        return *(const uint64_t *)o->to != 0;
    case OPT_LIST:
        return ((const struct list_option *)o->to)->n > 0;
    case OPT_SECONDS:
    case OPT_COUNT:
        return *(const unsigned *)o->to != 0;
    }
    return false;
}

static bool takes(const struct action *a, const char *option)
{
    for (const char *const *o = a->options; o && *o; o++)
        if (!strcmp(*o, option))
            return true;
    return false;
}

static int check(const struct cli *c, const struct action *a, struct vmundo_error *err)
{
    for (const struct cli_option *o = c->command->options; o && o->name; o++)
        if (given(o) && !takes(a, o->name))
            return cli_error(err, VMUNDO_USAGE, "--%s has no meaning for 'vmundo %s' ('vmundo %s --help' tells more)", o->name,
                             a->full, c->command->name);
    if (c->n_args - 1 < a->min_args)
        return cli_error(err, VMUNDO_USAGE, "usage: vmundo %s %s ('vmundo %s --help' tells more)", a->full, a->args,
                         c->command->name);
    if (c->n_args - 1 > a->max_args)
        return cli_error(err, VMUNDO_USAGE, "'%.60s' is one word too many for 'vmundo %s %s'", c->args[a->max_args + 1],
                         a->full, a->args);
    return 0;
}

static int no_such(const struct cli *c, const struct action *actions, struct vmundo_error *err)
{
    char names[100] = "";
    for (const struct action *a = actions; a->name; a++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "", a->name);
    }
    return cli_error(err, VMUNDO_USAGE, "'%.40s' is nothing that 'vmundo %s' can do; it can: %s", c->args[0],
                     c->command->name, names);
}

int action_run(struct cli *c, const struct action *actions, struct vmundo_error *err)
{
    for (const struct action *a = actions; a->name; a++)
        if (!strcmp(a->name, c->args[0])) {
            c->operation = a->full;
            c->about = c->command->name;
            return check(c, a, err) < 0 ? -1 : a->run(c, c->args + 1, c->n_args - 1, err);
        }
    return no_such(c, actions, err);
}
