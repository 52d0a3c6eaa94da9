/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * identity.c: a copy of a configuration for another machine of the same kind: with another UUID, and other hardware
 * addresses. What a text says last is what counts (libxlutil), so they are said once more at its end, where nothing
 * that the user wrote has to be found and cut. As in rewrite.c, the result is parsed and must be the domain wanted.
 */
#include "config/config.h"

#include "config/scan.h"

#include <limits.h>

/* The items of "mac=…,bridge=…" but those that only one machine can have, and the new address. The caller frees it. */
static char *readdress(const char *spec, const char *mac, struct vmundo_error *err)
{
    AUTO_FREE char *copy = strdup(spec), *kept = NULL;
    char *rest = NULL;
    if (!copy) {
        error_nomem(err);
        return NULL;
    }
    for (char *option = strtok_r(copy, ",", &rest); option; option = strtok_r(NULL, ",", &rest)) {
        option += strspn(option, " ");
        if (str_has_prefix(option, "mac=") || str_has_prefix(option, "vifname=") || !*option)
            continue;
        char *longer = str_printf(err, "%s%s,", kept ? kept : "", option);
        if (!longer)
            return NULL;
        free(kept);
        kept = longer;
    }
    return str_printf(err, "%smac=%s", kept ? kept : "", mac);
}

/* "vif = [ … ]" with the new addresses. The caller frees it. */
static char *say_vifs(const char *text, const struct scan *s, const struct config_identity *id,
                      struct vmundo_error *err)
{
    AUTO_FREE struct scan_value *vifs = NULL;
    AUTO_FREE char *line = str_printf(err, "vif = [");
    size_t n = 0;
    if (!line || scan_list(s, "vif", &vifs, &n, err) < 0)
        return NULL;
    if (id->no_vifs)
        return str_printf(err, "vif = [ ]\n");
    for (size_t i = 0; i < n; i++) {
        AUTO_FREE char *spec = NULL, *changed = NULL, *quoted = NULL;
        if (scan_string(text, &vifs[i], &spec, err) < 0 || !(changed = readdress(spec, id->macs[i], err)) ||
            !(quoted = scan_quote(changed, '\'', err)))
            return NULL;
        char *longer = str_printf(err, "%s%s %s", line, i ? "," : "", quoted);
        if (!longer)
            return NULL;
        free(line);
        line = longer;
    }
    return str_printf(err, "%s ]\n", line);
}

/* What the domain must be with the new identity. */
static int change_domain(struct domain *d, const struct config_identity *id, struct vmundo_error *err)
{
    free(TAKE(d->uuid));
    if (str_copy(id->uuid, &d->uuid, err) < 0 || (!strv_has(&d->keys, "uuid") && strv_add(&d->keys, "uuid", err) < 0))
        return -1;
    for (size_t i = 0; i < d->n_vifs; i++) {
        free(TAKE(d->vifs[i].mac));
        free(TAKE(d->vifs[i].vifname));
        if (str_copy(id->no_vifs ? NULL : id->macs[i], &d->vifs[i].mac, err) < 0)
            return -1;
    }
    return 0;
}

static int check(struct domain *want, const char *text, const char *path, bool no_vifs, struct vmundo_error *err)
{
    CLEANUP(domain_clear) struct domain got = {0};
    size_t n_vifs = want->n_vifs;
    if (config_parse(text, path, &got, err) < 0)
        return -1;
    if (no_vifs)
        want->n_vifs = 0;
    bool same = domain_equal(want, &got);
    want->n_vifs = n_vifs;
    return same ? 0 : error_set(err, VMUNDO_FAILED, "the result would not be the same kind of domain");
}

int config_identify(const char *text, const char *path, const struct config_identity *id, char **ret,
                    struct vmundo_error *err)
{
    CLEANUP(domain_clear) struct domain want = {0};
    AUTO_SCAN struct scan s = {0};
    AUTO_FREE char *vifs = NULL, *out = NULL, *shown = str_escape(path, PATH_MAX);
    size_t len = strlen(text);
    if (!shown)
        return error_nomem(err);
    if (config_parse(text, path, &want, err) < 0 || change_domain(&want, id, err) < 0)
        return -1;
    if (want.n_vifs && (scan_text(text, &s, err) < 0 || !(vifs = say_vifs(text, &s, id, err))))
        return error_wrap(err, "cannot rewrite %s", shown);
    out = str_printf(err, "%s%suuid = \"%s\"\n%s", text, len && text[len - 1] != '\n' ? "\n" : "", id->uuid,
                     vifs ? vifs : "");
    if (!out)
        return -1;
    if (check(&want, out, path, id->no_vifs, err) < 0)
        return error_wrap(err, "cannot rewrite %s", shown);
    *ret = TAKE(out);
    return 0;
}
