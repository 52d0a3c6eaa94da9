/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_state.c: vmundo's own state, after somebody else has been at it. The first byte says what the rest is:
 *     r  a domain's record     c  a checkpoint's mark     j  a journal entry's options     g  guard.json
 *     p  pools.json            m  monitor.lock            q  qemu.pid                      f  the fingerprint of an origin
 *     s  a guest saved by QEMU     x  a guest saved by Xen     l  xl's log
 * What is taken for a record, written and read again is the same.
 */
#include "fuzz.h"

#include "core/guard.h"
#include "core/operation.h"
#include "core/pools.h"
#include "hyper/qemu-saved.h"
#include "hyper/rundir.h"
#ifdef HAVE_XEN
#include "hyper/xen-log.h"
#include "hyper/xen.h"
#endif

#include <fcntl.h>

static char folder[] = "/dev/shm/vmundo-fuzz.XXXXXX";
static int folder_fd = -1;

static void remove_folder(void)
{
    static const char *const names[] = {"monitor.lock", "qemu.pid", "pools.json", "saved"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        unlinkat(folder_fd, names[i], 0);
    rmdir(folder);
}

/* A file of that name in a folder of our own. */
static void put(const char *name, const uint8_t *data, size_t size)
{
    if (folder_fd < 0) {
        REQUIRE(mkdtemp(folder) && (folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
        atexit(remove_folder);
    }
    AUTO_CLOSE int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
}

static void check_record(const char *text)
{
    CLEANUP(record_clear) struct record r = {0}, again = {0};
    AUTO_FREE char *first = NULL, *second = NULL;
    struct vmundo_error err = {0};
    if (record_from_text(text, &r, &err) < 0) {
        REQUIRE_REFUSED(err);
        return;
    }
    REQUIRE(vmundo_name_is_valid(r.name));
    for (size_t i = 0; i < r.n_disks; i++)
        REQUIRE(r.disks[i].vdev && r.disks[i].branch < (int64_t)r.n_branches);
    (void)record_is_bounded(&r);
    REQUIRE(record_to_text(&r, &first, &err) == 0 && record_from_text(first, &again, &err) == 0);
    REQUIRE(record_to_text(&again, &second, &err) == 0 && str_eq(first, second));
}

static void check_checkpoint(const char *text)
{
    AUTO_CHECKPOINT struct checkpoint c = {0}, again = {0};
    AUTO_FREE char *first = NULL, *second = NULL;
    struct vmundo_error err = {0};
    if (checkpoint_from_text(text, &c, &err) < 0) {
        REQUIRE_REFUSED(err);
        return;
    }
    REQUIRE(checkpoint_name(&c));
    REQUIRE(checkpoint_to_text(&c, &first, &err) == 0 && checkpoint_from_text(first, &again, &err) == 0);
    REQUIRE(checkpoint_to_text(&again, &second, &err) == 0 && str_eq(first, second));
}

static void check_journal(const char *text)
{
    AUTO_OPERATION struct operation op = OPERATION_INIT;
    struct store_operation entry = {.domain = strdup("web"), .verb = strdup("rollback"), .options = strdup(text)};
    struct vmundo_error err = {0};
    if (operation_load(&op, NULL, &entry, &err) < 0)
        REQUIRE_REFUSED(err);
}

static void check_note(const char *text)
{
    CLEANUP(guard_note_clear) struct guard_note n = {0};
    struct vmundo_error err = {0};
    if (guard_note_parse(text, 1, &n, &err) < 0)
        REQUIRE_REFUSED(err);
}

#ifdef HAVE_POOLS
static void check_pools(const uint8_t *data, size_t size)
{
    put("pools.json", data, size);
    struct vmundo v = {.state_dir = folder, .dirfd = folder_fd};
    AUTO_JSON json_t *pools = NULL;
    struct pool_entry e;
    struct vmundo_error err = {0};
    if (pools_read(&v, &pools, &err) < 0) {
        REQUIRE_REFUSED(err);
        return;
    }
    REQUIRE(!pools_find(pools, "fast", &e) || (e.path && e.kind));
}
#endif

static void check_process(const uint8_t *data, size_t size)
{
    AUTO_JSON json_t *o = NULL;
    struct sys_process p;
    struct monitor_record r;
    struct vmundo_error err = {0};
    put("qemu.pid", data, size);
    if (rundir_get(folder_fd, "qemu.pid", &o, &err) < 0 || rundir_process_parse(o, &p, &err) < 0)
        REQUIRE_REFUSED(err);
    else
        REQUIRE(p.pid > 0); /* what is sent to others goes to a group, or to all */
    put("monitor.lock", data, size);
    err = (struct vmundo_error){0};
    if (monitor_record_read(folder_fd, &r, &err) < 0)
        REQUIRE_REFUSED(err);
}

static void check_saved(const uint8_t *data, size_t size)
{
    AUTO_SAVED struct saved s = {0};
    AUTO_STRV struct strv machine = {0};
    AUTO_CLOSE int fd = -1;
    AUTO_FREE char *path = NULL;
    struct vmundo_error err = {0};
    put("saved", data, size);
    REQUIRE((path = str_printf(NULL, "%s/saved", folder)));
    if (saved_open(path, &fd, &s, &err) < 0) {
        REQUIRE_REFUSED(err);
        return;
    }
    REQUIRE(s.qemu && s.stream < s.size && s.size == size && lseek(fd, 0, SEEK_CUR) == (off_t)s.stream);
    if (saved_check(&s, "a1 web 7", &machine, false, &err) < 0)
        REQUIRE_REFUSED(err);
}

#ifdef HAVE_XEN
static void check_xen_saved(const uint8_t *data, size_t size)
{
    AUTO_FREE char *path = NULL;
    struct vmundo_error err = {0};
    put("saved", data, size);
    REQUIRE((path = str_printf(NULL, "%s/saved", folder)));
    if (xen_saved_check(path, NULL, &err) < 0)
        REQUIRE_REFUSED(err);
}

static void check_xl_log(const char *text)
{
    struct xl_log log;
    struct vmundo_error err = {0};
    xl_log_parse(text, &log);
    REQUIRE(xl_reason_text(log.reason));
    AUTO_FREE char *errors = xl_log_errors(text, &err);
    AUTO_FREE char *safe = errors ? str_escape(errors, strlen(errors)) : NULL;
    REQUIRE(errors && str_eq(errors, safe));
}
#endif

/* Of an origin that is another one now. */
static void check_fingerprint(const uint8_t *data, size_t size, const char *text)
{
    AUTO_FREE char *what = NULL;
    AUTO_CLOSE int fd = fuzz_file(data, size);
    bool changed;
    struct vmundo_error err = {0};
    if (fingerprint_compare_fd(fd, text, &changed, &what, &err) < 0)
        REQUIRE_REFUSED(err);
    else
        REQUIRE(!changed || what);
}

static void check_text(char choice, const char *text)
{
    if (choice == 'r')
        check_record(text);
    else if (choice == 'c')
        check_checkpoint(text);
    else if (choice == 'j')
        check_journal(text);
    else if (choice == 'g')
        check_note(text);
#ifdef HAVE_XEN
    else if (choice == 'l')
        check_xl_log(text);
#endif
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char choice = fuzz_choice(&data, &size);
    AUTO_FREE char *text = fuzz_text(data, size);
    check_text(choice, text);
    if (choice == 'm' || choice == 'q')
        check_process(data, size);
    else if (choice == 'f')
        check_fingerprint(data, size, text);
    else if (choice == 's')
        check_saved(data, size);
#ifdef HAVE_POOLS
    else if (choice == 'p')
        check_pools(data, size);
#endif
#ifdef HAVE_XEN
    else if (choice == 'x')
        check_xen_saved(data, size);
#endif
    return 0;
}
