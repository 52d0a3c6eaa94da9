/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scope.c: see scope.h. By busctl, which comes with systemd: a library for one call in the life of a process would stay
 * in its memory all that time. The call is org.freedesktop.systemd1(5)'s.
 */
#include "util/scope.h"

#include "util/process.h"
#include "util/str.h"

#include <ctype.h>
#include <unistd.h>

#define TIMEOUT_MS 2000u

bool scope_is_possible(void)
{
    return geteuid() == 0 && access("/run/systemd/system/", F_OK) == 0 && process_have("busctl");
}

/* systemd.unit(5) on what may stand in a name; of ours that leaves only '+'. */
static char *unit_name(const char *kind, const char *name, pid_t pid, struct vmundo_error *err)
{
    char safe[4 * 256 + 1];
    size_t n = 0;
    for (const char *c = name; *c && n + 5 < sizeof(safe); c++) {
        if (isalnum((unsigned char)*c) || strchr("._-", *c))
            safe[n++] = *c;
        else
            n += (size_t)snprintf(safe + n, 5, "\\x%02x", (unsigned char)*c);
    }
    safe[n] = '\0';
    return str_printf(err, "vmundo-%s-%s-%d.scope", kind, safe, (int)pid);
}

int scope_enter(const char *kind, const char *name, pid_t other, struct vmundo_error *err)
{
    AUTO_FREE char *unit = unit_name(kind, name, other ? other : getpid(), err);
    AUTO_FREE char *about = unit ? str_printf(err, "%s %s (vmundo)", kind, name) : NULL;
    char ours[16], others[16];
    snprintf(ours, sizeof(ours), "%d", (int)getpid());
    snprintf(others, sizeof(others), "%d", (int)(other ? other : getpid()));
    if (!about)
        return -1;
    /* clang-format off */
    const char *const argv[] = {
        "busctl", "--quiet", "--timeout=2", "call",
        "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
        "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail",
        "4", "PIDs", "au", "2", ours, others,
        "Description", "s", about,
        "Slice", "s", "machine.slice",
        "CollectMode", "s", "inactive-or-failed",
        "0", NULL,
    };
    /* clang-format on */
    return process_run(argv, TIMEOUT_MS, NULL, err);
}
