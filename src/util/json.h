/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json.h: jansson with our errors and ownership. Numbers are checked for range, missing members are named in the
 * message.
 */
#ifndef UTIL_JSON_H
#define UTIL_JSON_H

#include "util/cleanup.h"
#include "util/error.h"

#include <jansson.h>
#include <stdint.h>

static inline void cleanup_json(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON CLEANUP(cleanup_json)

/* Parse text, which must be one object or array without duplicate keys. `what` names it in messages. *ret is the
 * caller's. */
int json_parse(const char *text, const char *what, json_t **ret, struct vmundo_error *err);

/* Members of an object. get_*: must be there and of that type. *ret of strings is the caller's copy. opt_*: absent or
 * null gives NULL / the default. */
int json_get_string(const json_t *o, const char *key, char **ret, struct vmundo_error *err);
int json_opt_string(const json_t *o, const char *key, char **ret, struct vmundo_error *err);
int json_get_u64(const json_t *o, const char *key, uint64_t *ret, struct vmundo_error *err);
int json_opt_u64(const json_t *o, const char *key, uint64_t def, uint64_t *ret, struct vmundo_error *err);
bool json_opt_bool(const json_t *o, const char *key, bool def);

/* Compact text, keys in insertion order; the caller frees it. NULL with *err set when out of memory. */
char *json_text(const json_t *j, struct vmundo_error *err);

#endif
