/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fingerprint.c: has an origin changed since its branch was made?
 *
 * A fingerprint is one line of text: the kind ("file" or "device") and fields "key=value".
 *
 *     file ino=131 birth=1700000000.5 size=1073741824 mtime=1700000100.25
 *     device size=1073741824 boot=UUID seq=9 written=4711 samples=0123456789abcdef
 *
 * A file's inode alone would be given to the next file when it is deleted; with its time of birth it names one file for
 * good. A device has no modification time, but the kernel counts the sectors that are written to it. The count starts
 * again with each boot and each attachment (seq, the disk's sequence number): beyond those, 64 samples and the start of
 * the device, where partition tables and file systems keep what they write at every mount, have to do. The hash need
 * not withstand anybody: it is FNV-1a.
 */
#include "storage/sidecar.h"

#include "storage/block.h"
#include "util/sys.h"

#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#define SAMPLES 64
#define SAMPLE_SIZE 4096
#define HEAD_SIZE 65536
#define FIELD_MAX 64

/* ---- taking ----------------------------------------------------------------------------------------------------- */

static int take_file(int fd, char **ret, struct vmundo_error *err)
{
    struct statx s;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &s) < 0)
        return error_errno(err, errno, "cannot look at the file");
    if (!(s.stx_mask & STATX_BTIME))
        s.stx_btime = (struct statx_timestamp){0};
    char *text = str_printf(err, "file ino=%" PRIu64 " birth=%" PRId64 ".%09u size=%" PRIu64 " mtime=%" PRId64 ".%09u",
                            (uint64_t)s.stx_ino, (int64_t)s.stx_btime.tv_sec, s.stx_btime.tv_nsec, (uint64_t)s.stx_size,
                            (int64_t)s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec);
    if (!text)
        return -1;
    *ret = text;
    return 0;
}

static uint64_t hash_more(uint64_t h, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static int hash_part(int fd, uint64_t offset, size_t size, uint64_t *h, struct vmundo_error *err)
{
    unsigned char buf[HEAD_SIZE];
    ssize_t n = TEMP_FAILURE_RETRY(pread(fd, buf, size, (off_t)offset));
    if (n < 0)
        return error_errno(err, errno, "cannot read the device");
    *h = hash_more(*h, buf, (size_t)n);
    return 0;
}

static uint64_t sample_offset(uint64_t size, unsigned i)
{
    return size / SAMPLES * i / SAMPLE_SIZE * SAMPLE_SIZE;
}

/* All reads are asked for before the first is waited for: a disk with heads can sort them, others do them at once. */
static int take_samples(int fd, uint64_t size, uint64_t *ret, struct vmundo_error *err)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (unsigned i = 0; i < SAMPLES; i++)
        (void)posix_fadvise(fd, (off_t)sample_offset(size, i), SAMPLE_SIZE, POSIX_FADV_WILLNEED);
    if (hash_part(fd, 0, HEAD_SIZE, &h, err) < 0)
        return -1;
    for (unsigned i = 1; i < SAMPLES; i++)
        if (hash_part(fd, sample_offset(size, i), SAMPLE_SIZE, &h, err) < 0)
            return -1;
    *ret = h;
    return 0;
}

/* The fields that are read in a moment, all of a device's but the samples. seq 0: the counter cannot be relied on. */
static int take_counters(int fd, char **ret, uint64_t *ret_size, struct vmundo_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot look at the device");
    (void)fsync(fd); /* what others wrote through the page cache is to be counted now, not later */
    AUTO_FREE char *boot = NULL;
    if (sys_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot, NULL, err) < 0)
        return -1;
    boot[strcspn(boot, "\n")] = '\0';
    AUTO_FREE char *seq = NULL, *counts = NULL, *stat = NULL;
    if (block_disk_attr(st.st_rdev, "diskseq", &seq, err) < 0 ||
        block_disk_attr(st.st_rdev, "queue/iostats", &counts, err) < 0 ||
        block_attr(st.st_rdev, "stat", &stat, err) < 0)
        return -1;
    uint64_t written = 0; /* its seventh field, Documentation/block/stat.rst */
    bool reliable =
        seq && str_eq(counts, "1") && stat && sscanf(stat, "%*u %*u %*u %*u %*u %*u %" SCNu64, &written) == 1;
    uint64_t size = block_size(st.st_rdev);
    char *text = str_printf(err, "device size=%" PRIu64 " boot=%s seq=%s written=%" PRIu64, size, boot,
                            reliable ? seq : "0", written);
    if (!text)
        return -1;
    *ret = text;
    *ret_size = size;
    return 0;
}

static int take_device(int fd, char **ret, struct vmundo_error *err)
{
    AUTO_FREE char *counters = NULL;
    uint64_t size, samples;
    if (take_counters(fd, &counters, &size, err) < 0 || take_samples(fd, size, &samples, err) < 0)
        return -1;
    char *text = str_printf(err, "%s samples=%016" PRIx64, counters, samples);
    if (!text)
        return -1;
    *ret = text;
    return 0;
}

static int is_device(int fd, bool *ret, struct vmundo_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot look at the origin");
    *ret = S_ISBLK(st.st_mode);
    return 0;
}

int fingerprint_take_fd(int fd, char **ret, struct vmundo_error *err)
{
    bool device = false;
    if (is_device(fd, &device, err) < 0)
        return -1;
    return device ? take_device(fd, ret, err) : take_file(fd, ret, err);
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

/* The value of one field, "" if there is none. */
static void field(const char *print, const char *key, char ret[FIELD_MAX])
{
    size_t n = strlen(key);
    ret[0] = '\0';
    for (const char *p = strchr(print, ' '); p; p = strchr(p, ' ')) {
        p++;
        if (strncmp(p, key, n) || p[n] != '=')
            continue;
        snprintf(ret, FIELD_MAX, "%.*s", (int)strcspn(p + n + 1, " "), p + n + 1);
        return;
    }
}

static bool same(const char *a, const char *b, const char *key)
{
    char va[FIELD_MAX], vb[FIELD_MAX];
    field(a, key, va);
    field(b, key, vb);
    return str_eq(va, vb);
}

static char *describe_size(const char *then, const char *now, struct vmundo_error *err)
{
    char was[FIELD_MAX], is[FIELD_MAX];
    field(then, "size", was);
    field(now, "size", is);
    return str_printf(err, "its size was %s bytes and is %s now", was, is);
}

static char *describe_time(const char *now, struct vmundo_error *err)
{
    char mtime[FIELD_MAX], date[FIELD_MAX + sizeof("second ")];
    field(now, "mtime", mtime);
    time_t t = (time_t)strtoll(mtime, NULL, 10);
    struct tm tm;
    /* Anybody who owns a file can give it a time in the year 292277026596. */
    if (!localtime_r(&t, &tm) || !strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(date, sizeof(date), "second %s", mtime);
    return str_printf(err, "it was written to at %s", date);
}

static int compare_file(int fd, const char *then, char **ret_what, struct vmundo_error *err)
{
    AUTO_FREE char *now = NULL;
    char *what = NULL;
    if (take_file(fd, &now, err) < 0)
        return -1;
    if (str_eq(now, then))
        return 0;
    if (!same(now, then, "ino") || !same(now, then, "birth"))
        what = str_printf(err, "another file has taken its place");
    else if (!same(now, then, "size"))
        what = describe_size(then, now, err);
    else
        what = describe_time(now, err);
    *ret_what = what;
    return what ? 0 : -1;
}

static char *describe_writes(const char *then, const char *now, struct vmundo_error *err)
{
    char was[FIELD_MAX], is[FIELD_MAX];
    field(then, "written", was);
    field(now, "written", is);
    return str_printf(err, "%llu KiB were written to it", (strtoull(is, NULL, 10) - strtoull(was, NULL, 10)) / 2);
}

static int compare_device(int fd, const char *then, char **ret_what, struct vmundo_error *err)
{
    AUTO_FREE char *now = NULL;
    uint64_t size, samples;
    char seq[FIELD_MAX], hash[FIELD_MAX], then_hash[FIELD_MAX];
    if (take_counters(fd, &now, &size, err) < 0)
        return -1;
    field(now, "seq", seq);
    if (!same(now, then, "size")) {
        *ret_what = describe_size(then, now, err);
        return *ret_what ? 0 : -1;
    }
    if (!str_eq(seq, "0") && same(now, then, "boot") && same(now, then, "seq")) {
        if (same(now, then, "written"))
            return 0;
        *ret_what = describe_writes(then, now, err);
        return *ret_what ? 0 : -1;
    }
    if (take_samples(fd, size, &samples, err) < 0)
        return -1;
    snprintf(hash, sizeof(hash), "%016" PRIx64, samples);
    field(then, "samples", then_hash);
    if (!str_eq(hash, then_hash) && !(*ret_what = str_printf(err, "samples of its content are not what they were")))
        return -1;
    return 0;
}

int fingerprint_compare_fd(int fd, const char *then, bool *ret_changed, char **ret_what, struct vmundo_error *err)
{
    bool device = false, was_device = str_has_prefix(then, "device ");
    AUTO_FREE char *what = NULL;
    if (!was_device && !str_has_prefix(then, "file "))
        return error_set(err, VMUNDO_FAILED, "a fingerprint that nobody can read: %.80s", then);
    if (is_device(fd, &device, err) < 0)
        return -1;
    if (device != was_device) {
        what =
            str_printf(err, "it was a %s and is a %s now", was_device ? "device" : "file", device ? "device" : "file");
        if (!what)
            return -1;
    } else if ((device ? compare_device(fd, then, &what, err) : compare_file(fd, then, &what, err)) < 0) {
        return -1;
    }
    *ret_changed = what != NULL;
    *ret_what = TAKE(what);
    return 0;
}

/* ---- by path ---------------------------------------------------------------------------------------------------- */

int fingerprint_take(const char *path, char **ret, struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    if (sidecar_open_origin(path, O_RDONLY, &f, err) < 0)
        return -1;
    return fingerprint_take_fd(f.fd, ret, err) < 0 ? error_wrap(err, "%s", path) : 0;
}

int fingerprint_compare(const char *path, const char *then, bool *ret_changed, char **ret_what,
                        struct vmundo_error *err)
{
    AUTO_SIDECAR_FILE struct sidecar_file f = SIDECAR_FILE_INIT;
    struct vmundo_error local = {0};
    if (sidecar_open_origin(path, O_RDONLY, &f, &local) < 0) {
        if (local.errnum != ENOENT)
            return error_set(err, local.code, "%s", local.msg);
        char *what = str_printf(err, "it is gone");
        if (!what)
            return -1;
        *ret_what = what;
        *ret_changed = true;
        return 0;
    }
    return fingerprint_compare_fd(f.fd, then, ret_changed, ret_what, err) < 0 ? error_wrap(err, "%s", path) : 0;
}
