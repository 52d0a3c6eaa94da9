/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * path.c: see path.h. One step after the other, each relative to the descriptor of the one before, so that what was
 * looked at is what is gone through.
 */
#include "util/path.h"

#include "util/cleanup.h"
#include "util/str.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MAX_LINKS 40
#define NAME_SIZE (NAME_MAX + 2) /* so that one that is too long still is */
#define NOBODY ((uid_t)-1)

struct walk {
    const char *path; /* for messages */
    int at;           /* where we are; -1: it has failed */
    char *rest;       /* what is still to be gone */
    unsigned links;
    uid_t whose; /* of a link that we went through and that is somebody else's, NOBODY: there was none */
};

static void walk_clear(struct walk *w)
{
    cleanup_close(&w->at);
    free(w->rest);
}

/* Take the next name off the rest; false: there is none. */
static bool next_name(struct walk *w, char name[NAME_SIZE])
{
    const char *p = w->rest + strspn(w->rest, "/");
    size_t n = strcspn(p, "/");
    if (n == 0)
        return false;
    snprintf(name, NAME_SIZE, "%.*s", (int)(n < NAME_SIZE ? n : NAME_SIZE - 1), p);
    memmove(w->rest, p + n, strlen(p + n) + 1);
    return true;
}

static int enter(struct walk *w, int fd)
{
    cleanup_close(&w->at);
    w->at = fd;
    return fd < 0 ? -1 : 0;
}

bool path_is_trusted(uid_t uid)
{
    const char *text = geteuid() == 0 ? getenv("SUDO_UID") : NULL;
    char *end = NULL;
    unsigned long sudo = text && *text ? strtoul(text, &end, 10) : 0;
    return uid == 0 || uid == geteuid() || (end && !*end && sudo < NOBODY && uid == (uid_t)sudo);
}

static int go_to_root(struct walk *w, struct vmundo_error *err)
{
    return enter(w, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0 ? error_errno(err, errno, "cannot open /") : 0;
}

/* Links in /proc need not lead where they say. */
static int refuse_magic(const struct walk *w, int link, struct vmundo_error *err)
{
    struct statfs fs;
    if (fstatfs(link, &fs) == 0 && fs.f_type != PROC_SUPER_MAGIC)
        return 0;
    return error_errno(err, ELOOP, "%s leads through /proc", w->path);
}

static int follow(struct walk *w, int link, const struct stat *st, struct vmundo_error *err)
{
    char to[PATH_MAX];
    if (++w->links > MAX_LINKS)
        return error_errno(err, ELOOP, "cannot open %s", w->path);
    ssize_t n = readlinkat(link, "", to, sizeof(to) - 1);
    if (n < 0)
        return error_errno(err, errno, "cannot read a link in %s", w->path);
    to[n] = '\0';
    if (refuse_magic(w, link, err) < 0)
        return -1;
    bool ours = path_is_trusted(st->st_uid);
    if (!ours && w->whose != NOBODY && w->whose != st->st_uid)
        return error_set(err, VMUNDO_REFUSED, "%s leads through links of users %u and %u", w->path, w->whose, st->st_uid);
    w->whose = ours ? w->whose : st->st_uid;
    char *rest = str_printf(err, "%s/%s", to, w->rest);
    if (!rest)
        return -1;
    free(w->rest);
    w->rest = rest;
    return to[0] == '/' ? go_to_root(w, err) : 0;
}

static int check_private(const struct walk *w, const struct stat *st, struct vmundo_error *err)
{
    if (S_ISDIR(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 077))
        return 0;
    return error_set(err, VMUNDO_REFUSED,
                     "%s: " PATH_PRIVATE " on the way is not a directory of user %u with mode 0700, and what is in it not a "
                     "branch of ours",
                     w->path, geteuid());
}

static int step(struct walk *w, const char *name, struct vmundo_error *err)
{
    struct stat st;
    AUTO_CLOSE int fd = openat(w->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot open %s", w->path);
    if (S_ISLNK(st.st_mode))
        return follow(w, fd, &st, err);
    if (str_eq(name, PATH_PRIVATE) && check_private(w, &st, err) < 0)
        return -1;
    return enter(w, TAKE_FD(fd));
}

int path_open(const char *path, int *ret, struct vmundo_error *err)
{
    CLEANUP(walk_clear) struct walk w = {.path = path, .at = -1, .whose = NOBODY};
    char name[NAME_SIZE];
    struct stat st;
    if (path[0] != '/')
        return error_set(err, VMUNDO_FAILED, "%s is not an absolute path", path);
    if (str_copy(path, &w.rest, err) < 0 || go_to_root(&w, err) < 0)
        return -1;
    while (next_name(&w, name))
        if (step(&w, name, err) < 0)
            return -1;
    if (fstat(w.at, &st) < 0)
        return error_errno(err, errno, "cannot look at %s", path);
    if (w.whose != NOBODY && st.st_uid != w.whose)
        return error_set(err, VMUNDO_REFUSED,
                         "%s leads through a link of user %u to a file of user %u: whoever can put a link there must not "
                         "choose among files that are not theirs; name the file itself",
                         path, w.whose, st.st_uid);
    *ret = TAKE_FD(w.at);
    return 0;
}

int path_reopen(int fd, int flags)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return open(link, flags | O_CLOEXEC);
}

int path_open_file(const char *path, int flags, int *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int look = -1;
    if (path_open(path, &look, err) < 0)
        return -1;
    int fd = path_reopen(look, flags);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", path);
    *ret = fd;
    return 0;
}
