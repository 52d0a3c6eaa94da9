/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* json.c: jansson with our errors and ownership. What comes from outside is escaped before it is quoted in a message.
 */
#include "util/json.h"
#include "util/str.h"

/* Where there is no memory jansson (2.14) may go on without what it wanted to keep: a string is a letter shorter, a member
 * that need not be there is not. What is then written down is wrong for ever. So it is counted how often that was. */
static _Thread_local unsigned denied;

static void *allocate(size_t size)
{
    void *p = malloc(size);
    denied += !p;
    return p;
}

__attribute__((constructor)) static void watch_jansson(void)
{
    json_set_alloc_funcs(allocate, free);
}

int json_parse(const char *text, const char *what, json_t **ret, struct vmundo_error *err)
{
    json_error_t je;
    unsigned before = denied;
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    if (denied != before) {
        denied = before;
        json_decref(j);
        return error_nomem(err);
    }
    if (!j) {
        AUTO_FREE char *why = str_escape(je.text, sizeof(je.text));
        return error_set(err, VMUNDO_FAILED, "%s: not valid JSON: line %d: %s", what, je.line, why ? why : "");
    }
    *ret = j;
    return 0;
}

/* The member, NULL if it is absent or null. */
static const json_t *member(const json_t *o, const char *key)
{
    const json_t *m = json_object_get(o, key);
    return json_is_null(m) ? NULL : m;
}

static int missing(const char *key, struct vmundo_error *err)
{
    return error_set(err, VMUNDO_FAILED, "member \"%s\" is missing", key);
}

int json_opt_string(const json_t *o, const char *key, char **ret, struct vmundo_error *err)
{
    const json_t *m = member(o, key);
    if (m && !json_is_string(m))
        return error_set(err, VMUNDO_FAILED, "member \"%s\" is not a string", key);
    return str_copy(json_string_value(m), ret, err);
}

int json_get_string(const json_t *o, const char *key, char **ret, struct vmundo_error *err)
{
    return member(o, key) ? json_opt_string(o, key, ret, err) : missing(key, err);
}

int json_opt_u64(const json_t *o, const char *key, uint64_t def, uint64_t *ret, struct vmundo_error *err)
{
    const json_t *m = member(o, key);
    if (m && (!json_is_integer(m) || json_integer_value(m) < 0))
        return error_set(err, VMUNDO_FAILED, "member \"%s\" is not a non-negative integer", key);
    *ret = m ? (uint64_t)json_integer_value(m) : def;
    return 0;
}

int json_get_u64(const json_t *o, const char *key, uint64_t *ret, struct vmundo_error *err)
{
    return member(o, key) ? json_opt_u64(o, key, 0, ret, err) : missing(key, err);
}

bool json_opt_bool(const json_t *o, const char *key, bool def)
{
    const json_t *m = json_object_get(o, key);
    return json_is_boolean(m) ? json_is_true(m) : def;
}

char *json_text(const json_t *j, struct vmundo_error *err)
{
    AUTO_FREE char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text && !denied)
        return TAKE(text);
    denied = 0; /* since the last text: one that is built meanwhile is refused as well */
    error_nomem(err);
    return NULL;
}
