/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-saved.c: see qemu-saved.h. Writing, reading, and what a saved guest needs of the machine that is to go on with
 * it. */
#include "hyper/qemu-saved.h"

#include "hyper/sum.h"
#include "util/sys.h"

#include <fcntl.h>
#include <inttypes.h>

#define MAGIC "vmundo saved guest 1\n"
#define MAX_HEAD ((size_t)256 << 10)
#define BLOCK ((size_t)4096)

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static char *make_head(const struct saved *s, const char *sum, struct vmundo_error *err)
{
    AUTO_JSON json_t *machine = json_array();
    for (size_t n = 0; n < s->machine.n; n++)
        if (json_array_append_new(machine, json_string(s->machine.items[n])) < 0) {
            error_nomem(err);
            return NULL;
        }
    AUTO_JSON json_t *o =
        json_pack("{s:s*, s:s, s:O, s:b, s:I, s:I, s:s}", "of", s->of, "qemu", s->qemu, "machine", machine, "ram",
                  s->has_ram, "stream", (json_int_t)s->stream, "size", (json_int_t)s->size, "sum", sum);
    AUTO_FREE char *text = o ? json_text(o, err) : NULL;
    if (!text) {
        error_nomem(err);
        return NULL;
    }
    return str_printf(err, MAGIC "%s\n", text);
}

int saved_begin(int fd, struct saved *s, struct vmundo_error *err)
{
    s->stream = s->size = INT64_MAX; /* as long as they can get */
    AUTO_FREE char *head = make_head(s, "0123456789abcdef", err);
    if (!head)
        return -1;
    s->stream = (strlen(head) + BLOCK - 1) / BLOCK * BLOCK;
    if (s->stream > MAX_HEAD)
        return error_set(err, VMUNDO_FAILED, "the machine has too many devices to be described in a saved state");
    return lseek(fd, (off_t)s->stream, SEEK_SET) < 0 ? error_errno(err, errno, "cannot write the saved state") : 0;
}

int saved_finish(int fd, struct saved *s, struct vmundo_error *err)
{
    struct stat st;
    char sum[SUM_SIZE];
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot look at the saved state");
    s->size = (uint64_t)st.st_size;
    if (s->size <= s->stream)
        return error_set(err, VMUNDO_FAILED, "QEMU has written nothing");
    AUTO_FREE char *head = sum_file(fd, s->stream, s->size, sum, err) == 0 ? make_head(s, sum, err) : NULL;
    if (!head)
        return -1;
    ssize_t n = pwrite(fd, head, strlen(head), 0);
    if (n != (ssize_t)strlen(head) || fdatasync(fd) < 0)
        return error_errno(err, n >= 0 && n != (ssize_t)strlen(head) ? ENOSPC : errno, "cannot write the saved state");
    return 0;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static int parse_machine(const json_t *list, struct strv *ret, struct vmundo_error *err)
{
    for (size_t n = 0; n < json_array_size(list); n++) {
        const char *fact = json_string_value(json_array_get(list, n));
        if (!fact)
            return error_set(err, VMUNDO_FAILED, "its head is damaged");
        if (strv_add(ret, fact, err) < 0)
            return -1;
    }
    return 0;
}

static int parse_head(const char *head, uint64_t file_size, struct saved *s, char **ret_sum, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    if (json_parse(head, "its head", &o, err) < 0 || json_opt_string(o, "of", &s->of, err) < 0 ||
        json_get_string(o, "qemu", &s->qemu, err) < 0 ||
        parse_machine(json_object_get(o, "machine"), &s->machine, err) < 0 ||
        json_get_u64(o, "stream", &s->stream, err) < 0 || json_get_u64(o, "size", &s->size, err) < 0 ||
        json_get_string(o, "sum", ret_sum, err) < 0)
        return -1;
    s->has_ram = json_opt_bool(o, "ram", false);
    if (s->stream >= s->size)
        return error_set(err, VMUNDO_FAILED, "its head is damaged");
    if (s->size != file_size)
        return error_set(err, VMUNDO_FAILED, "it was %" PRIu64 " bytes long and is %" PRIu64 " now", s->size,
                         file_size);
    return 0;
}

static int read_head(int fd, struct saved *s, char **ret_sum, struct vmundo_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot look at it");
    size_t len = (uint64_t)st.st_size < MAX_HEAD ? (size_t)st.st_size : MAX_HEAD;
    AUTO_FREE char *head = calloc(len + 1, 1);
    if (!head)
        return error_nomem(err);
    if (!S_ISREG(st.st_mode))
        return error_set(err, VMUNDO_FAILED, "it is no file");
    if (sum_read(fd, head, len, 0, err) < 0)
        return -1;
    char *end = str_has_prefix(head, MAGIC) ? strchr(head + strlen(MAGIC), '\n') : NULL;
    if (!end)
        return error_set(err, VMUNDO_FAILED, "it is no complete saved state");
    *end = '\0';
    return parse_head(head + strlen(MAGIC), (uint64_t)st.st_size, s, ret_sum, err);
}

int saved_give(int fd, const char *of, struct vmundo_error *err)
{
    AUTO_SAVED struct saved s = {0};
    AUTO_FREE char *sum = NULL, *head = NULL;
    if (read_head(fd, &s, &sum, err) < 0)
        return -1;
    free(s.of);
    s.of = NULL;
    if (str_copy(of, &s.of, err) < 0 || !(head = make_head(&s, sum, err)))
        return -1;
    if (strlen(head) > s.stream)
        return error_set(err, VMUNDO_FAILED, "there is no room for \"%s\" in the saved state", of);
    ssize_t n = pwrite(fd, head, strlen(head), 0);
    if (n != (ssize_t)strlen(head) || fdatasync(fd) < 0)
        return error_errno(err, n >= 0 && n != (ssize_t)strlen(head) ? ENOSPC : errno, "cannot write the saved state");
    return 0;
}

int saved_open(const char *path, int *ret_fd, struct saved *ret, struct vmundo_error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    AUTO_SAVED struct saved s = {0};
    AUTO_FREE char *sum = NULL;
    char now[SUM_SIZE];
    if (fd < 0)
        return error_errno(err, errno, "cannot open the saved state %s", path);
    if (read_head(fd, &s, &sum, err) < 0 || sum_file(fd, s.stream, s.size, now, err) < 0)
        return error_wrap(err, "the saved state %s cannot be used", path);
    if (!str_eq(sum, now))
        return error_set(err, VMUNDO_FAILED, "the saved state %s is damaged: it is not what was written", path);
    if (lseek(fd, (off_t)s.stream, SEEK_SET) < 0)
        return error_errno(err, errno, "cannot read the saved state %s", path);
    *ret_fd = TAKE_FD(fd);
    *ret = s;
    s = (struct saved){0};
    return 0;
}

int saved_check(const struct saved *s, const char *of, const struct strv *machine, bool has_ram_file,
                struct vmundo_error *err)
{
    if (of && s->of && !str_eq(of, s->of))
        return error_set(err, VMUNDO_CONFLICT, "the saved state is that of another checkpoint (%s, and should be %s)",
                         s->of, of);
    for (size_t n = 0; n < s->machine.n || n < machine->n; n++) {
        const char *was = n < s->machine.n ? s->machine.items[n] : "nothing";
        const char *is = n < machine->n ? machine->items[n] : "nothing";
        if (str_eq(was, is))
            continue;
        AUTO_FREE char *safe = str_escape(was, 200);
        return error_set(err, VMUNDO_CONFLICT,
                         "the guest was saved on another machine: it had \"%s\" where there is "
                         "\"%s\" now; start it with the configuration that it was saved with",
                         safe ? safe : "", is);
    }
    if (!s->has_ram && !has_ram_file)
        return error_set(err, VMUNDO_CONFLICT,
                         "the guest was saved without its RAM, which was in a file: that file, or "
                         "its clone, is needed");
    return 0;
}

void saved_clear(struct saved *s)
{
    free(s->of);
    free(s->qemu);
    strv_clear(&s->machine);
    *s = (struct saved){0};
}
