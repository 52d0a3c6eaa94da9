/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd_run.h: the options that run and plan have in common. */
#ifndef CLI_CMD_RUN_H
#define CLI_CMD_RUN_H

#include "cli/cli.h"

struct run_values {
    const char *name, *method, *hypervisor, *accel, *net;
    uint64_t size;
    unsigned extend_at, pause_at;
    bool no_guard;
    struct list_option unprotected;
    bool allow_in_use, anonymous_ram;
};
extern struct run_values run_values;

#define RUN_OPTIONS                                                                                                    \
    {"name", 'N', "NAME", OPT_TEXT, &run_values.name, "call the domain NAME", COMPLETE_NONE},                          \
    {"size", 's', "SIZE", OPT_SIZE, &run_values.size, "room for changes, where a branch is bounded (6G)",              \
     COMPLETE_NONE},                                                                                                   \
    {"extend-at", 0, "PERCENT", OPT_COUNT, &run_values.extend_at, "guard: make a branch larger when this full (70)",    \
     COMPLETE_NONE},                                                                                                   \
    {"pause-at", 0, "PERCENT", OPT_COUNT, &run_values.pause_at, "guard: pause the domain when this full (90)",          \
     COMPLETE_NONE},                                                                                                   \
    {"no-guard", 0, NULL, OPT_FLAG, &run_values.no_guard, "nobody watches whether the branches fill up",                \
     COMPLETE_NONE},                                                                                                   \
    {"method", 'm', "DRIVER", OPT_TEXT, &run_values.method, "use this storage driver for every disk",                  \
     COMPLETE_METHOD},                                                                                                 \
    {"hypervisor", 'H', "DRIVER", OPT_TEXT, &run_values.hypervisor, "use this hypervisor", COMPLETE_HYPERVISOR},       \
    {"accel", 0, "ACCEL", OPT_TEXT, &run_values.accel, "kvm or tcg; default: kvm where the CPU has it",                \
     COMPLETE_ACCEL},                                                                                                  \
    {"net", 0, "NET", OPT_TEXT, &run_values.net, "bridge (default), user, or none", COMPLETE_NET},                     \
    {"unprotected", 0, "VDEV", OPT_LIST, &run_values.unprotected,                                                      \
     "run this disk on its origin (may be repeated)", COMPLETE_NONE},                                                  \
    {"anonymous-ram", 0, NULL, OPT_FLAG, &run_values.anonymous_ram,                                                    \
     "keep the guest's RAM in memory, not in a file", COMPLETE_NONE},                                                  \
    {"allow-in-use", 0, NULL, OPT_FLAG, &run_values.allow_in_use,                                                      \
     "branch images that something is writing to", COMPLETE_NONE}

/* The options as the library wants them. */
void run_fill(struct vmundo_run_options *o, const struct cli *c);

#endif
