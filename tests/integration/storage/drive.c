/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * drive.c: calls storage callbacks one at a time, for tests in shell.
 *
 *     drive new STATE TARGET FORMAT METHOD DOMAIN GENERATION STATE_DIR    choose, name (METHOD "-": chosen)
 *     drive create|attach|detach|remove|inspect|locate|changed|preflight|keep_check|keep STATE
 *     drive stack TARGET  ·  drive plan TARGET FORMAT  ·  drive in-use TARGET [writers]  ·  drive fingerprint PATH
 *
 * STATE is a file that holds the branch as core would store it. Exit codes are vmundo's.
 */
#include "storage/storage.h"
#include "util/sys.h"

#include <fcntl.h>
#include <inttypes.h>

#define STORE "0badcafe"

static int save(const char *path, json_t *j, struct vmundo_error *err)
{
    AUTO_FREE char *text = json_text(j, err);
    AUTO_CLOSE int dirfd = -1;
    const char *base;
    if (!text || sys_open_parent(path, &dirfd, &base, err) < 0)
        return -1;
    return sys_write_file(dirfd, base, text, strlen(text), err);
}

static int do_new(char **a, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    CLEANUP(claim_clear) struct claim c = {0};
    CLEANUP(branch_clear) struct branch b = {0};
    struct mark m = {STORE, a[4], strtoull(a[5], NULL, 10)};
    if (stack_resolve(a[1], &s, err) < 0 ||
        storage_choose(&s, a[2], strcmp(a[3], "-") ? a[3] : NULL, &b.driver, &c, err) < 0 ||
        str_copy(c.volume, &b.origin, err) < 0 || str_copy(c.inside ? NULL : a[2], &b.origin_format, err) < 0 ||
        (c.inside && strv_add(&b.inside, c.inside, err) < 0) ||
        str_copy("off", &b.consistency, err) < 0 || storage_name(&b, &m, a[6], err) < 0)
        return -1;
    AUTO_JSON json_t *j = json_pack("{ss sI so}", "domain", a[4], "generation", (json_int_t)m.generation, "branch",
                                    branch_to_json(&b));
    printf("%s %s\n", b.driver->name, b.path);
    return save(a[0], j, err);
}

static void show_progress(void *data, uint64_t done, uint64_t total)
{
    (void)data;
    fprintf(stderr, "%" PRIu64 "/%" PRIu64 "\n", done, total);
}

static int do_inspect(const struct branch *b, struct vmundo_error *err)
{
    CLEANUP(branch_status_clear) struct branch_status s = {0};
    if (storage_inspect(b, &s, err) < 0)
        return -1;
    printf("exists=%d used=%" PRIu64 " health=%s\n", s.exists, s.used, s.health);
    return 0;
}

/* Path, format and kind of the branch, or of the first image in it. */
static int do_locate(const struct branch *b, struct vmundo_error *err)
{
    AUTO_FREE char *path = NULL, *format = NULL;
    bool block = false;
    if (storage_locate(b, b->inside.n ? b->inside.items[0] : NULL, &path, &format, &block, err) < 0)
        return -1;
    printf("%s\n%s\n%s\n", path, format ? format : "", block ? "block" : "file");
    return 0;
}

static int do_changed(const struct branch *b, struct vmundo_error *err)
{
    AUTO_FREE char *what = NULL;
    bool changed;
    if (storage_changed(b, &changed, &what, err) < 0)
        return -1;
    printf("%s\n", changed ? what : "unchanged");
    return 0;
}

static int do_create(const char *state, json_t *j, struct branch *b, struct vmundo_error *err)
{
    AUTO_FREE char *domain = NULL;
    struct mark m = {.store = STORE};
    if (json_get_string(j, "domain", &domain, err) < 0 || json_get_u64(j, "generation", &m.generation, err) < 0)
        return -1;
    m.domain = domain;
    if (storage_create(b, &m, err) < 0)
        return -1;
    json_object_set_new(j, "branch", branch_to_json(b));
    return save(state, j, err);
}

static int do_callback(const char *verb, const char *state, struct vmundo_error *err)
{
    static const struct progress progress = {show_progress, NULL};
    CLEANUP(branch_clear) struct branch b = {0};
    AUTO_FREE char *text = NULL;
    AUTO_JSON json_t *j = NULL;
    if (sys_read_file(AT_FDCWD, state, 1 << 20, &text, NULL, err) < 0 || json_parse(text, state, &j, err) < 0 ||
        branch_from_json(json_object_get(j, "branch"), &b, err) < 0)
        return -1;
    if (str_eq(verb, "create"))
        return do_create(state, j, &b, err);
    if (str_eq(verb, "locate"))
        return do_locate(&b, err);
    if (str_eq(verb, "preflight"))
        return storage_preflight(&b, err);
    if (str_eq(verb, "attach"))
        return storage_attach(&b, err);
    if (str_eq(verb, "detach"))
        return storage_detach(&b, err);
    if (str_eq(verb, "remove"))
        return storage_remove(&b, err);
    if (str_eq(verb, "inspect"))
        return do_inspect(&b, err);
    if (str_eq(verb, "changed"))
        return do_changed(&b, err);
    if (str_eq(verb, "keep_check"))
        return storage_keep_check(&b, err);
    if (str_eq(verb, "keep"))
        return storage_keep(&b, &progress, err);
    return error_set(err, VMUNDO_USAGE, "what is %s?", verb);
}

static int do_stack(const char *target, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    if (stack_resolve(target, &s, err) < 0)
        return -1;
    printf("kind=%d\npath=%s\nvia_loop=%s\nsize=%" PRIu64 "\nmount=%s\ntype=%s\nsource=%s\nroot=%s\nreadonly=%d\n"
           "reflink=%d\ndm=%s %s\n",
           s.kind, s.path, s.via_loop ? s.via_loop : "", s.size, s.mount_point ? s.mount_point : "",
           s.fs_type ? s.fs_type : "", s.fs_source ? s.fs_source : "", s.fs_root ? s.fs_root : "", s.fs_readonly,
           s.can_reflink, s.dm_name ? s.dm_name : "", s.dm_uuid ? s.dm_uuid : "");
    return 0;
}

static int do_plan(const char *target, const char *format, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    if (stack_resolve(target, &s, err) < 0)
        return -1;
    for (const struct storage_driver *const *d = storage_drivers(); *d; d++) {
        CLEANUP(claim_clear) struct claim c = {0};
        if ((*d)->claim(&s, format, &c, err) < 0)
            return -1;
        printf("%s: %s: %s%s%s\n", (*d)->name, c.possible ? "yes" : "no", c.why, c.cost ? "; " : "",
               c.cost ? c.cost : "");
    }
    return 0;
}

static int do_in_use(const char *target, bool writers_only, struct vmundo_error *err)
{
    CLEANUP(stack_clear) struct stack s = {0};
    AUTO_FREE char *who = NULL;
    if (stack_resolve(target, &s, err) < 0 || storage_in_use(&s, writers_only, &who, err) < 0)
        return -1;
    printf("%s\n", who ? who : "nobody");
    return 0;
}

static int do_fingerprint(const char *path, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    if (fingerprint_take(path, &text, err) < 0)
        return -1;
    printf("%s\n", text);
    return 0;
}

static int dispatch(int argc, char **argv, struct vmundo_error *err)
{
    if (argc == 9 && str_eq(argv[1], "new"))
        return do_new(argv + 2, err);
    if (argc == 3 && str_eq(argv[1], "stack"))
        return do_stack(argv[2], err);
    if (argc == 4 && str_eq(argv[1], "plan"))
        return do_plan(argv[2], argv[3], err);
    if (argc >= 3 && str_eq(argv[1], "in-use"))
        return do_in_use(argv[2], argc > 3, err);
    if (argc == 3 && str_eq(argv[1], "fingerprint"))
        return do_fingerprint(argv[2], err);
    if (argc == 3)
        return do_callback(argv[1], argv[2], err);
    return error_set(err, VMUNDO_USAGE, "see the first lines of drive.c");
}

int main(int argc, char **argv)
{
    struct vmundo_error err = {0};
    if (dispatch(argc, argv, &err) == 0)
        return 0;
    fprintf(stderr, "drive: %s\n", err.msg);
    return (int)err.code;
}
