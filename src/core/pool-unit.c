/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pool-unit.c: see pool-unit.h. */
#include "core/pool-unit.h"

#include "util/process.h"

#include <ctype.h>
#include <fcntl.h>
#include <unistd.h>

#define WANTS "multi-user.target.wants"
#define RELOAD_MS 30000u

/* VMUNDO_UNIT_DIR is for tests, and for images that are made of systems that do not run. */
static const char *unit_dir(void)
{
    const char *named = secure_getenv("VMUNDO_UNIT_DIR");
    if (named && *named)
        return named;
    return geteuid() == 0 && access("/run/systemd/system", F_OK) == 0 ? "/etc/systemd/system" : NULL;
}

/* What systemd would take as the end of the line, or of the value. */
static bool fits(const char *path)
{
    for (const char *p = path; *p; p++)
        if (iscntrl((unsigned char)*p))
            return false;
    size_t n = strlen(path);
    return n > 0 && path[n - 1] != ' ' && path[n - 1] != '\\';
}

bool pool_unit_can(const char *path, const char *dir)
{
    return unit_dir() && fits(path) && fits(dir);
}

/* systemd.unit(5), "String escaping for inclusion in unit names". */
char *pool_unit_name(const char *dir, struct vmundo_error *err)
{
    AUTO_FREE char *name = malloc(strlen(dir) * 4 + sizeof("-.mount"));
    char *to = name;
    if (!name) {
        error_nomem(err);
        return NULL;
    }
    const char *p = dir + strspn(dir, "/");
    for (bool first = true; *p; p++, first = false) {
        if (*p == '/')
            *to++ = '-';
        else if (isalnum((unsigned char)*p) || *p == ':' || *p == '_' || (*p == '.' && !first))
            *to++ = *p;
        else
            to += sprintf(to, "\\x%02x", (unsigned)(unsigned char)*p);
    }
    strcpy(to, to == name ? "-.mount" : ".mount");
    return TAKE(name);
}

/* "%" begins a specifier. */
static char *value(const char *path, struct vmundo_error *err)
{
    AUTO_FREE char *text = malloc(strlen(path) * 2 + 1);
    char *to = text;
    if (!text) {
        error_nomem(err);
        return NULL;
    }
    for (const char *p = path; *p; p++) {
        if (*p == '%')
            *to++ = '%';
        *to++ = *p;
    }
    *to = '\0';
    return TAKE(text);
}

/* Without it systemd learns of the change at its next start. */
static void reload(void)
{
    if (!secure_getenv("VMUNDO_UNIT_DIR"))
        process_run((const char *const[]){"systemctl", "daemon-reload", NULL}, RELOAD_MS, NULL, NULL);
}

static int open_units(int *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(unit_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", unit_dir());
    *ret = TAKE_FD(fd);
    return 0;
}

static int enable(int units, const char *name, struct vmundo_error *err)
{
    AUTO_FREE char *target = str_printf(err, "../%s", name), *link = str_printf(err, WANTS "/%s", name);
    if (!target || !link)
        return -1;
    if (mkdirat(units, WANTS, 0755) < 0 && errno != EEXIST)
        return error_errno(err, errno, "cannot make %s/" WANTS, unit_dir());
    if (symlinkat(target, units, link) < 0 && errno != EEXIST)
        return error_errno(err, errno, "cannot enable %s", name);
    AUTO_CLOSE int wants = openat(units, WANTS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return wants < 0 || sys_fsync_dir(wants) < 0 ? error_errno(err, errno, "cannot enable %s", name) : 0;
}

int pool_unit_put(const char *path, const char *dir, bool device, const struct steps *s, struct vmundo_error *err)
{
    AUTO_CLOSE int units = -1;
    AUTO_FREE char *name = pool_unit_name(dir, err), *what = value(path, err), *where = value(dir, err);
    if (!name || !what || !where)
        return -1;
    if (!steps_take(s, "write the unit %s, which mounts it at every boot", name))
        return 0;
    AUTO_FREE char *text = str_printf(err,
                                      "# Made by vmundo pool; goes with vmundo pool remove.\n"
                                      "[Unit]\nDescription=pool %s of vmundo\n\n"
                                      "[Mount]\nWhat=%s\nWhere=%s\nType=xfs\nOptions=%snosuid,nodev,noexec\n\n"
                                      "[Install]\nWantedBy=multi-user.target\n",
                                      what, what, where, device ? "" : "loop,");
    if (!text || open_units(&units, err) < 0 || sys_write_file(units, name, text, strlen(text), err) < 0)
        return -1;
    if (fchmodat(units, name, 0644, 0) < 0)
        return error_errno(err, errno, "cannot make %s readable", name);
    if (enable(units, name, err) < 0)
        return -1;
    reload();
    return 0;
}

int pool_unit_remove(const char *dir, const struct steps *s, struct vmundo_error *err)
{
    AUTO_CLOSE int units = -1;
    AUTO_FREE char *name = NULL, *link = NULL;
    if (!dir || !unit_dir())
        return 0;
    if (!(name = pool_unit_name(dir, err)) || !(link = str_printf(err, WANTS "/%s", name)) || open_units(&units, err) < 0)
        return -1;
    if (faccessat(units, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || !steps_take(s, "remove the unit %s", name))
        return 0;
    if ((unlinkat(units, link, 0) < 0 && errno != ENOENT) || (unlinkat(units, name, 0) < 0 && errno != ENOENT))
        return error_errno(err, errno, "cannot remove %s from %s", name, unit_dir());
    if (sys_fsync_dir(units) < 0)
        return error_errno(err, errno, "cannot flush %s", unit_dir());
    reload();
    return 0;
}
