/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * context.c: opening and closing a state directory, and telling the caller what goes on.
 */
#include "core/context.h"

#include "build-config.h"
#include "config/domain.h"
#include "core/store.h"
#include "util/cleanup.h"
#include "util/str.h"
#include "util/sys.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

const char *vmundo_version(void)
{
    return VMUNDO_VERSION;
}

bool vmundo_name_is_valid(const char *name)
{
    return name && !domain_name_check(name, NULL);
}

int vmundo_parse_size(const char *text, uint64_t *ret, struct vmundo_error *err)
{
    char *end = NULL;
    errno = 0;
    double n = text && strchr("0123456789", text[0]) ? strtod(text, &end) : -1;
    if (!end || end == text || !text[0] || strspn(text, "0123456789.") != (size_t)(end - text) || errno)
        return error_set(err, VMUNDO_USAGE, "'%.40s' is no size: give a number and K, M, G or T, as in 6G",
                         text ? text : "");
    static const char units[] = "KMGT";
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (*end && (!unit || (end[1] && !str_eq(end + 1, "iB") && !str_eq(end + 1, "B"))))
        return error_set(err, VMUNDO_USAGE, "'%.40s' is no size: the unit is one of K, M, G, T", text);
    double bytes = unit ? n * (double)(1ULL << (10 * (unit - units + 1))) : n;
    if (bytes < 1)
        return error_set(err, VMUNDO_USAGE, "'%.40s' is no size: it must be at least one byte", text);
    if (bytes >= (double)INT64_MAX)
        return error_set(err, VMUNDO_USAGE, "'%.40s' is too large a size", text);
    *ret = (uint64_t)bytes;
    return 0;
}

static char *default_state_dir(struct vmundo_error *err)
{
    const char *env = getenv("VMUNDO_STATE_DIR");
    if (env && *env)
        return str_printf(err, "%s", env);
    if (geteuid() == 0)
        return str_printf(err, "/var/lib/vmundo");
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (xdg && *xdg == '/')
        return str_printf(err, "%s/vmundo", xdg);
    if (home && *home == '/')
        return str_printf(err, "%s/.local/state/vmundo", home);
    error_set(err, VMUNDO_USAGE, "there is no $HOME to keep state in: give --state-dir");
    return NULL;
}

/* mkdir -p, the last component with mode 0700, the others as umask has it. */
static int make_path(const char *path, struct vmundo_error *err)
{
    AUTO_FREE char *p = str_printf(err, "%s", path);
    if (!p)
        return -1;
    for (char *s = strchr(p + 1, '/'); s; s = strchr(s + 1, '/')) {
        *s = '\0';
        if (mkdir(p, 0755) < 0 && errno != EEXIST)
            return error_errno(err, errno, "cannot create the directory %s", p);
        *s = '/';
    }
    if (mkdir(p, 0700) < 0 && errno != EEXIST)
        return error_errno(err, errno, "cannot create the state directory %s", p);
    return 0;
}

static int check_state_dir(int fd, const char *path, struct vmundo_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot look at the state directory %s", path);
    if (st.st_uid != geteuid())
        return error_set(err, VMUNDO_FAILED, "the state directory %s belongs to uid %u: give another with --state-dir",
                         path, st.st_uid);
    if (st.st_mode & 022)
        return error_set(err, VMUNDO_FAILED, "others may write to the state directory %s: chmod go-w it first", path);
    return 0;
}

/* The id is written once and for ever: whoever comes second reads what the first one wrote. */
static int load_id(struct vmundo *v, struct vmundo_error *err)
{
    struct vmundo_error e = {0};
    if (sys_read_file(v->dirfd, "id", 64, &v->store_id, NULL, &e) < 0) {
        char hex[33];
        if (e.errnum != ENOENT)
            return error_set(err, VMUNDO_FAILED, "%s/id: %s", v->state_dir, e.msg);
        if (sys_random_hex(hex, err) < 0)
            return -1;
        hex[8] = '\0';
        AUTO_CLOSE int fd = openat(v->dirfd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
        AUTO_FREE char *link = str_printf(err, "/proc/self/fd/%d", fd);
        if (fd < 0 || write(fd, hex, 8) != 8 || fsync(fd) < 0)
            return error_errno(err, errno, "cannot write %s/id", v->state_dir);
        if (!link)
            return -1;
        if (linkat(AT_FDCWD, link, v->dirfd, "id", AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST)
            return error_errno(err, errno, "cannot write %s/id", v->state_dir);
        /* Again, now that it has a name: btrfs may have made nothing sure of a file without one. */
        if (fsync(fd) < 0 || sys_fsync_dir(v->dirfd) < 0 || sys_read_file(v->dirfd, "id", 64, &v->store_id, NULL, err) < 0)
            return error_wrap(err, "%s/id", v->state_dir);
    }
    if (strlen(v->store_id) != 8 || strspn(v->store_id, "0123456789abcdef") != 8)
        return error_set(err, VMUNDO_FAILED, "%s/id is damaged: it should hold the 8 hex digits that branch names bear",
                         v->state_dir);
    return 0;
}

static int make_layout(const struct vmundo *v, struct vmundo_error *err)
{
    static const char *const dirs[] = {"locks", "domains"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        if (mkdirat(v->dirfd, dirs[i], 0700) < 0 && errno != EEXIST)
            return error_errno(err, errno, "cannot create %s/%s", v->state_dir, dirs[i]);
    return 0;
}

/* A dry run makes no state directory: it goes on as if there were an empty one. */
static int open_nothing(struct vmundo *v, const char *dir, struct vmundo_error *err)
{
    return str_copy(dir, &v->state_dir, err) < 0 ? -1 : str_copy("00000000", &v->store_id, err);
}

static void cleanup_vmundo(struct vmundo **v)
{
    vmundo_close(*v);
}

static int give(struct vmundo **v, struct vmundo **ret)
{
    *ret = TAKE(*v);
    return 0;
}

/* A file that takes up room, and gives it back to a command that needs a little (the journal, a lock) before it frees
 * much, when next to none is left. It is made when there is plenty. None of this may fail: without it all is as if it
 * were not there. */
#define ROOM_FILE "state.db-room"
#define ROOM_SIZE ((off_t)1 << 20)
#define ROOM_LOW ((uint64_t)512 << 10)
#define ROOM_PLENTY ((uint64_t)16 << 20)

static bool has_room(const struct vmundo *v, uint64_t bytes)
{
    struct statvfs fs;
    return v->dry_run || fstatvfs(v->dirfd, &fs) < 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= bytes;
}

static void keep_room(const struct vmundo *v)
{
    struct stat st;
    if (v->dry_run || (fstatat(v->dirfd, ROOM_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == ROOM_SIZE) ||
        !has_room(v, ROOM_PLENTY))
        return;
    AUTO_CLOSE int fd = openat(v->dirfd, ROOM_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 && fallocate(fd, 0, 0, ROOM_SIZE) < 0)
        return;
}

void context_give_room(const struct vmundo *v)
{
    if (v->dirfd < 0 || has_room(v, ROOM_LOW))
        return;
    AUTO_CLOSE int fd = openat(v->dirfd, ROOM_FILE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, 0) < 0)
        return;
}

int context_open_dir(const struct vmundo_options *options, struct vmundo **ret, struct vmundo_error *err)
{
    static const struct vmundo_options defaults;
    const struct vmundo_options *o = options ? options : &defaults;

    CLEANUP(cleanup_vmundo) struct vmundo *v = calloc(1, sizeof(*v));
    if (!v)
        return error_nomem(err);
    v->dirfd = -1;
    v->dry_run = o->dry_run;
    v->report = o->report;
    v->report_data = o->report_data;

    AUTO_FREE char *dir = o->state_dir ? str_printf(err, "%s", o->state_dir) : default_state_dir(err);
    if (!dir)
        return -1;
    if (!*dir)
        return error_set(err, VMUNDO_USAGE, "the state directory's name is empty");
    bool there = access(dir, F_OK) == 0;
    if (!there && v->dry_run)
        return open_nothing(v, dir, err) < 0 ? -1 : give(&v, ret);
    if (!there && make_path(dir, err) < 0)
        return -1;
    v->state_dir = realpath(dir, NULL);
    v->dirfd = v->state_dir ? open(v->state_dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (v->dirfd < 0)
        return error_errno(err, errno, "cannot open the state directory %s", dir);
    if (check_state_dir(v->dirfd, v->state_dir, err) < 0 || load_id(v, err) < 0 || make_layout(v, err) < 0)
        return -1;
    keep_room(v);
    return give(&v, ret);
}

int vmundo_open(const struct vmundo_options *options, struct vmundo **ret, struct vmundo_error *err)
{
    CLEANUP(cleanup_vmundo) struct vmundo *v = NULL;
    if (context_open_dir(options, &v, err) < 0 || store_open(v, err) < 0)
        return -1;
    return give(&v, ret);
}

void vmundo_close(struct vmundo *v)
{
    if (!v)
        return;
    store_close(v);
    if (v->dirfd >= 0)
        close(v->dirfd);
    free(v->store_id);
    free(v->state_dir);
    free(v);
}

static void report(const struct vmundo *v, const struct vmundo_event *event)
{
    if (v->report)
        v->report(v->report_data, event);
}

void context_report(const struct vmundo *v, enum vmundo_event_kind kind, const char *domain, const char *text)
{
    report(v, &(struct vmundo_event){.kind = kind, .domain = domain, .text = text});
}

void context_progress(const struct vmundo *v, const char *domain, const char *text, uint64_t done, uint64_t total)
{
    report(v, &(struct vmundo_event){
                  .kind = VMUNDO_EVENT_PROGRESS, .domain = domain, .text = text, .done = done, .total = total});
}

void context_stage(const struct vmundo *v, const char *domain, const char *stage)
{
    report(v, &(struct vmundo_event){.kind = VMUNDO_EVENT_STAGE, .domain = domain, .stage = stage});
}

static int open_domains(const struct vmundo *v, int *ret_fd, struct vmundo_error *err)
{
    int fd = openat(v->dirfd, "domains", O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s/domains", v->state_dir);
    *ret_fd = fd;
    return 0;
}

int context_domain_dir(const struct vmundo *v, const char *name, bool create, int *ret_fd, struct vmundo_error *err)
{
    AUTO_CLOSE int domains = -1;
    if (open_domains(v, &domains, err) < 0)
        return -1;
    if (create)
        return sys_ensure_dir(domains, name, 0700, ret_fd, err);
    int fd = openat(domains, name, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s/domains/%s", v->state_dir, name);
    *ret_fd = fd;
    return 0;
}

int context_domain_folders(const struct vmundo *v, struct strv *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int domains = -1;
    if (v->dirfd < 0)
        return 0;
    if (open_domains(v, &domains, err) < 0)
        return -1;
    AUTO_DIR DIR *d = fdopendir(domains);
    if (!d)
        return error_errno(err, errno, "cannot read %s/domains", v->state_dir);
    (void)TAKE_FD(domains);
    const struct dirent *e;
    int r;
    while ((r = sys_next_entry(d, &e, err)) > 0)
        if (vmundo_name_is_valid(e->d_name) && strv_add(ret, e->d_name, err) < 0)
            return -1;
    return r;
}

#define STILL_WRITTEN_MS 2000

/* A recorder or guard that is just noticing that its domain is gone may write there until then. */
int context_remove_domain_dir(const struct vmundo *v, const char *name, struct vmundo_error *err)
{
    AUTO_CLOSE int domains = -1;
    struct vmundo_error e = {0};
    uint64_t deadline = sys_monotonic_ms() + STILL_WRITTEN_MS;
    if (open_domains(v, &domains, err) < 0)
        return -1;
    while (sys_remove_tree(domains, name, &e) < 0) {
        if (e.errnum != ENOTEMPTY || sys_monotonic_ms() > deadline) {
            if (err)
                *err = e;
            return -1;
        }
        error_clear(&e);
        poll(NULL, 0, 1);
    }
    return sys_fsync_dir(domains) < 0 ? error_errno(err, errno, "cannot make the removal of %s durable", name) : 0;
}
