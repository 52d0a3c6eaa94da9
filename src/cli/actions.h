/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* actions.h: commands whose first word says what to do (pool create, volume list). */
#ifndef CLI_ACTIONS_H
#define CLI_ACTIONS_H

#include "cli/cli.h"

struct action {
    const char *name, *full;     /* "create", "pool create" */
    const char *args;            /* synopsis */
    int min_args, max_args;      /* besides its name */
    const char *const *options;  /* long names of the options that it takes, NULL-terminated */
    int (*run)(struct cli *c, char **args, int n, struct vmundo_error *err);
};

/* Find the action that c->args names, check the number of its arguments and that no option was given that it has no use
 * for, and run it. Arguments come without its name. */
int action_run(struct cli *c, const struct action *actions, struct vmundo_error *err);

#endif
