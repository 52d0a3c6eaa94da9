/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-config.c: what xl gets to read, and what a domain takes from its host. No Xen is needed for any of it.
 *
 * xl reads the instance's configuration with what differs added at its end, where the last word is: so it is plain to
 * see, and the user's part stays as it is.
 */
#include "hyper/xen.h"

#include "config/diskspec.h"
#include "config/reader.h"
#include "config/scan.h"

#include <sys/stat.h>

/* ---- its text ------------------------------------------------------------------------------------------------------- */

static bool is_block(const char *path)
{
    struct stat st;
    return path && path[0] == '/' && stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

/* The k-th disk's text: the user's, with the target changed where that is a loop device, or an image that xl would look
 * for in its own working directory. */
static int disk_spec(const struct xen_config *c, size_t k, const char *old, char **ret, struct vmundo_error *err)
{
    const struct domain_disk *disk = &c->domain->disks[k];
    const char *target = c->loops[k].path ? c->loops[k].path : disk->target;
    AUTO_FREE char *spec = NULL;
    if (target && target[0] == '/' && !disk->script && !disk->backend) {
        struct config_target to = {
            .vdev = disk->vdev, .target = target, .format = disk->format, .block = is_block(target)};
        if (diskspec_retarget(old, &to, &spec, err) < 0)
            return -1;
    }
    bool scripted = c->script && xen_disk_is_plain(disk) && is_block(target);
    *ret = str_printf(err, "%s%s%s%s", scripted ? "script=" : "", scripted ? c->script : "", scripted ? ", " : "",
                      spec ? spec : old);
    return *ret ? 0 : -1;
}

static int append(char **text, char *more, struct vmundo_error *err)
{
    AUTO_FREE char *owned = more;
    char *longer = owned ? str_printf(err, "%s%s", *text, owned) : NULL;
    if (!longer)
        return -1;
    free(*text);
    *text = longer;
    return 0;
}

/* "disk = [ … ]", with all disks. */
static int add_disks(const struct xen_config *c, const char *old, char **text, struct vmundo_error *err)
{
    AUTO_READER struct reader r = {0};
    XLU_ConfigList *list = NULL;
    int n = 0;
    if (c->domain->n_disks == 0)
        return 0;
    if (reader_open(&r, c->domain->name, err) < 0)
        return -1;
    if (xlu_cfg_readdata(r.cfg, old, (int)strlen(old)) != 0 || xlu_cfg_get_list(r.cfg, "disk", &list, &n, 0) != 0)
        return reader_fail(&r, err);
    if (append(text, strdup("disk = [\n"), err) < 0)
        return -1;
    for (int k = 0; k < n && (size_t)k < c->domain->n_disks; k++) {
        AUTO_FREE char *spec = NULL;
        if (disk_spec(c, (size_t)k, xlu_cfg_get_listitem(list, k), &spec, err) < 0)
            return -1;
        AUTO_FREE char *quoted = scan_quote(spec, '\'', err);
        if (!quoted || append(text, str_printf(err, "    %s,\n", quoted), err) < 0)
            return -1;
    }
    return append(text, strdup("]\n"), err);
}

static int add_setting(const char *key, const char *value, char **text, struct vmundo_error *err)
{
    if (!value)
        return 0;
    AUTO_FREE char *quoted = scan_quote(value, '"', err);
    return quoted ? append(text, str_printf(err, "%s = %s\n", key, quoted), err) : -1;
}

int xen_config_text(const struct xen_config *c, const char *old, char **ret, struct vmundo_error *err)
{
    AUTO_FREE char *name = xen_new_name(c->domain->name, err);
    AUTO_FREE char *text = str_printf(err, "%s\n\n# added by vmundo, and what counts\n%s", old,
                                      c->no_net ? "vif = [ ]\n" : "");
    if (!name || !text || add_setting("name", name, &text, err) < 0 || add_setting("uuid", c->uuid, &text, err) < 0 ||
        add_setting("kernel", c->domain->kernel, &text, err) < 0 ||
        add_setting("ramdisk", c->domain->ramdisk, &text, err) < 0 || add_disks(c, old, &text, err) < 0)
        return -1;
    *ret = TAKE(text);
    return 0;
}

/* ---- what it takes -------------------------------------------------------------------------------------------------- */

/* Keys that name nothing in the host that two domains could not both have. */
static bool is_shareable(const char *key)
{
    static const char *const keys[] = {
        "acpi", "apic", "boot", "bootloader", "bootloader_args", "bios", "builder", "cap", "cmdline", "console", "cpu",
        "cpu_weight", "cpuid", "cpus", "cpus_soft", "disk", "extra", "firmware", "hap", "hpet", "kernel", "keymap",
        "localtime", "maxmem", "maxvcpus", "memory", "name", "nestedhvm", "on_crash", "on_poweroff", "on_reboot",
        "on_soft_reset", "on_watchdog", "pae", "pool", "ramdisk", "root", "rtc_timeoffset", "sdl", "seclabel",
        "shadow_memory", "stdvga", "timer_mode", "tsc_mode", "type", "usb", "usbdevice", "vcpus", "vga", "videoram",
        "vif", "viridian", "vnc", "vnclisten", "vncunused", "vpt_align", "xen_platform_pci"};
    for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
        if (str_eq(key, keys[k]))
            return true;
    return false;
}

bool xen_config_is_shareable(const struct domain *d)
{
    for (size_t k = 0; k < d->keys.n; k++)
        if (!is_shareable(d->keys.items[k]))
            return false;
    for (size_t k = 0; k < d->n_vifs; k++) {
        const struct domain_vif *vif = &d->vifs[k];
        if (vif->vifname || vif->ip || (vif->script && !str_eq(vif->script, "vif-bridge")))
            return false;
    }
    return true;
}

/* Generously: its memory, what Xen needs to manage that and its processors, and what a device model's video card has. */
uint64_t xen_config_memory_kib(const struct domain *d)
{
    uint64_t kib = d->maxmem_mib * 1024;
    return kib + kib / 32 + d->maxvcpus * 2048 + (d->type == DOMAIN_PV ? 8192 : 40960);
}
