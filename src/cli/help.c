/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * help.c: help pages made from the command table. The code that describes an option in the table is the only place that
 * describes it.
 */
#include "cli/cli.h"

#include <string.h>

void help_overview(FILE *to)
{
    fputs("vmundo: undo for virtual machines\n\n"
          "Run a domain on copy-on-write branches of its disks; then roll back, drop, or keep what happened.\n\n", to);
    for (size_t i = 0; commands[i]; i++) {
        char usage[80];
        if (commands[i]->flags & COMMAND_HIDDEN)
            continue;
        snprintf(usage, sizeof(usage), "%s %s", commands[i]->name, commands[i]->args);
        fprintf(to, "  vmundo %-23s %s\n", usage, commands[i]->summary);
    }
    fputs("\n'vmundo COMMAND --help' tells more about a command, vmundo(1) about all of it.\n", to);
}

static void print_option(FILE *to, const struct cli_option *o)
{
    char left[64];
    snprintf(left, sizeof(left), "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
             o->letter ? "," : " ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    fprintf(to, "  %-26s %s%s\n", left, strlen(left) < 26 ? "" : " ", o->help);
}

void help_command(FILE *to, const struct command *c)
{
    fprintf(to, "Usage: vmundo %s [OPTION...]%s%s\n\n%s\n", c->name, *c->args ? " " : "", c->args,
            c->help ? c->help : c->summary);
    fputs("\nOptions:\n", to);
    for (const struct cli_option *o = c->options; o && o->name; o++)
        print_option(to, o);
    for (const struct cli_option *o = global_options; o->name; o++)
        if (option_applies(o, c))
            print_option(to, o);
    fputs("\nExit status: 0 done; 1 failed, nothing changed; 2 usage; 3 no such domain; 4 in use or wrong state;\n"
          "5 refused for safety; 6 interrupted half way, 'vmundo recover' will finish.\n", to);
}
