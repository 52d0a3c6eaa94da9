/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pools.c: the list of pools that are files, and what the commands on pools and volumes have in common.
 */
#include "core/pools.h"

#include "util/sys.h"

#include <fcntl.h>

#define FILE_NAME "pools.json"
#define MAX_FILE ((size_t)4 << 20)

/* ---- the list -------------------------------------------------------------------------------------------------------- */

int pools_read(const struct vmundo *v, json_t **ret, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    AUTO_JSON json_t *j = NULL;
    struct vmundo_error e = {.errnum = ENOENT};
    if (v->dirfd >= 0 && sys_read_file(v->dirfd, FILE_NAME, MAX_FILE, &text, NULL, &e) < 0 && e.errnum != ENOENT)
        return error_set(err, e.code, "%s/" FILE_NAME ": %s", v->state_dir, e.msg);
    if (text && json_parse(text, FILE_NAME, &j, err) < 0)
        return error_wrap(err, "%s/" FILE_NAME " is damaged: remove it, and give pools by their path to 'vmundo pool mount'",
                          v->state_dir);
    if (text && !json_is_array(j))
        return error_set(err, VMUNDO_FAILED, "%s/" FILE_NAME " is damaged: remove it, and give pools by their path to "
                         "'vmundo pool mount'", v->state_dir);
    if (!j && !(j = json_array()))
        return error_nomem(err);
    *ret = TAKE(j);
    return 0;
}

void pools_entry(const json_t *j, struct pool_entry *ret)
{
    *ret = (struct pool_entry){
        .name = json_string_value(json_object_get(j, "name")),
        .kind = json_string_value(json_object_get(j, "kind")),
        .path = json_string_value(json_object_get(j, "path")),
        .mount = json_string_value(json_object_get(j, "mount")),
        .making = json_is_true(json_object_get(j, "making")),
    };
}

bool pools_find(const json_t *pools, const char *name, struct pool_entry *ret)
{
    for (size_t i = 0; i < json_array_size(pools); i++) {
        pools_entry(json_array_get(pools, i), ret);
        if (str_eq(ret->name, name) && ret->path && ret->kind)
            return true;
    }
    *ret = (struct pool_entry){0};
    return false;
}

static void take_out(json_t *pools, const char *name)
{
    for (size_t i = json_array_size(pools); i-- > 0;)
        if (str_eq(json_string_value(json_object_get(json_array_get(pools, i), "name")), name))
            json_array_remove(pools, i);
}

static int write_list(const struct vmundo *v, const json_t *pools, struct vmundo_error *err)
{
    AUTO_FREE char *text = json_text(pools, err);
    return text ? sys_write_file(v->dirfd, FILE_NAME, text, strlen(text), err) : -1;
}

int pools_put(const struct vmundo *v, const struct pool_entry *e, struct vmundo_error *err)
{
    AUTO_JSON json_t *pools = NULL;
    if (v->dry_run)
        return 0;
    if (pools_read(v, &pools, err) < 0)
        return -1;
    take_out(pools, e->name);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s?, s:b}", "name", e->name, "kind", e->kind, "path", e->path, "mount",
                          e->mount, "making", e->making);
    if (!j)
        return error_set(err, VMUNDO_USAGE, "'%s' is not UTF-8, and cannot be remembered", e->name);
    return json_array_append_new(pools, j) < 0 ? error_nomem(err) : write_list(v, pools, err);
}

int pools_forget(const struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_JSON json_t *pools = NULL;
    if (v->dry_run)
        return 0;
    if (pools_read(v, &pools, err) < 0)
        return -1;
    take_out(pools, name);
    return write_list(v, pools, err);
}

/* ---- in common ------------------------------------------------------------------------------------------------------ */

int pools_lock(const struct vmundo *v, const char *verb, struct lock *ret, struct vmundo_error *err)
{
    return v->dry_run ? 0 : lock_pools(v, verb, ret, err);
}

static bool report_step(void *data, const char *text)
{
    const struct pool_report *r = data;
    context_report(r->v, VMUNDO_EVENT_ACTION, r->subject, text);
    return !r->v->dry_run;
}

static void report_warning(void *data, const char *text)
{
    const struct pool_report *r = data;
    context_report(r->v, VMUNDO_EVENT_WARNING, r->subject, text);
}

void pool_report_init(struct pool_report *r, const struct vmundo *v, const char *subject)
{
    *r = (struct pool_report){.v = v, .subject = subject,
                              .steps = {.step = report_step, .warn = report_warning, .data = r}};
}

int pool_canonical(const char *path, char **ret, struct vmundo_error *err)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (!*base || str_eq(base, ".") || str_eq(base, ".."))
        return error_set(err, VMUNDO_USAGE, "'%s' is not the path of a file", path);
    AUTO_FREE char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!dir)
        return error_nomem(err);
    AUTO_FREE char *real = realpath(dir, NULL);
    if (!real)
        return errno == ENOENT ? error_set(err, VMUNDO_NOT_FOUND, "there is no directory %s", dir)
                               : error_errno(err, errno, "cannot use the directory %s", dir);
    char *whole = str_printf(err, "%s/%s", str_eq(real, "/") ? "" : real, base);
    if (!whole)
        return -1;
    *ret = whole;
    return 0;
}
