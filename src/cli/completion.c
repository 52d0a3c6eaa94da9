/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * completion.c: completion scripts for bash and zsh, printed from the command table. The build runs this, so an option
 * that exists is an option that completes.
 */
#include "cli/cli.h"

#include <string.h>

static const char *words_of(enum complete what)
{
    static char buf[200];
    const char *const *names = what == COMPLETE_METHOD ? vmundo_storage_names() : vmundo_hypervisor_names();
    if (what == COMPLETE_ACCEL)
        return "kvm tcg";
    if (what == COMPLETE_NET)
        return "bridge user none";
    if (what == COMPLETE_SHELL)
        return "bash zsh";
    if (what == COMPLETE_FS)
        return "ext4 xfs";
    if (what == COMPLETE_POOL_ACTION)
        return "create list grow mount import remove";
    if (what == COMPLETE_VOLUME_ACTION)
        return "create list resize remove";
    buf[0] = '\0';
    for (size_t n = 0; *names; names++)
        n += (size_t)snprintf(buf + n, sizeof(buf) - n, "%s%s", n ? " " : "", *names);
    return buf;
}

typedef void (*option_fn)(const struct cli_option *o, void *data);

static void each_option(const struct command *c, option_fn fn, void *data)
{
    for (const struct cli_option *o = c->options; o && o->name; o++)
        fn(o, data);
    for (const struct cli_option *o = global_options; o->name; o++)
        if (option_applies(o, c))
            fn(o, data);
}

/* ---- bash ----------------------------------------------------------------------------------------------------------- */

static void bash_words(enum complete what)
{
    switch (what) {
    case COMPLETE_NONE:
        fputs(":", stdout);
        break;
    case COMPLETE_FILE:
        fputs("compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")", stdout);
        break;
    case COMPLETE_DIR:
        fputs("compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")", stdout);
        break;
    case COMPLETE_DOMAIN:
        fputs("COMPREPLY=($(compgen -W \"$(_vmundo_domains)\" -- \"$cur\"))", stdout);
        break;
    default:
        printf("COMPREPLY=($(compgen -W \"%s\" -- \"$cur\"))", words_of(what));
    }
}

static void bash_option_name(const struct cli_option *o, void *data)
{
    (void)data;
    printf(" --%s", o->name);
}

static void bash_option_value(const struct cli_option *o, void *data)
{
    const struct command *c = data;
    if (!o->arg)
        return;
    printf("    %s:--%s", c->name, o->name);
    if (o->letter)
        printf("|%s:-%c", c->name, o->letter);
    fputs(") ", stdout);
    bash_words(o->complete);
    fputs("; return ;;\n", stdout);
}

static void bash_command_names(void)
{
    for (size_t i = 0; commands[i]; i++)
        if (!(commands[i]->flags & COMMAND_HIDDEN))
            printf(" %s", commands[i]->name);
}

static void print_bash(void)
{
    fputs("# bash completion for vmundo, printed by 'vmundo completion bash'\n"
          "_vmundo_domains() { vmundo list --json 2>/dev/null | sed -n 's/^ *\"name\": \"\\(.*\\)\",$/\\1/p'; }\n"
          "_vmundo() {\n"
          "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd=${COMP_WORDS[1]}\n"
          "  COMPREPLY=()\n"
          "  if [ \"$COMP_CWORD\" = 1 ]; then COMPREPLY=($(compgen -W \"", stdout);
    bash_command_names();
    fputs(" --help --version\" -- \"$cur\")); return; fi\n  case $cmd:$prev in\n", stdout);
    for (size_t i = 0; commands[i]; i++)
        each_option(commands[i], bash_option_value, (void *)(uintptr_t)commands[i]);
    fputs("  esac\n  case $cmd:$cur in\n", stdout);
    for (size_t i = 0; commands[i]; i++) {
        printf("    %s:-*) COMPREPLY=($(compgen -W \"", commands[i]->name);
        each_option(commands[i], bash_option_name, NULL);
        printf("\" -- \"$cur\")) ;;\n    %s:*) ", commands[i]->name);
        if (!strcmp(commands[i]->name, "help")) {
            fputs("COMPREPLY=($(compgen -W \"", stdout);
            bash_command_names();
            fputs("\" -- \"$cur\"))", stdout);
        } else {
            bash_words(commands[i]->complete);
        }
        fputs(" ;;\n", stdout);
    }
    fputs("  esac\n}\ncomplete -F _vmundo vmundo\n", stdout);
}

/* ---- zsh ------------------------------------------------------------------------------------------------------------ */

static const char *zsh_action(enum complete what)
{
    static char buf[80];
    switch (what) {
    case COMPLETE_NONE:
        return " ";
    case COMPLETE_FILE:
        return "_files";
    case COMPLETE_DIR:
        return "_files -/";
    case COMPLETE_DOMAIN:
        return "_vmundo_domains";
    default:
        snprintf(buf, sizeof(buf), "(%s)", words_of(what));
        return buf;
    }
}

/* Text inside '…[…]': brackets, colons and quotes have a meaning there. */
static void zsh_text(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else if (strchr("[]:", *s))
            printf("\\%c", *s);
        else
            putchar(*s);
    }
}

static void zsh_option(const struct cli_option *o, void *data)
{
    (void)data;
    for (int letter = 0; letter < (o->letter ? 2 : 1); letter++) {
        if (letter)
            printf("        '-%c[", o->letter);
        else
            printf("        '--%s[", o->name);
        zsh_text(o->help);
        putchar(']');
        if (o->arg)
            printf(":%s:%s", o->arg, zsh_action(o->complete));
        fputs("' \\\n", stdout);
    }
}

static void print_zsh(void)
{
    fputs("#compdef vmundo\n"
          "# zsh completion for vmundo, printed by 'vmundo completion zsh'\n"
          "_vmundo_domains() { compadd -- ${(f)\"$(vmundo list --json 2>/dev/null |"
          " sed -n 's/^ *\"name\": \"\\(.*\\)\",$/\\1/p')\"} }\n"
          "_vmundo() {\n"
          "  if (( CURRENT == 2 )); then\n"
          "    local -a cmds=(\n", stdout);
    for (size_t i = 0; commands[i]; i++) {
        if (commands[i]->flags & COMMAND_HIDDEN)
            continue;
        printf("      '%s:", commands[i]->name);
        zsh_text(commands[i]->summary);
        fputs("'\n", stdout);
    }
    fputs("    )\n    _describe command cmds\n    return\n  fi\n"
          "  local cmd=$words[2]\n  shift words\n  (( CURRENT-- ))\n  case $cmd in\n", stdout);
    for (size_t i = 0; commands[i]; i++) {
        printf("    %s)\n      _arguments \\\n", commands[i]->name);
        each_option(commands[i], zsh_option, NULL);
        printf("        '*: :%s' ;;\n", zsh_action(commands[i]->complete));
    }
    fputs("  esac\n}\n_vmundo \"$@\"\n", stdout);
}

int completion_print(const char *shell, struct vmundo_error *err)
{
    if (!strcmp(shell, "bash"))
        print_bash();
    else if (!strcmp(shell, "zsh"))
        print_zsh();
    else
        return cli_error(err, VMUNDO_USAGE, "completion is there for bash and zsh, not for '%.40s'", shell);
    return 0;
}
