/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * config.c: xl.cfg in. libxlutil reads the text (reader.h) and each disk (diskspec.h); one small function per group of
 * keys fills in struct domain, with the meaning and the defaults that xl gives them (tools/xl/xl_parse.c). Where xl
 * only warns and carries on with something else, we refuse: a domain must be what its file says.
 */
#include "config/config.h"

#include "config/diskspec.h"
#include "config/reader.h"
#include "config/scan.h"
#include "util/path.h"
#include "util/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#define MAX_CONFIG_SIZE ((size_t)1 << 20)
#define MAX_SETTINGS 4096 /* a real file has some dozens */
#define MAX_DISKS 1024

struct parse {
    const char *text;
    char *source; /* path as shown in messages */
    char *dir;    /* that relative paths are relative to */
    struct reader reader;
    struct scan scan; /* for line numbers and the list of keys */
};

static void parse_clear(struct parse *p)
{
    free(p->source);
    free(p->dir);
    reader_close(&p->reader);
    scan_clear(&p->scan);
}

/* ---- single values --------------------------------------------------------------------------------------------- */

/* Put "path:line: " before the message. Both return -1. */
static int at_line(const struct parse *p, unsigned line, struct vmundo_error *err)
{
    return error_wrap(err, "%s:%u", p->source, line);
}

static int at_key(const struct parse *p, const char *key, struct vmundo_error *err)
{
    const struct scan_setting *set = scan_find(&p->scan, key);
    return at_line(p, set ? set->value.line : 0, err);
}

/* The text of a key, valid as long as p; NULL when it is not there or empty. */
static int get_string(struct parse *p, const char *key, const char **ret, struct vmundo_error *err)
{
    const char *s = NULL;
    int r = xlu_cfg_get_string(p->reader.cfg, key, &s, 0);
    if (r != 0 && r != ESRCH)
        return reader_fail(&p->reader, err);
    *ret = s && *s ? s : NULL;
    return 0;
}

static int copy_string(struct parse *p, const char *key, char **ret, struct vmundo_error *err)
{
    const char *s = NULL;
    return get_string(p, key, &s, err) < 0 ? -1 : str_copy(s, ret, err);
}

static int copy_path(struct parse *p, const char *key, char **ret, struct vmundo_error *err)
{
    const char *s = NULL;
    if (get_string(p, key, &s, err) < 0)
        return -1;
    if (!s)
        return 0;
    if (scan_has_control(s, "")) {
        error_set(err, VMUNDO_FAILED, "control character in the path of %s", key);
        return at_key(p, key, err);
    }
    *ret = str_printf(err, "%s%s%s", s[0] == '/' ? "" : p->dir, s[0] == '/' ? "" : "/", s);
    return *ret ? 0 : -1;
}

struct range {
    long min, max;
};

/* *ret stays when the key is not there. */
static int get_number(struct parse *p, const char *key, struct range range, long *ret, struct vmundo_error *err)
{
    long n = 0;
    int r = xlu_cfg_get_long(p->reader.cfg, key, &n, 0);
    if (r == ESRCH)
        return 0;
    if (r != 0)
        return reader_fail(&p->reader, err);
    if (n < range.min || n > range.max) {
        error_set(err, VMUNDO_FAILED, "%s is %ld: it must be from %ld to %ld", key, n, range.min, range.max);
        return at_key(p, key, err);
    }
    *ret = n;
    return 0;
}

/* A list with the places of its members. Errors when a member is not a string. */
struct list {
    XLU_ConfigList *xl;
    struct scan_value *items;
    size_t n;
};

static void list_clear(struct list *l)
{
    free(l->items);
}
#define AUTO_LIST CLEANUP(list_clear)

static const char *list_item(const struct list *l, size_t i)
{
    return xlu_cfg_get_listitem(l->xl, (int)i);
}

static int get_list(struct parse *p, const char *key, struct list *ret, struct vmundo_error *err)
{
    AUTO_LIST struct list l = {0};
    int n = 0;
    int r = xlu_cfg_get_list(p->reader.cfg, key, &l.xl, &n, 0);
    if (r == ESRCH)
        return 0;
    if (r != 0)
        return reader_fail(&p->reader, err);
    if (scan_list(&p->scan, key, &l.items, &l.n, err) < 0)
        return -1;
    if (l.n != (size_t)n) {
        error_set(err, VMUNDO_FAILED, "the members of the list %s cannot be told apart", key);
        return at_key(p, key, err);
    }
    for (size_t i = 0; i < l.n; i++)
        if (!list_item(&l, i)) {
            error_set(err, VMUNDO_FAILED, "member %zu of the list %s is not a string", i + 1, key);
            return at_line(p, l.items[i].line, err);
        }
    *ret = l;
    l.items = NULL;
    return 0;
}

/* ---- groups of keys -------------------------------------------------------------------------------------------- */

static int read_keys(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    if (p->scan.n_settings > MAX_SETTINGS)
        return error_set(err, VMUNDO_FAILED, "%s: more than %d settings", p->source, MAX_SETTINGS);
    for (size_t i = 0; i < p->scan.n_settings; i++) {
        const char *key = p->scan.settings[i].key;
        if (!strv_has(&d->keys, key) && strv_add(&d->keys, key, err) < 0)
            return -1;
    }
    return 0;
}

static int read_name(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    if (copy_string(p, "name", &d->name, err) < 0)
        return -1;
    if (!d->name)
        return error_set(err, VMUNDO_FAILED, "%s: the domain has no name: add name = \"…\"", p->source);
    return domain_name_check(d->name, err) < 0 ? at_key(p, "name", err) : 0;
}

static int read_uuid(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    const char *text = NULL;
    libxl_uuid uuid;
    if (get_string(p, "uuid", &text, err) < 0)
        return -1;
    if (!text)
        return 0;
    if (libxl_uuid_from_string(&uuid, text) != 0) {
        error_set(err, VMUNDO_FAILED, "bad uuid: give 32 hexadecimal digits as 8-4-4-4-12");
        return at_key(p, "uuid", err);
    }
    d->uuid = str_printf(err, LIBXL_UUID_FMT, LIBXL_UUID_BYTES(uuid));
    return d->uuid ? 0 : -1;
}

struct choice {
    const char *name;
    int value;
};

/* The value of a key that has the names of choices, which end with a NULL. *ret stays when the key is not there. */
static int get_choice(struct parse *p, const char *key, const struct choice *choices, int *ret,
                      struct vmundo_error *err)
{
    const char *s = NULL;
    if (get_string(p, key, &s, err) < 0)
        return -1;
    if (!s)
        return 0;
    char names[256] = "";
    for (const struct choice *c = choices; c->name; c++) {
        if (str_eq(s, c->name)) {
            *ret = c->value;
            return 0;
        }
        size_t len = strlen(names);
        snprintf(names + len, sizeof(names) - len, "%s%s", len ? ", " : "", c->name);
    }
    AUTO_FREE char *shown = str_escape(s, 80);
    error_set(err, VMUNDO_FAILED, "bad %s '%s': it is one of %s", key, shown ? shown : "", names);
    return at_key(p, key, err);
}

/* builder= is the older word for type=. */
static int read_type(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    static const struct choice types[] = {{"pv", DOMAIN_PV}, {"pvh", DOMAIN_PVH}, {"hvm", DOMAIN_HVM}, {0}};
    static const struct choice builders[] = {{"generic", DOMAIN_PV}, {"hvm", DOMAIN_HVM}, {0}};
    int type = -1, builder = -1;
    if (get_choice(p, "type", types, &type, err) < 0 || get_choice(p, "builder", builders, &builder, err) < 0)
        return -1;
    if (type >= 0 && builder >= 0 && type != builder) {
        error_set(err, VMUNDO_FAILED, "builder and type contradict each other: remove builder");
        return at_key(p, "builder", err);
    }
    d->type = type >= 0 ? (enum domain_type)type : builder >= 0 ? (enum domain_type)builder : DOMAIN_PV;
    return 0;
}

/* Defaults as in libxl__domain_build_info_setdefault(). The bounds are beyond what any hypervisor here can do (16 TiB;
 * Xen's MAX_VIRT_CPUS). */
static int read_size(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    static const struct range mib = {1, 16 << 20}, cpus = {1, 8192};
    long memory = 0, maxmem = 0, vcpus = 1, maxvcpus = 0;
    if (get_number(p, "memory", mib, &memory, err) < 0 || get_number(p, "maxmem", mib, &maxmem, err) < 0 ||
        get_number(p, "vcpus", cpus, &vcpus, err) < 0 || get_number(p, "maxvcpus", cpus, &maxvcpus, err) < 0)
        return -1;
    d->maxmem_mib = (uint64_t)(maxmem ? maxmem : memory ? memory : 32);
    d->memory_mib = memory ? (uint64_t)memory : d->maxmem_mib;
    d->vcpus = (unsigned)vcpus;
    d->maxvcpus = maxvcpus ? (unsigned)maxvcpus : d->vcpus;
    if (d->memory_mib > d->maxmem_mib) {
        error_set(err, VMUNDO_FAILED, "memory is more than maxmem");
        return at_key(p, "memory", err);
    }
    if (d->vcpus > d->maxvcpus) {
        error_set(err, VMUNDO_FAILED, "vcpus is more than maxvcpus");
        return at_key(p, "vcpus", err);
    }
    return 0;
}

/* As parse_cmdline() of xl: cmdline= wins over root= and extra=. */
static int read_cmdline(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    const char *cmdline = NULL, *root = NULL, *extra = NULL;
    if (get_string(p, "cmdline", &cmdline, err) < 0 || get_string(p, "root", &root, err) < 0 ||
        get_string(p, "extra", &extra, err) < 0)
        return -1;
    if (cmdline || !root)
        return str_copy(cmdline ? cmdline : extra, &d->cmdline, err);
    d->cmdline = str_printf(err, "root=%s%s%s", root, extra ? " " : "", extra ? extra : "");
    return d->cmdline ? 0 : -1;
}

static int read_firmware(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    const char *firmware = NULL;
    if (get_string(p, "firmware", &firmware, err) < 0)
        return -1;
    if (!firmware)
        return copy_string(p, "bios", &d->firmware, err);
    return strchr(firmware, '/') ? copy_path(p, "firmware", &d->firmware, err) : str_copy(firmware, &d->firmware, err);
}

static int read_boot(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    if (copy_path(p, "kernel", &d->kernel, err) < 0 || copy_path(p, "ramdisk", &d->ramdisk, err) < 0 ||
        copy_string(p, "bootloader", &d->bootloader, err) < 0 || copy_string(p, "boot", &d->boot, err) < 0 ||
        read_cmdline(p, d, err) < 0 || read_firmware(p, d, err) < 0)
        return -1;
    /* files from the days of xend name Xen's own loader as the kernel of an HVM domain; xl ignores that too */
    if (d->type == DOMAIN_HVM && d->kernel && str_has_suffix(d->kernel, "/hvmloader")) {
        free(d->kernel);
        d->kernel = NULL;
    }
    if (d->boot && d->boot[strspn(d->boot, "abcdn")] != '\0') {
        error_set(err, VMUNDO_FAILED,
                  "bad boot order: it is made of c (disk), d (CD-ROM), n (network), a and b (floppy)");
        return at_key(p, "boot", err);
    }
    return 0;
}

/* A guest that resets itself (soft-reset, for kexec under Xen) goes on; the nearest that every hypervisor can do is a
 * new start. */
static const struct choice actions[] = {
    {"destroy", ACTION_DESTROY},          {"restart", ACTION_RESTART},
    {"rename-restart", ACTION_RESTART},   {"preserve", ACTION_PRESERVE},
    {"coredump-destroy", ACTION_DESTROY}, {"coredump-restart", ACTION_RESTART},
    {"soft-reset", ACTION_RESTART},       {0},
};

static int read_actions(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    int poweroff = ACTION_DESTROY, reboot = ACTION_RESTART, crash = ACTION_DESTROY;
    if (get_choice(p, "on_poweroff", actions, &poweroff, err) < 0 ||
        get_choice(p, "on_reboot", actions, &reboot, err) < 0 || get_choice(p, "on_crash", actions, &crash, err) < 0)
        return -1;
    d->on_poweroff = (enum domain_action)poweroff;
    d->on_reboot = (enum domain_action)reboot;
    d->on_crash = (enum domain_action)crash;
    return 0;
}

/* serial= is one string or a list of them. */
static int read_serials(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    const struct scan_setting *set = scan_find(&p->scan, "serial");
    if (set && !set->value.list) {
        const char *s = NULL;
        return get_string(p, "serial", &s, err) < 0 ? -1 : s ? strv_add(&d->serials, s, err) : 0;
    }
    AUTO_LIST struct list list = {0};
    if (get_list(p, "serial", &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.n; i++)
        if (strv_add(&d->serials, list_item(&list, i), err) < 0)
            return -1;
    return 0;
}

/* ---- disks ----------------------------------------------------------------------------------------------------- */

/* Past slashes and "." components. */
static const char *skip_slashes(const char *p)
{
    while (*p == '/') {
        p++;
        if (p[0] == '.' && (p[1] == '/' || p[1] == '\0'))
            p++;
    }
    return p;
}

/* Do both name the same file, by their text? ".." is left alone: what it means depends on symbolic links. */
static bool same_target(const char *a, const char *b)
{
    for (;;) {
        if (*a == '/' && *b == '/') {
            a = skip_slashes(a);
            b = skip_slashes(b);
        }
        if (*a != *b)
            return false;
        if (*a == '\0')
            return true;
        if (*a != '/') {
            a++;
            b++;
        }
    }
}

static bool share_target(const struct domain_disk *a, const struct domain_disk *b)
{
    return a->target && b->target && same_target(a->target, b->target) && str_eq(a->script, b->script) &&
           str_eq(a->backend, b->backend) && !(a->readonly && b->readonly);
}

/* Is the last disk of d in the way of another? */
static int check_last_disk(const struct domain *d, struct vmundo_error *err)
{
    const struct domain_disk *last = &d->disks[d->n_disks - 1];
    for (const struct domain_disk *other = d->disks; other < last; other++) {
        if (str_eq(other->vdev, last->vdev))
            return error_set(err, VMUNDO_FAILED, "two disks are called %s: give each its own name", last->vdev);
        if (share_target(other, last))
            return error_set(err, VMUNDO_FAILED,
                             "disks %s and %s have the same target %s: give each its own or make both read-only",
                             other->vdev, last->vdev, last->target);
    }
    return 0;
}

static int read_disks(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    AUTO_LIST struct list list = {0};
    if (get_list(p, "disk", &list, err) < 0)
        return -1;
    if (list.n > MAX_DISKS)
        return error_set(err, VMUNDO_FAILED, "%s: more than %d disks", p->source, MAX_DISKS);
    d->disks = list.n ? calloc(list.n, sizeof(*d->disks)) : NULL;
    if (list.n && !d->disks)
        return error_nomem(err);
    for (size_t i = 0; i < list.n; i++) {
        AUTO_FREE char *source = str_printf(err, "%s:%u", p->source, list.items[i].line);
        if (!source || diskspec_parse(list_item(&list, i), source, p->dir, &d->disks[i], err) < 0)
            return -1;
        d->n_disks++;
        if (check_last_disk(d, err) < 0)
            return at_line(p, list.items[i].line, err);
    }
    return 0;
}

/* ---- network interfaces ---------------------------------------------------------------------------------------- */

/* Six hexadecimal numbers with colons, made to be two digits each. */
static int parse_mac(const char *text, char **ret, struct vmundo_error *err)
{
    unsigned m[6];
    int end = 0;
    if (strspn(text, "0123456789abcdefABCDEF:") == strlen(text) &&
        sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5], &end) == 6 &&
        text[end] == '\0') {
        *ret = str_printf(err, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
        return *ret ? 0 : -1;
    }
    return error_set(err, VMUNDO_FAILED, "bad mac in vif: give six pairs of hexadecimal digits, as 00:16:3e:00:00:01");
}

/* One "key=value" of a vif. Keys of no use here (rate, backend, mtu …) pass: xl knows them. */
static int parse_vif_option(const char *option, struct domain_vif *vif, struct vmundo_error *err)
{
    static const struct {
        const char *key;
        size_t offset;
    } keys[] = {
        {"mac=", offsetof(struct domain_vif, mac)},       {"model=", offsetof(struct domain_vif, model)},
        {"bridge=", offsetof(struct domain_vif, bridge)}, {"script=", offsetof(struct domain_vif, script)},
        {"ip=", offsetof(struct domain_vif, ip)},         {"vifname=", offsetof(struct domain_vif, vifname)},
        {"type=", offsetof(struct domain_vif, type)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (!str_has_prefix(option, keys[i].key))
            continue;
        const char *value = option + strlen(keys[i].key);
        char **field = (char **)((char *)vif + keys[i].offset);
        free(*field);
        *field = NULL;
        if (field == &vif->mac)
            return parse_mac(value, field, err);
        if (field == &vif->type && !str_eq(value, "vif") && !str_eq(value, "ioemu"))
            return error_set(err, VMUNDO_FAILED, "bad type in vif: it is vif or ioemu");
        return str_copy(*value ? value : NULL, field, err);
    }
    return 0;
}

static int parse_vif(const char *spec, struct domain_vif *vif, struct vmundo_error *err)
{
    if (scan_has_control(spec, ""))
        return error_set(err, VMUNDO_FAILED, "control character in vif");
    AUTO_FREE char *copy = strdup(spec);
    if (!copy)
        return error_nomem(err);
    char *rest = NULL;
    for (char *option = strtok_r(copy, ",", &rest); option; option = strtok_r(NULL, ",", &rest))
        if (parse_vif_option(option + strspn(option, " "), vif, err) < 0)
            return -1;
    return 0;
}

static int read_vifs(struct parse *p, struct domain *d, struct vmundo_error *err)
{
    AUTO_LIST struct list list = {0};
    if (get_list(p, "vif", &list, err) < 0)
        return -1;
    d->vifs = list.n ? calloc(list.n, sizeof(*d->vifs)) : NULL;
    if (list.n && !d->vifs)
        return error_nomem(err);
    for (size_t i = 0; i < list.n; i++) {
        d->n_vifs++;
        if (parse_vif(list_item(&list, i), &d->vifs[i], err) < 0)
            return at_line(p, list.items[i].line, err);
    }
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

/* What xl does not read, but people and editors do write. */
static const char *syntax_hint(const char *text)
{
    const char *newline = strrchr(text, '\n'), *last = newline ? newline + 1 : text;
    if (strstr(text, "\r\n"))
        return "the file has DOS line ends, which xl does not read";
    if (strchr(last, '#'))
        return "the last line has a comment, but no line end, without which xl does not read it";
    return NULL;
}

static int parse_text(struct parse *p, const char *path, struct vmundo_error *err)
{
    const char *slash = strrchr(path, '/');
    p->source = str_escape(path, PATH_MAX);
    p->dir = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    if (!p->source || !p->dir)
        return error_nomem(err);
    if (strlen(p->text) > MAX_CONFIG_SIZE)
        return error_set(err, VMUNDO_FAILED, "%s: too large", p->source);
    if (reader_open(&p->reader, p->source, err) < 0)
        return -1;
    if (xlu_cfg_readdata(p->reader.cfg, p->text, (int)strlen(p->text)) != 0) {
        const char *hint = syntax_hint(p->text);
        reader_fail(&p->reader, err);
        return err && hint ? error_set(err, VMUNDO_FAILED, "%s (%s)", err->msg, hint) : -1;
    }
    return scan_text(p->text, &p->scan, err) < 0 ? error_wrap(err, "%s", p->source) : 0;
}

int config_parse(const char *text, const char *path, struct domain *ret, struct vmundo_error *err)
{
    static int (*const groups[])(struct parse *, struct domain *, struct vmundo_error *) = {
        read_keys, read_name,    read_uuid,    read_type,  read_size,
        read_boot, read_actions, read_serials, read_disks, read_vifs,
    };
    CLEANUP(parse_clear) struct parse p = {.text = text};
    CLEANUP(domain_clear) struct domain d = {0};
    if (parse_text(&p, path, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
        if (groups[i](&p, &d, err) < 0)
            return -1;
    *ret = d;
    d = (struct domain){0};
    return 0;
}

static int load_failed(const char *path, int errnum, struct vmundo_error *err)
{
    AUTO_FREE char *shown = str_escape(path, PATH_MAX);
    if (!shown || errnum == 0)
        return error_nomem(err);
    if (errnum == EFBIG)
        return error_set(err, VMUNDO_FAILED, "%s is larger than 1 MiB: it is not a configuration", shown);
    if (errnum == EINVAL)
        return error_set(err, VMUNDO_FAILED, "%s is not a regular file: give the path of an xl.cfg file", shown);
    return error_errno(err, errnum, "cannot read configuration %s", shown);
}

/* Whoever can write it decides which files we open, and so could read and write any that we can. A group of our own counts
 * as nobody else. */
static int check_writers(const char *path, const struct stat *st, struct vmundo_error *err)
{
    const char *who = !path_is_trusted(st->st_uid)                      ? "belongs to somebody else"
                      : st->st_mode & S_IWOTH                           ? "can be written by everybody"
                      : st->st_mode & S_IWGRP && st->st_gid != getegid() ? "can be written by another group"
                                                                        : NULL;
    if (!who)
        return 0;
    AUTO_FREE char *shown = str_escape(path, PATH_MAX);
    return error_set(err, VMUNDO_REFUSED,
                     "configuration %s %s, who could name any file in it: look at it, then make it yours (chown) and close "
                     "it to others (chmod go-w)",
                     shown ? shown : "", who);
}

static int open_config(const char *path, int *ret, struct vmundo_error *err)
{
    struct stat st;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return load_failed(path, errno, err);
    if (!S_ISREG(st.st_mode))
        return load_failed(path, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, err);
    if (check_writers(path, &st, err) < 0)
        return -1;
    *ret = TAKE_FD(fd);
    return 0;
}

int config_load(const char *path, char **ret_text, char **ret_path, struct vmundo_error *err)
{
    AUTO_FREE char *real = realpath(path, NULL), *text = NULL;
    struct vmundo_error why = {0};
    size_t len = 0;
    AUTO_CLOSE int fd = -1;
    if (!real)
        return load_failed(path, errno, err);
    if (open_config(real, &fd, err) < 0)
        return -1;
    if (sys_read_fd(fd, real, MAX_CONFIG_SIZE, &text, &len, &why) < 0)
        return load_failed(real, why.errnum, err);
    if (strlen(text) != len) {
        AUTO_FREE char *shown = str_escape(real, PATH_MAX);
        return error_set(err, VMUNDO_FAILED, "%s has a NUL byte: it is not a configuration", shown ? shown : "");
    }
    *ret_text = TAKE(text);
    *ret_path = TAKE(real);
    return 0;
}
