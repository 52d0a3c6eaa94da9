/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * record.c: records to and from JSON. Both directions go through one table of members, so they cannot drift apart.
 */
#include "core/record.h"

#include "hyper/hyper.h"
#include "util/json.h"

#include <stddef.h>

/* BYTES: text in whatever encoding the user chose. Each byte is stored as the code point of that number. COUNT: a NUMBER
 * that may be missing, which is 0. */
enum member_type { TEXT, BYTES, NUMBER, COUNT, SIGNED, FLAG };

struct member {
    const char *key;
    enum member_type type;
    size_t offset;
};

#define MEMBER(s, m, t) {#m, t, offsetof(struct s, m)}

static const struct member record_members[] = {
    MEMBER(record, name, TEXT),        MEMBER(record, config_path, TEXT), MEMBER(record, config_text, BYTES),
    MEMBER(record, hypervisor, TEXT),  MEMBER(record, accel, TEXT),       MEMBER(record, net, TEXT),
    MEMBER(record, generation, NUMBER), MEMBER(record, instance, NUMBER),  MEMBER(record, running, FLAG),
    MEMBER(record, created_ms, SIGNED), MEMBER(record, counter, COUNT),   MEMBER(record, base, COUNT),
    MEMBER(record, ram, TEXT),         MEMBER(record, ram_base, TEXT),    MEMBER(record, saved, TEXT),
    MEMBER(record, anonymous, FLAG),    MEMBER(record, ram_private, FLAG), MEMBER(record, ram_of, TEXT),
    MEMBER(record, ram_at, COUNT),      MEMBER(record, parent, TEXT),     MEMBER(record, home, COUNT),
    MEMBER(record, isolated, FLAG),     MEMBER(record, keep_reserve, FLAG), MEMBER(record, reserve, COUNT),
    MEMBER(record, reserve_instance, COUNT), MEMBER(record, reserve_at, COUNT),
    MEMBER(record, extend_at, COUNT),   MEMBER(record, pause_at, COUNT),  MEMBER(record, unguarded, FLAG),
    MEMBER(record, every_ms, COUNT),    MEMBER(record, keep_ms, COUNT),   MEMBER(record, keep_bytes, COUNT),
    MEMBER(record, disks_only, FLAG),
};

static const struct member disk_members[] = {
    MEMBER(record_disk, vdev, TEXT),   MEMBER(record_disk, target, TEXT),  MEMBER(record_disk, format, TEXT),
    MEMBER(record_disk, readonly, FLAG), MEMBER(record_disk, cdrom, FLAG), MEMBER(record_disk, branch, SIGNED),
    MEMBER(record_disk, inside, TEXT), MEMBER(record_disk, why, TEXT),     MEMBER(record_disk, cost, TEXT),
    MEMBER(record_disk, cannot, TEXT),
};

static json_t *bytes_to_json(const char *s)
{
    AUTO_FREE char *text = s ? malloc(2 * strlen(s) + 1) : NULL;
    size_t n = 0;
    if (!text)
        return s ? NULL : json_null();
    for (const unsigned char *c = (const unsigned char *)s; *c; c++) {
        if (*c < 0x80) {
            text[n++] = (char)*c;
        } else {
            text[n++] = (char)(0xc0 | *c >> 6);
            text[n++] = (char)(0x80 | (*c & 0x3f));
        }
    }
    return json_stringn(text, n);
}

/* In place: what bytes_to_json() made is never shorter than the bytes. */
static void bytes_from_utf8(char *text)
{
    char *to = text;
    for (const unsigned char *c = (const unsigned char *)text; c && *c; c++) {
        unsigned byte = *c;
        if (byte >= 0xc0 && c[1])
            byte = (byte << 6 | (*++c & 0x3f)) & 0xff;
        *to++ = (char)byte;
    }
    if (to)
        *to = '\0';
}

static json_t *member_to_json(const struct member *m, const void *base)
{
    const char *at = (const char *)base + m->offset;
    switch (m->type) {
    case TEXT: {
        const char *s = *(char *const *)at;
        return s ? json_string(s) : json_null();
    }
    case BYTES:
        return bytes_to_json(*(char *const *)at);
    case NUMBER:
    case COUNT:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case SIGNED:
        return json_integer((json_int_t) * (const int64_t *)at);
    case FLAG:
        return json_boolean(*(const bool *)at);
    }
    return NULL;
}

static void explain(const struct member *m, const void *base, struct vmundo_error *err)
{
    const char *s = m->type == TEXT ? *(char *const *)((const char *)base + m->offset) : NULL;
    AUTO_FREE char *shown = s ? str_escape(s, 400) : NULL;
    AUTO_JSON json_t *text = s ? json_string(s) : json_true();
    if (text || !shown)
        error_nomem(err);
    else
        error_set(err, VMUNDO_REFUSED, "%s is not UTF-8 and cannot be recorded: rename it", shown);
}

static json_t *to_json(const struct member *members, size_t n, const void *base, struct vmundo_error *err)
{
    json_t *o = json_object();
    if (!o)
        error_nomem(err);
    for (size_t i = 0; o && i < n; i++)
        if (json_object_set_new(o, members[i].key, member_to_json(&members[i], base)) < 0) {
            explain(&members[i], base, err);
            json_decref(o);
            return NULL;
        }
    return o;
}

static int from_json(const json_t *o, const struct member *members, size_t n, void *base, struct vmundo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct member *m = &members[i];
        char *at = (char *)base + m->offset;
        const json_t *j = json_object_get(o, m->key);
        switch (m->type) {
        case TEXT:
            if (json_opt_string(o, m->key, (char **)at, err) < 0)
                return -1;
            break;
        case BYTES:
            if (json_opt_string(o, m->key, (char **)at, err) < 0)
                return -1;
            bytes_from_utf8(*(char **)at);
            break;
        case NUMBER:
            if (json_get_u64(o, m->key, (uint64_t *)at, err) < 0)
                return -1;
            break;
        case COUNT:
            if (json_opt_u64(o, m->key, 0, (uint64_t *)at, err) < 0)
                return -1;
            break;
        case SIGNED:
            if (!json_is_integer(j))
                return error_set(err, VMUNDO_FAILED, "'%s' is missing", m->key);
            *(int64_t *)at = json_integer_value(j);
            break;
        case FLAG:
            *(bool *)at = json_is_true(j);
            break;
        }
    }
    return 0;
}

static void clear_texts(const struct member *members, size_t n, void *base)
{
    for (size_t i = 0; i < n; i++)
        if (members[i].type == TEXT || members[i].type == BYTES)
            free(*(char **)((char *)base + members[i].offset));
}

void record_clear(struct record *r)
{
    clear_texts(record_members, ARRAY_SIZE(record_members), r);
    for (size_t i = 0; i < r->n_disks; i++)
        clear_texts(disk_members, ARRAY_SIZE(disk_members), &r->disks[i]);
    for (size_t i = 0; i < r->n_branches; i++)
        branch_clear(&r->branches[i]);
    free(r->disks);
    free(r->branches);
    *r = (struct record){0};
}

int record_to_text(const struct record *r, char **ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = to_json(record_members, ARRAY_SIZE(record_members), r, err);
    if (!o)
        return -1;
    json_t *disks = json_array(), *branches = json_array();
    if (json_object_set_new(o, "disks", disks) < 0 || json_object_set_new(o, "branches", branches) < 0)
        return error_nomem(err);
    for (size_t i = 0; i < r->n_disks; i++) {
        json_t *disk = to_json(disk_members, ARRAY_SIZE(disk_members), &r->disks[i], err);
        if (!disk)
            return -1;
        if (json_array_append_new(disks, disk) < 0)
            return error_nomem(err);
    }
    for (size_t i = 0; i < r->n_branches; i++)
        if (json_array_append_new(branches, branch_to_json(&r->branches[i])) < 0)
            return error_nomem(err);
    char *text = json_text(o, err);
    if (!text)
        return -1;
    *ret = text;
    return 0;
}

static int load_arrays(const json_t *o, struct record *r, struct vmundo_error *err)
{
    const json_t *disks = json_object_get(o, "disks"), *branches = json_object_get(o, "branches");
    if (!json_is_array(disks) || !json_is_array(branches))
        return error_set(err, VMUNDO_FAILED, "'disks' or 'branches' is missing");
    r->disks = calloc(json_array_size(disks) + 1, sizeof(*r->disks));
    r->branches = calloc(json_array_size(branches) + 1, sizeof(*r->branches));
    if (!r->disks || !r->branches)
        return error_nomem(err);
    for (; r->n_branches < json_array_size(branches); r->n_branches++)
        if (branch_from_json(json_array_get(branches, r->n_branches), &r->branches[r->n_branches], err) < 0)
            return -1;
    while (r->n_disks < json_array_size(disks)) {
        struct record_disk *d = &r->disks[r->n_disks++];
        if (from_json(json_array_get(disks, r->n_disks - 1), disk_members, ARRAY_SIZE(disk_members), d, err) < 0)
            return -1;
        if (!d->vdev || d->branch < -1 || d->branch >= (int64_t)r->n_branches)
            return error_set(err, VMUNDO_FAILED, "a disk's 'branch' is out of range");
    }
    return 0;
}

int record_from_text(const char *text, struct record *ret, struct vmundo_error *err)
{
    AUTO_JSON json_t *o = NULL;
    if (json_parse(text, "the domain's record", &o, err) < 0)
        return -1;
    CLEANUP(record_clear) struct record r = {0};
    if (from_json(o, record_members, ARRAY_SIZE(record_members), &r, err) < 0 || load_arrays(o, &r, err) < 0)
        return error_wrap(err, "the domain's record is damaged");
    if (!vmundo_name_is_valid(r.name) || !r.config_path || !r.config_text || !r.hypervisor)
        return error_set(err, VMUNDO_FAILED, "the domain's record is damaged: a name or the configuration is missing");
    *ret = r;
    r = (struct record){0};
    return 0;
}

int record_copy(const struct record *r, struct record *ret, struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL;
    if (record_to_text(r, &text, err) < 0)
        return -1;
    return record_from_text(text, ret, err);
}

int record_plan_ram(const char *store_id, struct record *r, uint64_t number, struct vmundo_error *err)
{
    const struct hyper_driver *h = hyper_find(r->hypervisor);
    char suffix[48];
    free(r->ram);
    r->ram = NULL;
    if (r->anonymous || !h || !h->ram_size)
        return 0;
    snprintf(suffix, sizeof(suffix), ".%llu.ram", (unsigned long long)number);
    for (size_t i = 0; i < r->n_branches && !r->ram; i++) {
        const struct branch *b = &r->branches[i];
        struct mark m = {.store = store_id, .domain = r->name, .generation = r->generation};
        if (!(b->driver->flags & STORAGE_SHARES_BLOCKS))
            continue;
        r->ram = sidecar_path(b->origin, &m, suffix, err);
        if (!r->ram)
            return -1;
    }
    return 0;
}

void record_forget_ram(struct record *r)
{
    char **members[] = {&r->ram, &r->ram_base, &r->saved, &r->ram_of};
    r->ram_private = false;
    r->ram_at = 0;
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        free(*members[i]);
        *members[i] = NULL;
    }
}

void record_forget_reserve(struct record *r)
{
    r->reserve = r->reserve_instance = r->reserve_at = 0;
}

bool record_disk_is_unprotected(const struct record_disk *d)
{
    return d->target && d->branch < 0 && !d->readonly && !d->cdrom;
}

bool record_is_bounded(const struct record *r)
{
    for (size_t i = 0; i < r->n_branches; i++)
        if (r->branches[i].driver->extend)
            return true;
    return false;
}

bool record_has_branch(const struct record *r, const char *path)
{
    for (size_t i = 0; r && i < r->n_branches; i++)
        if (str_eq(r->branches[i].path, path))
            return true;
    return false;
}
