/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm-cmd.c: running lvm, and reading its reports.
 *
 * An lvm command that dies in the middle can leave volumes suspended, so nothing we do, not even dying, may end one. It
 * writes to memory files of its own instead of pipes that would break with us. And since it then goes on without us, it
 * has our lock as its standard input: flock(2) locks last as long as any descriptor of them, so whoever comes after us
 * (vmundo recover) waits for it before it looks at anything.
 *
 * Which disks there are is lvm's own business: no filter, devices file or lock setting is given to it.
 */
#include "storage/lvm.h"

#include "util/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define GUARD "/run/vmundo-lvm"
#define LVM_LOCKS "/run/lock/lvm"
#define MAX_ARGS 48
#define MAX_TEXT ((size_t)64 << 20)
#define MAX_COMPLAINT 8192
/* How reports are written; and that lvm looks into /dev by itself: udev's list has a disk that came a moment ago, or not yet. */
#define CONFIG                                                                                                             \
    "report { compact_output=0 list_item_separator=\",\" } devices { obtain_device_list_from_udev=0 }"
#define INVALID_COMMAND_LINE 3 /* lvm2 tools/errors.h, EINVALID_CMD_LINE */
#define OLDEST "2.02.158"      /* the first with --reportformat json */

/* ---- running
 * ---------------------------------------------------------------------------------------------------------- */

/* One for each group: a disk that hangs stops the work on its own group, not on all. */
static int take_guard(const char *vg, int *ret, struct vmundo_error *err)
{
    AUTO_FREE char *path = str_printf(err, GUARD ".%s.lock", vg);
    AUTO_CLOSE int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (!path)
        return -1;
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s (LVM is for root)", path);
    if (TEMP_FAILURE_RETRY(flock(fd, LOCK_EX)) < 0)
        return error_errno(err, errno, "cannot lock %s", path);
    *ret = TAKE_FD(fd);
    return 0;
}

static int read_all(int fd, char **ret, struct vmundo_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot read what lvm said");
    size_t size = (size_t)st.st_size < MAX_TEXT ? (size_t)st.st_size : MAX_TEXT, done = 0;
    AUTO_FREE char *text = malloc(size + 1);
    if (!text)
        return error_nomem(err);
    while (done < size) {
        ssize_t n = TEMP_FAILURE_RETRY(pread(fd, text + done, size - done, (off_t)done));
        if (n <= 0)
            return error_errno(err, n < 0 ? errno : EIO, "cannot read what lvm said");
        done += (size_t)n;
    }
    text[size] = '\0';
    *ret = TAKE(text);
    return 0;
}

/* Its complaints on one line, without the warnings: the first names the cause, the last often only the consequence. */
static char *condense(char *said)
{
    said[strnlen(said, MAX_COMPLAINT)] = '\0';
    AUTO_FREE char *joined = calloc(1, strlen(said) * 2 + 1);
    char *rest = said;
    if (!joined)
        return NULL;
    for (char *line; (line = strsep(&rest, "\n"));) {
        line += strspn(line, " \t");
        if (!*line || str_has_prefix(line, "WARNING") || str_has_prefix(line, "Reducing COW size"))
            continue;
        if (*joined)
            strcat(joined, "; ");
        strcat(joined, line);
    }
    return str_escape(joined, 600);
}

static int explain(const char *const *args, int status, char *said, struct vmundo_error *err)
{
    static const struct {
        const char *text;
        int errnum;
    } known[] = {
        {"insufficient free space", ENOSPC},
        {"Insufficient free space", ENOSPC},
        {"Insufficient suitable", ENOSPC},
        {"already exists", EEXIST},
        {"not found", ENOENT},
        {"Failed to find", ENOENT},
    };
    AUTO_FREE char *what = condense(said);
    bool invalid = WIFEXITED(status) && WEXITSTATUS(status) == INVALID_COMMAND_LINE;
    int errnum = invalid ? EINVAL : 0;
    for (size_t i = 0; i < ARRAY_SIZE(known) && !errnum; i++)
        errnum = what && strstr(what, known[i].text) ? known[i].errnum : 0;
    if (invalid)
        error_set(err, VMUNDO_FAILED, "%s: %s: lvm " OLDEST " or newer is needed", args[0], what ? what : "");
    else if (WIFSIGNALED(status))
        error_set(err, VMUNDO_FAILED, "%s was killed by signal %d: %s", args[0], WTERMSIG(status), what ? what : "");
    else
        error_set(err, VMUNDO_FAILED, "%s: %s", args[0], what && *what ? what : "failed without a message");
    if (err)
        err->errnum = errnum;
    return -1;
}

static int start(const char *const *args, const struct process_options *o, pid_t *ret, struct vmundo_error *err)
{
    const char *argv[MAX_ARGS] = {"lvm", args[0], "--config", CONFIG};
    for (size_t n = 1; args[n]; n++) {
        if (n + 4 >= MAX_ARGS)
            return error_set(err, VMUNDO_FAILED, "too many arguments for lvm");
        argv[n + 3] = args[n];
    }
    if (process_spawn(argv, o, ret, err) < 0)
        return err && err->errnum == ENOENT
                   ? error_set(err, VMUNDO_FAILED, "there is no lvm in PATH: install the package lvm2")
                   : -1;
    return 0;
}

int lvm_run(const char *vg, const char *const *args, char **ret_out, struct vmundo_error *err)
{
    static const char *const env[] = {"LVM_SUPPRESS_FD_WARNINGS=1", NULL};
    AUTO_CLOSE int guard = -1;
    AUTO_CLOSE int out = memfd_create("lvm-out", MFD_CLOEXEC);
    AUTO_CLOSE int errout = memfd_create("lvm-err", MFD_CLOEXEC);
    AUTO_FREE char *said = NULL;
    pid_t pid = -1;
    int status = 0;
    if (out < 0 || errout < 0)
        return error_errno(err, errno, "cannot run lvm");
    if (take_guard(vg, &guard, err) < 0)
        return -1;
    struct process_options o = {.in = guard, .out = out, .errout = errout, .env = env, .new_session = true};
    if (start(args, &o, &pid, err) < 0)
        return -1;
    if (TEMP_FAILURE_RETRY(waitpid(pid, &status, 0)) < 0)
        return error_errno(err, errno, "cannot learn how %s ended", args[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return read_all(errout, &said, err) < 0 ? -1 : explain(args, status, said, err);
    return ret_out ? read_all(out, ret_out, err) : 0;
}

/* ---- locks of others
 * -------------------------------------------------------------------------------------------------- */

/* The process that has a lock on this file, from /proc/locks (proc(5)); 0: nobody. */
static pid_t lock_holder(const char *path)
{
    struct stat st;
    AUTO_FCLOSE FILE *f = NULL;
    char line[256];
    if (stat(path, &st) < 0 || !(f = fopen("/proc/locks", "re")))
        return 0;
    while (fgets(line, sizeof(line), f)) {
        unsigned maj, min;
        unsigned long ino;
        int pid;
        char kind[16], how[16];
        if (!strstr(line, "->") &&
            sscanf(line, "%*u: %15s %*s %15s %d %x:%x:%lu", kind, how, &pid, &maj, &min, &ino) == 6 &&
            str_eq(kind, "FLOCK") && str_eq(how, "WRITE") && ino == st.st_ino && makedev(maj, min) == st.st_dev)
            return pid;
    }
    return 0;
}

static void program_of(pid_t pid, char *buf, size_t size)
{
    AUTO_FREE char *path = str_printf(NULL, "/proc/%d/comm", (int)pid);
    AUTO_FREE char *comm = NULL;
    if (path && sys_read_file(AT_FDCWD, path, 64, &comm, NULL, NULL) == 0)
        comm[strcspn(comm, "\n")] = '\0';
    snprintf(buf, size, "%s (pid %d)", comm ? comm : "a command", (int)pid);
}

int lvm_check_lock(const char *vg, unsigned wait_ms, struct vmundo_error *err)
{
    uint64_t end = sys_monotonic_ms() + wait_ms;
    AUTO_FREE char *path = str_printf(err, LVM_LOCKS "/V_%s", vg);
    pid_t pid;
    if (!path)
        return -1;
    while ((pid = lock_holder(path)) > 0) {
        char program[64];
        program_of(pid, program, sizeof(program));
        if (sys_monotonic_ms() >= end)
            return error_set(err, VMUNDO_CONFLICT,
                             "%s is working on volume group %s and has not ended within %u s: try again when it has",
                             program, vg, wait_ms / 1000);
        usleep(50000);
    }
    return 0;
}

/* ---- reports
 * ---------------------------------------------------------------------------------------------------------- */

void lvm_vg_clear(struct lvm_vg *vg)
{
    for (size_t i = 0; i < vg->n_lvs; i++) {
        struct lvm_lv *l = &vg->lvs[i];
        char *owned[] = {l->name, l->uuid, l->segtype, l->origin, l->pool, l->health};
        for (size_t j = 0; j < ARRAY_SIZE(owned); j++)
            free(owned[j]);
        strv_clear(&l->tags);
    }
    free(vg->lvs);
    free(vg->name);
    *vg = (struct lvm_vg){0};
}

struct lvm_lv *lvm_find(const struct lvm_vg *vg, const char *lv)
{
    for (size_t i = 0; lv && i < vg->n_lvs; i++)
        if (str_eq(vg->lvs[i].name, lv))
            return &vg->lvs[i];
    return NULL;
}

int lvm_get_text(const json_t *row, const char *key, char **ret, struct vmundo_error *err)
{
    free(*ret);
    *ret = NULL;
    return json_get_string(row, key, ret, err);
}

/* Every value comes as text, "" and "-1" where there is none. */
int lvm_get_number(const json_t *row, const char *key, uint64_t *ret, struct vmundo_error *err)
{
    const char *text = json_string_value(json_object_get(row, key));
    char *end = NULL;
    if (!text)
        return error_set(err, VMUNDO_FAILED, "lvm's report has no \"%s\"", key);
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (*end || text[0] == '-' || errno) {
        AUTO_FREE char *shown = str_escape(text, 80);
        return error_set(err, VMUNDO_FAILED, "lvm's report has \"%s\" for \"%s\"", shown ? shown : "", key);
    }
    *ret = n;
    return 0;
}

static double get_percent(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text && *text ? strtod(text, NULL) : -1;
}

bool lvm_is_set(const json_t *row, const char *key)
{
    return str_eq(json_string_value(json_object_get(row, key)), "1");
}

static bool begins(const json_t *row, const char *key, const char *prefix)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text && str_has_prefix(text, prefix);
}

int lvm_get_list(const json_t *row, const char *key, struct strv *ret, struct vmundo_error *err)
{
    AUTO_FREE char *tags = NULL;
    char *rest;
    if (json_get_string(row, key, &tags, err) < 0)
        return -1;
    rest = tags;
    for (char *tag; (tag = strsep(&rest, ","));)
        if (*tag && strv_add(ret, tag, err) < 0)
            return -1;
    return 0;
}

static int take_lv(const json_t *row, struct lvm_lv *l, struct vmundo_error *err)
{
    if (lvm_get_text(row, "lv_name", &l->name, err) < 0 || lvm_get_text(row, "lv_uuid", &l->uuid, err) < 0 ||
        lvm_get_text(row, "segtype", &l->segtype, err) < 0 || lvm_get_text(row, "origin", &l->origin, err) < 0 ||
        lvm_get_text(row, "pool_lv", &l->pool, err) < 0 || lvm_get_text(row, "lv_health_status", &l->health, err) < 0 ||
        lvm_get_number(row, "lv_size", &l->size, err) < 0 || lvm_get_number(row, "chunk_size", &l->chunk, err) < 0 ||
        lvm_get_list(row, "lv_tags", &l->tags, err) < 0)
        return -1;
    size_t len = strlen(l->name);
    if (len > 2 && l->name[0] == '[' && l->name[len - 1] == ']') {
        memmove(l->name, l->name + 1, len - 2);
        l->name[len - 2] = '\0';
    }
    l->data_percent = get_percent(row, "data_percent");
    l->metadata_percent = get_percent(row, "metadata_percent");
    l->active = begins(row, "lv_active", "active");
    l->merging = lvm_is_set(row, "lv_merging");
    l->invalid = lvm_is_set(row, "lv_snapshot_invalid");
    return 0;
}

/* lvm hides what is a part of something else: "[pool_tdata]". A snapshot that is being merged is hidden too, from the
 * moment of the command on, and may have to wait for long until the merge can begin: that one we must see. */
static bool is_inner(const json_t *row)
{
    return begins(row, "lv_name", "[") && !lvm_is_set(row, "lv_merging");
}

static int take_vg(const json_t *row, struct lvm_vg *vg, struct vmundo_error *err)
{
    uint64_t extent = 0, missing = 0;
    if (lvm_get_text(row, "vg_name", &vg->name, err) < 0 || lvm_get_number(row, "vg_size", &vg->size, err) < 0 ||
        lvm_get_number(row, "vg_free", &vg->free, err) < 0 || lvm_get_number(row, "vg_extent_size", &extent, err) < 0 ||
        lvm_get_number(row, "vg_missing_pv_count", &missing, err) < 0)
        return -1;
    if (extent == 0 || extent > UINT32_MAX)
        return error_set(err, VMUNDO_FAILED, "volume group %s has extents of %llu bytes", vg->name,
                         (unsigned long long)extent);
    vg->extent = (uint32_t)extent;
    vg->missing = (unsigned)missing;
    vg->exported = lvm_is_set(row, "vg_exported");
    return 0;
}

int lvm_parse_report(const char *text, struct lvm_vg *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *j = NULL;
    AUTO_LVM_VG struct lvm_vg vg = {0};
    if (json_parse(text, "lvm's report", &j, err) < 0)
        return -1;
    const json_t *rows = json_object_get(json_array_get(json_object_get(j, "report"), 0), "lv");
    if (!json_is_array(rows))
        return error_set(err, VMUNDO_FAILED, "lvm's report has no volumes in it");
    vg.lvs = calloc(json_array_size(rows) + 1, sizeof(*vg.lvs));
    if (!vg.lvs)
        return error_nomem(err);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (i == 0 && take_vg(row, &vg, err) < 0)
            return -1;
        if (!is_inner(row) && take_lv(row, &vg.lvs[vg.n_lvs++], err) < 0)
            return -1;
    }
    *ret = vg;
    vg = (struct lvm_vg){0};
    return 0;
}

int lvm_report(const char *vg, struct lvm_vg *ret, struct vmundo_error *err)
{
    const char *args[] = {
        "lvs",
        "--all",
        LVM_REPORT_OPTIONS,
        "-o",
        "vg_name,vg_size,vg_free,vg_extent_size,vg_missing_pv_count,vg_exported,lv_name,lv_uuid,lv_size,segtype,origin,"
        "pool_lv,lv_tags,lv_active,lv_merging,lv_snapshot_invalid,lv_health_status,chunk_size,data_percent,"
        "metadata_percent",
        vg,
        NULL};
    AUTO_FREE char *text = NULL;
    struct vmundo_error e = {0};
    if (lvm_run(vg, args, &text, &e) == 0)
        return lvm_parse_report(text, ret, err);
    if (strstr(e.msg, "is exported"))
        return error_set(err, VMUNDO_REFUSED, "volume group %s is exported, for another host: vgimport it first", vg);
    if (err)
        *err = e;
    return -1;
}
