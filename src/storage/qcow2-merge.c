/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2-merge.c: overlays in a chain that belong to nobody any more (.gone). Which can be merged; what becomes of the
 * files when QEMU has done it; and the sweeping up after somebody who was killed in the middle.
 *
 * A merge goes downwards: what stands in the overlay above (top) is written into the lowest one that is gone (base),
 * which then gets top's name. It costs as much as top holds, however large base is, and it is safe at every moment
 * without any order of writing: while base is written to, top hides all that is written there; when base is whole, a
 * rename puts it in top's place; and what rests on top, also of other branches of the domain, goes on naming it by the
 * same name.
 */
#include "storage/qcow2-chain.h"

#include "storage/sidecar.h"
#include "util/sys.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/xattr.h>

/* ---- who rests on whom ------------------------------------------------------------------------------------------ */

/* All overlays of an image: names, and the names of what they rest on (NULL: the origin, or nothing yet; damaged: nobody
 * knows). */
struct survey {
    struct overlay {
        char *name, *below;
        bool damaged;
    } * list;
    size_t n;
};

static void survey_clear(struct survey *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->list[i].name);
        free(s->list[i].below);
    }
    free(s->list);
}
#define AUTO_SURVEY CLEANUP(survey_clear)

static int add_overlay(struct survey *s, int dirfd, const char *name, struct vmundo_error *err)
{
    AUTO_FREE char *backing = NULL;
    struct vmundo_error local = {0};
    bool damaged;
    if (chain_read_backing(dirfd, name, &backing, &damaged, &local) < 0)
        return local.errnum == ENOENT ? 0 : error_set(err, local.code, "%s", local.msg);
    struct overlay *grown = realloc(s->list, (s->n + 1) * sizeof(*grown));
    if (!grown)
        return error_nomem(err);
    s->list = grown;
    s->list[s->n] = (struct overlay){.damaged = damaged};
    struct overlay *o = &s->list[s->n++];
    return str_copy(name, &o->name, err) < 0 ? -1 : str_copy(chain_overlay_name(backing), &o->below, err);
}

static int survey(int dirfd, const char *like, struct survey *ret, struct vmundo_error *err)
{
    AUTO_STRV struct strv names = {0};
    if (chain_overlays(dirfd, like, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.n; i++)
        if (add_overlay(ret, dirfd, names.items[i], err) < 0)
            return -1;
    return 0;
}

static size_t count_on(const struct survey *s, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += str_eq(s->list[i].below, name) || (s->list[i].damaged && !str_eq(s->list[i].name, name));
    return n;
}

static const struct overlay *find(const struct survey *s, const char *name)
{
    for (size_t i = 0; name && i < s->n; i++)
        if (str_eq(s->list[i].name, name))
            return &s->list[i];
    return NULL;
}

/* "disk.img@web.1a2b3c4d.7.qcow2": as far as all overlays of one domain are called alike, behind the last point but
 * one. */
static size_t owner_length(const char *name)
{
    size_t n = strlen(name);
    if (str_has_suffix(name, SIDECAR_PART))
        n -= strlen(SIDECAR_PART);
    n -= strlen(".qcow2");
    while (n && isdigit((unsigned char)name[n - 1]))
        n--;
    return n;
}

static bool is_foreign(const char *name, const char *ours)
{
    size_t n = owner_length(ours);
    return owner_length(name) != n || strncmp(name, ours, n);
}

/* The first of the chain on which an overlay of another domain rests, by way of whatever others. From there downwards
 * nothing is to be touched: that domain may be running, or be started at any moment. */
static size_t first_shared(const struct survey *s, const struct strv *chain)
{
    size_t first = chain->n;
    for (size_t i = 0; i < s->n; i++) {
        if (!is_foreign(s->list[i].name, chain_overlay_name(chain->items[0])))
            continue;
        const struct overlay *o = &s->list[i];
        for (size_t steps = 0; o && steps <= s->n; steps++, o = find(s, o->below))
            for (size_t k = 0; k < first; k++)
                if (str_eq(o->name, chain_overlay_name(chain->items[k])))
                    first = k;
    }
    return first;
}

/* ---- what can be merged ----------------------------------------------------------------------------------------- */

/* Can it be written to: is it gone, and does nothing rest on it but the next above? */
static int is_free(int dirfd, const struct survey *s, const char *path, bool *ret, struct vmundo_error *err)
{
    const char *name = chain_overlay_name(path);
    bool gone = false;
    if (chain_is_marked_gone(dirfd, name, &gone, err) < 0)
        return -1;
    *ret = gone && count_on(s, name) == 1;
    return 0;
}

/* The uppermost that can be. The first of the chain is what a guest writes to: it is left alone, until there is a
 * checkpoint. */
static int choose(int dirfd, const struct survey *s, struct merge *m, struct vmundo_error *err)
{
    size_t end = first_shared(s, &m->chain);
    for (size_t i = 2; i < end; i++) {
        bool is = false;
        if (is_free(dirfd, s, m->chain.items[i], &is, err) < 0)
            return -1;
        if (is && !m->base)
            m->top = i - 1;
        if (is)
            m->base = i;
        else if (m->base)
            return 0;
    }
    return 0;
}

int chain_find_merge(const struct branch *b, struct merge *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    AUTO_SURVEY struct survey s = {0};
    AUTO_MERGE struct merge m = {0};
    const char *name;
    if (sidecar_open(b->path, false, &dirfd, &name, err) < 0)
        return -1;
    if (TEMP_FAILURE_RETRY(flock(dirfd, LOCK_EX)) < 0)
        return error_errno(err, errno, "cannot lock the directory of %s", b->path);
    if (chain_sweep(dirfd, name, err) < 0 || chain_list(b->path, b->origin, &m.chain, err) < 0)
        return -1;
    if (m.chain.n > 2 && (survey(dirfd, name, &s, err) < 0 || choose(dirfd, &s, &m, err) < 0))
        return -1;
    *ret = m;
    m = (struct merge){0};
    return 0;
}

/* ---- when it is merged ------------------------------------------------------------------------------------------ */

/* Whose it is stands in the file, where the file system has room for that. */
static int copy_mark(int from, int to, struct vmundo_error *err)
{
    char text[4096];
    ssize_t n = fgetxattr(from, SIDECAR_XATTR, text, sizeof(text));
    if (n < 0)
        return errno == ENODATA || errno == EOPNOTSUPP ? 0 : error_errno(err, errno, "cannot read " SIDECAR_XATTR);
    return fsetxattr(to, SIDECAR_XATTR, text, (size_t)n, 0) < 0 ? error_errno(err, errno, "cannot set " SIDECAR_XATTR)
                                                                : 0;
}

static int put_in_place(int dirfd, const char *base, const char *top, struct vmundo_error *err)
{
    AUTO_CLOSE int from = openat(dirfd, base, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    AUTO_CLOSE int to = openat(dirfd, top, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0 || to < 0)
        return error_errno(err, errno, "cannot open %s", from < 0 ? base : top);
    if (copy_mark(to, from, err) < 0)
        return -1;
    if (fsync(from) < 0)
        return error_errno(err, errno, "cannot make %s durable", base);
    if (renameat(dirfd, base, dirfd, top) < 0 || sys_fsync_dir(dirfd) < 0)
        return error_errno(err, errno, "cannot rename %s", base);
    return 0;
}

int chain_merged(const struct merge *m, struct vmundo_error *err)
{
    AUTO_CLOSE int dirfd = -1;
    const char *base = chain_overlay_name(m->chain.items[m->base]),
               *above = chain_overlay_name(m->chain.items[m->base - 1]);
    const char *top;
    bool gone = false, others = false;
    if (sidecar_open(m->chain.items[m->top], false, &dirfd, &top, err) < 0)
        return -1;
    if (TEMP_FAILURE_RETRY(flock(dirfd, LOCK_EX)) < 0)
        return error_errno(err, errno, "cannot lock the directory of %s", top);
    if (chain_is_marked_gone(dirfd, base, &gone, err) < 0 || chain_is_rested_on(dirfd, base, above, &others, err) < 0)
        return -1;
    if (!gone || others)
        return error_set(err, VMUNDO_CONFLICT, "%s is in use again", base);
    return put_in_place(dirfd, base, top, err) < 0 ? -1 : chain_sweep(dirfd, top, err);
}

/* ---- sweeping up ------------------------------------------------------------------------------------------------ */

/* One round: when one goes, what it rested on may be next. */
static int sweep_once(int dirfd, const char *like, bool *ret_removed, struct vmundo_error *err)
{
    AUTO_STRV struct strv marks = {0};
    AUTO_SURVEY struct survey s = {0};
    *ret_removed = false;
    if (chain_marks(dirfd, like, &marks, err) < 0 || (marks.n && survey(dirfd, like, &s, err) < 0))
        return -1;
    for (size_t i = 0; i < marks.n; i++) {
        char *gone = marks.items[i];
        gone[strlen(gone) - strlen(CHAIN_GONE)] = '\0';
        if (find(&s, gone) && count_on(&s, gone))
            continue;
        if (chain_unlink(dirfd, gone, err) < 0)
            return -1;
        *ret_removed = true;
    }
    return 0;
}

int chain_sweep(int dirfd, const char *name, struct vmundo_error *err)
{
    bool removed = true, any = false;
    while (removed) {
        if (sweep_once(dirfd, name, &removed, err) < 0)
            return -1;
        any = any || removed;
    }
    return any && sys_fsync_dir(dirfd) < 0 ? error_errno(err, errno, "cannot make the removal of overlays durable") : 0;
}
