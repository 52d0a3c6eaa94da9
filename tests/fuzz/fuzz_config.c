/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_config.c: the way of a configuration in and out. Whatever the text: it is refused with a message, or
 *  - rewriting nothing gives the same bytes,
 *  - the domain can be renamed,
 *  - giving every disk a new target is refused with a message, or gives a text that parses with just those targets.
 */
#include "fuzz.h"

#include "config/config.h"

#define PATH "/cfg/fuzz.cfg"

struct targets {
    struct config_target *items;
    char (*paths)[64];
    size_t n;
};

static void targets_clear(struct targets *t)
{
    free(t->items);
    free(t->paths);
}

/* For each disk another target: overlays, devices and images with awkward names in turn. */
static struct targets make_targets(const struct domain *d)
{
    struct targets t = {.n = d->n_disks};
    t.items = calloc(t.n + 1, sizeof(*t.items));
    t.paths = calloc(t.n + 1, sizeof(*t.paths));
    REQUIRE(t.items && t.paths);
    for (size_t i = 0; i < t.n; i++) {
        bool overlay = i % 3 == 0, block = i % 3 == 1;
        snprintf(t.paths[i], sizeof(t.paths[i]), "%s%zu",
                 overlay ? "/o/"
                 : block ? "/dev/vg/"
                         : "/it's \"a\", b=c:d\\",
                 i);
        t.items[i] = (struct config_target){.vdev = d->disks[i].vdev,
                                            .target = t.paths[i],
                                            .format = overlay ? FORMAT_QCOW2 : FORMAT_RAW,
                                            .block = block};
    }
    return t;
}

static void check_targets(const char *text, const struct domain *before)
{
    CLEANUP(targets_clear) struct targets t = make_targets(before);
    CLEANUP(domain_clear) struct domain after = {0};
    AUTO_FREE char *out = NULL;
    struct vmundo_error err = {0};
    if (config_rewrite(text, PATH, t.items, t.n, NULL, &out, &err) < 0) {
        REQUIRE(err.msg[0] && !strchr(err.msg, '\n'));
        return;
    }
    REQUIRE(config_parse(out, PATH, &after, &err) == 0);
    REQUIRE(after.n_disks == t.n);
    for (size_t i = 0; i < t.n; i++) {
        REQUIRE(str_eq(after.disks[i].vdev, t.items[i].vdev));
        REQUIRE(str_eq(after.disks[i].target, t.items[i].target));
        REQUIRE(after.disks[i].format == t.items[i].format);
        REQUIRE(after.disks[i].readonly == before->disks[i].readonly);
        REQUIRE(after.disks[i].cdrom == before->disks[i].cdrom);
        REQUIRE(after.disks[i].discard == before->disks[i].discard);
    }
}

static void check_text(const char *text)
{
    CLEANUP(domain_clear) struct domain d = {0}, renamed = {0};
    AUTO_FREE char *same = NULL, *out = NULL;
    struct vmundo_error err = {0};
    if (config_parse(text, PATH, &d, &err) < 0) {
        REQUIRE(err.code == VMUNDO_FAILED && err.msg[0] && !strchr(err.msg, '\n'));
        return;
    }
    REQUIRE(config_rewrite(text, PATH, NULL, 0, NULL, &same, &err) == 0);
    REQUIRE(str_eq(same, text));
    REQUIRE(config_rewrite(text, PATH, NULL, 0, "renamed", &out, &err) == 0);
    REQUIRE(config_parse(out, PATH, &renamed, &err) == 0);
    REQUIRE(str_eq(renamed.name, "renamed"));
    check_targets(text, &d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = strndup((const char *)data, size);
    REQUIRE(text);
    check_text(text);
    return 0;
}
