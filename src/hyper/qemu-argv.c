/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-argv.c: the argument vector, in the order machine, boot, console, disks, network; and before that, what of the
 * kernel's command line must be translated because Linux calls virtio's devices by other names than Xen's.
 *
 * Nothing is left to QEMU's defaults: no default devices, no user configuration, no format probing. What it does not
 * need is denied to it (-sandbox). Domain names, vdevs and MAC addresses were checked when they were parsed; paths go
 * in as JSON or as whole arguments, so that commas in them mean nothing.
 */
#include "hyper/qemu-argv.h"
#include "hyper/qemu-disk.h"
#include "hyper/rundir.h"

#include <ctype.h>

/* TCG: everything that it can emulate, so that guests built for x86-64-v2 and v3 run, but no five-level page tables,
 * whose walk costs a boot under TCG more than they give. */
#define TCG_CPU "max,la57=off"
#define SET_OF_DISK 2u /* of descriptors; the first is the console's log */

/* ---- the kernel's command line ---------------------------------------------------------------------------------- */

static bool is_xen_console(const char *word)
{
    return str_eq(word, "console=hvc0") || str_eq(word, "console=xvc0");
}

/* The word as it must read here; *ret NULL: as it is. */
static int translate_word(const struct domain *d, const struct qemu_disk *disks, const char *word, char **ret,
                          struct vmundo_error *err)
{
    AUTO_FREE char *name = NULL;
    *ret = NULL;
    if (is_xen_console(word))
        return str_copy("console=ttyS0", ret, err);
    if (!str_has_prefix(word, "root="))
        return 0;
    if (qemu_disks_guest_name(disks, d->n_disks, word + strlen("root="), &name, err) < 0)
        return -1;
    if (!name)
        return 0;
    *ret = str_printf(err, "root=%s", name);
    return *ret ? 0 : -1;
}

static int append(char **text, const char *word, struct vmundo_error *err)
{
    char *longer = str_printf(err, "%s%s%s", *text ? *text : "", *text ? " " : "", word);
    if (!longer)
        return -1;
    free(*text);
    *text = longer;
    return 0;
}

/* *ret is what the kernel gets; notes (may be NULL) gets a line for each change. */
static int translate_cmdline(const struct domain *d, const struct qemu_disk *disks, char **ret, struct strv *notes,
                             struct vmundo_error *err)
{
    AUTO_FREE char *text = NULL, *words = NULL;
    bool console = false;
    if (str_copy(d->cmdline ? d->cmdline : "", &words, err) < 0)
        return -1;
    char *save = NULL;
    for (char *w = strtok_r(words, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save)) {
        AUTO_FREE char *changed = NULL;
        console = console || str_has_prefix(w, "console=");
        if (translate_word(d, disks, w, &changed, err) < 0 || append(&text, changed ? changed : w, err) < 0)
            return -1;
        if (changed && notes && strv_addf(notes, err, "%.*s: %s becomes %s", (int)strcspn(w, "="), w, w, changed) < 0)
            return -1;
    }
    /* A para-virtual guest need not be told of Xen's console. */
    if (d->type != DOMAIN_HVM && !console &&
        (append(&text, "console=ttyS0", err) < 0 ||
         (notes && strv_add(notes, "console: console=ttyS0 is added to the kernel's command line", err) < 0)))
        return -1;
    *ret = TAKE(text);
    return 0;
}

/* ---- machine and boot ------------------------------------------------------------------------------------------- */

static int add(struct strv *v, const char *option, const char *value, struct vmundo_error *err)
{
    return strv_add(v, option, err) < 0 ? -1 : strv_add(v, value, err);
}

static const char *shutdown_action(const struct domain *d)
{
    bool exits = d->on_poweroff == ACTION_DESTROY && d->on_reboot != ACTION_PRESERVE;
    return exits ? "poweroff" : "pause";
}

/* Where the configuration wants an end, QEMU ends by itself, with or without a monitor. Everything else pauses it, and
 * the monitor decides. */
static int add_machine(const struct domain *d, const struct qemu_host *h, struct strv *v, struct vmundo_error *err)
{
    if (add(v, "-machine", "pc", err) < 0 || add(v, "-accel", h->kvm ? "kvm" : "tcg", err) < 0 ||
        add(v, "-cpu", h->kvm ? "host" : TCG_CPU, err) < 0 || strv_add(v, "-m", err) < 0 ||
        strv_addf(v, err, "%llu", (unsigned long long)d->memory_mib) < 0 || strv_add(v, "-smp", err) < 0 ||
        strv_addf(v, err, "cpus=%u,maxcpus=%u", d->vcpus, d->maxvcpus > d->vcpus ? d->maxvcpus : d->vcpus) < 0)
        return -1;
    if (d->uuid && add(v, "-uuid", d->uuid, err) < 0)
        return -1;
    if (strv_add(v, "-action", err) < 0 ||
        strv_addf(v, err, "reboot=%s,shutdown=%s,panic=%s", d->on_reboot == ACTION_RESTART ? "reset" : "shutdown",
                  shutdown_action(d), d->on_crash == ACTION_DESTROY ? "shutdown" : "pause") < 0)
        return -1;
    /* With a new identifier at every start, also of a saved guest: so it learns that it is not alone with its random
     * numbers, or has been set back. */
    return add(v, "-device", "pvpanic", err) < 0 ? -1 : add(v, "-device", "vmgenid,guid=auto", err);
}

/* The file is opened by its descriptor, not by a name that could mean another one by then. The memory has the same name
 * as anonymous memory would (pc.ram), so that one can be loaded where the other was saved. */
static int add_ram(const struct domain *d, const struct qemu_host *h, struct strv *v, struct vmundo_error *err)
{
    if (h->incoming && add(v, "-incoming", "defer", err) < 0)
        return -1;
    if (h->ram == RAM_ANONYMOUS)
        return 0;
    if (strv_add(v, "-object", err) < 0 ||
        strv_addf(v, err,
                  "memory-backend-file,id=pc.ram,size=%lluM,mem-path=/proc/self/fd/%d,share=%s,"
                  "x-use-canonical-path-for-ramblock-id=off",
                  (unsigned long long)d->memory_mib, QEMU_FD_RAM, h->ram == RAM_SHARED ? "on" : "off") < 0)
        return -1;
    return add(v, "-machine", "memory-backend=pc.ram", err);
}

static int add_firmware(const struct domain *d, const struct qemu_host *h, struct strv *v, struct vmundo_error *err)
{
    const char *f = d->firmware;
    if (!f || str_eq(f, "bios") || str_eq(f, "seabios"))
        return 0;
    if (!str_eq(f, "ovmf") && !str_eq(f, "uefi"))
        return error_set(err, VMUNDO_FAILED, "firmware '%s': the qemu driver has seabios and ovmf only", f);
    if (!h->ovmf)
        return error_set(err, VMUNDO_FAILED, "firmware '%s': the UEFI firmware is not installed: apt install ovmf", f);
    return add(v, "-bios", h->ovmf, err);
}

static int add_boot(const struct domain *d, const struct qemu_host *h, const struct qemu_disk *disks, struct strv *v,
                    struct vmundo_error *err)
{
    AUTO_FREE char *cmdline = NULL;
    if (!d->kernel) /* a guest that starts from its firmware may insist on a display, though nobody looks at it */
        return add_firmware(d, h, v, err) < 0 || add(v, "-boot", "strict=on", err) < 0 ? -1
                                                                                       : add(v, "-device", "VGA", err);
    if (add(v, "-kernel", d->kernel, err) < 0 || (d->ramdisk && add(v, "-initrd", d->ramdisk, err) < 0) ||
        translate_cmdline(d, disks, &cmdline, NULL, err) < 0)
        return -1;
    return cmdline ? add(v, "-append", cmdline, err) : 0;
}

/* The place in the boot order of a device of this kind ('c' disk, 'd' CD-ROM, 'n' network): ",bootindex=N", or nothing
 * where it is not asked for, or a kernel is given. */
static const char *boot_index(const struct domain *d, char kind, unsigned nth, char *buf, size_t size)
{
    const char *order = d->boot ? d->boot : "cd";
    const char *at = strchr(order, kind);
    buf[0] = '\0';
    if (!d->kernel && at)
        snprintf(buf, size, ",bootindex=%u", (unsigned)(at - order) * 300 + nth + 1);
    return buf;
}

/* ---- console and QMP -------------------------------------------------------------------------------------------- */

static int add_sockets(struct strv *v, struct vmundo_error *err)
{
    static const struct {
        const char *id;
        int fd;
    } qmp[] = {{"qmp", QEMU_FD_QMP}, {"events", QEMU_FD_EVENTS}};
    for (size_t i = 0; i < ARRAY_SIZE(qmp); i++)
        if (strv_add(v, "-chardev", err) < 0 ||
            strv_addf(v, err, "socket,id=%s,fd=%d,server=on,wait=off", qmp[i].id, qmp[i].fd) < 0 ||
            strv_add(v, "-mon", err) < 0 || strv_addf(v, err, "chardev=%s,mode=control", qmp[i].id) < 0)
            return -1;
    if (strv_add(v, "-add-fd", err) < 0 || strv_addf(v, err, "fd=%d,set=1", QEMU_FD_CONSOLE_LOG) < 0 ||
        strv_add(v, "-chardev", err) < 0 ||
        strv_addf(v, err, "socket,id=console,fd=%d,server=on,wait=off,logfile=/dev/fdset/1,logappend=on",
                  QEMU_FD_CONSOLE) < 0)
        return -1;
    return add(v, "-device", "isa-serial,chardev=console", err);
}

/* A port for the agent, where libvirt and everybody else has it. It comes after all other devices, so that those are where
 * they would be without it. */
static int add_agent(struct strv *v, struct vmundo_error *err)
{
    if (strv_add(v, "-chardev", err) < 0 ||
        strv_addf(v, err, "socket,id=agent,fd=%d,server=on,wait=off", QEMU_FD_AGENT) < 0 ||
        add(v, "-device", "virtio-serial-pci,id=serial", err) < 0)
        return -1;
    return add(v, "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0", err);
}

/* ---- disks ------------------------------------------------------------------------------------------------------ */

/* xl's names are QEMU's, but for this one. */
static const char *format_driver(enum disk_format f)
{
    return f == FORMAT_VHD ? "vpc" : disk_format_name(f);
}

/* Its image is handed over open. That this is it is said for whoever looks at the command line; nothing depends on it. */
static int add_image(const struct domain_disk *disk, unsigned nth, struct strv *v, struct vmundo_error *err)
{
    AUTO_FREE char *shown = calloc(2, strlen(disk->target) + 1);
    AUTO_JSON json_t *utf8 = json_string(disk->target);
    if (!shown)
        return error_nomem(err);
    if (!utf8)
        return error_set(err, VMUNDO_FAILED, "%s: the target's name is not UTF-8, which QEMU does not accept", disk->vdev);
    char *to = shown;
    for (const char *p = disk->target; *p; p++) {
        if (*p == ',')
            *to++ = ',';
        *to++ = *p;
    }
    return strv_add(v, "-add-fd", err) < 0
               ? -1
               : strv_addf(v, err, "fd=%u,set=%u,opaque=%s", QEMU_FD_DISK + nth, SET_OF_DISK + nth, shown);
}

static int add_blockdev(const struct domain_disk *disk, unsigned nth, bool is_block, struct strv *v, struct vmundo_error *err)
{
    char path[32];
    snprintf(path, sizeof(path), "/dev/fdset/%u", SET_OF_DISK + nth);
    if (add_image(disk, nth, v, err) < 0)
        return -1;
    const char *discard = disk->discard ? "unmap" : "ignore";
    AUTO_JSON json_t *o = json_pack("{s:s, s:s, s:b, s:s, s:{s:s, s:s, s:b, s:s}}", "node-name", disk->vdev, "driver",
                                    format_driver(disk->format), "read-only", disk->readonly, "discard", discard,
                                    "file", "driver", is_block ? "host_device" : "file", "filename", path,
                                    "read-only", disk->readonly, "discard", discard);
    if (!o)
        return error_nomem(err);
    return strv_add(v, "-blockdev", err) < 0 ? -1 : strv_take(v, json_text(o, err), err);
}

static int add_device(const struct domain *d, const struct qemu_disk *q, unsigned nth, struct strv *v,
                      struct vmundo_error *err)
{
    const char *vdev = q->disk->vdev, *kind = q->disk->cdrom ? "cd" : "hd";
    char boot[32], drive[32] = "";
    boot_index(d, q->disk->cdrom ? 'd' : 'c', nth, boot, sizeof(boot));
    if (q->disk->target)
        snprintf(drive, sizeof(drive), ",drive=%s", vdev);
    if (strv_add(v, "-device", err) < 0)
        return -1;
    switch (q->bus) {
    case BUS_SCSI:
        return strv_addf(v, err, "scsi-%s,bus=scsi.0,scsi-id=%u,id=disk-%s,serial=%s%s%s", kind, q->place, vdev, vdev,
                         drive, boot);
    case BUS_IDE:
        return strv_addf(v, err, "ide-%s,bus=ide.%u,unit=%u,id=disk-%s,serial=%s%s%s", kind, q->place / 2, q->place % 2,
                         vdev, vdev, drive, boot);
    case BUS_VIRTIO:
    default:
        return strv_addf(v, err, "virtio-blk-pci,id=disk-%s,serial=%s%s%s", vdev, vdev, drive, boot);
    }
}

static int add_disks(const struct domain *d, const struct qemu_host *h, const struct qemu_disk *disks, struct strv *v,
                     struct vmundo_error *err)
{
    bool controller = false;
    for (size_t i = 0; i < d->n_disks; i++) {
        const struct qemu_disk *q = &disks[i];
        unsigned nth = (unsigned)(q->disk - d->disks);
        if (q->disk->target && add_blockdev(q->disk, nth, h->is_block && h->is_block[nth], v, err) < 0)
            return -1;
        if (q->bus == BUS_SCSI && !controller && add(v, "-device", "virtio-scsi-pci,id=scsi", err) < 0)
            return -1;
        controller = controller || q->bus == BUS_SCSI;
        if (add_device(d, q, (unsigned)i, v, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- network ---------------------------------------------------------------------------------------------------- */

static const char *nic_device(const char *model)
{
    static const struct {
        const char *model, *device;
    } models[] = {
        {"virtio", "virtio-net-pci"},
        {"virtio-net", "virtio-net-pci"},
        {"virtio-net-pci", "virtio-net-pci"},
        {"netfront", "virtio-net-pci"},
        {"e1000", "e1000"},
        {"e1000e", "e1000e"},
        {"rtl8139", "rtl8139"},
        {"ne2k_pci", "ne2k_pci"},
        {"pcnet", "pcnet"},
        {"vmxnet3", "vmxnet3"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(models); i++)
        if (!model || str_eq(model, models[i].model))
            return models[i].device;
    return NULL;
}

/* The same for every start of the domain. FNV-1a (draft-eastlake-fnv). */
static void derive_mac(const char *name, size_t index, char mac[18])
{
    uint32_t hash = 2166136261u;
    for (const char *p = name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    hash = (hash ^ (uint32_t)index) * 16777619u;
    snprintf(mac, 18, "52:54:00:%02x:%02x:%02x", hash >> 16 & 0xff, hash >> 8 & 0xff, hash & 0xff);
}

static int add_vif(const struct domain *d, const struct qemu_host *h, size_t i, struct strv *v,
                   struct vmundo_error *err)
{
    const struct domain_vif *vif = &d->vifs[i];
    const char *device = nic_device(vif->model);
    char mac[18], boot[32];
    if (!device)
        return error_set(err, VMUNDO_FAILED,
                         "vif %zu: the qemu driver has no network card '%s'; it has virtio-net, e1000, "
                         "e1000e, rtl8139, ne2k_pci, pcnet and vmxnet3",
                         i, vif->model);
    derive_mac(d->name, i, mac);
    boot_index(d, 'n', (unsigned)i, boot, sizeof(boot));
    if (strv_add(v, "-netdev", err) < 0)
        return -1;
    if (h->net == NET_USER ? strv_addf(v, err, "user,id=net%zu%s", i, h->isolated ? ",restrict=on" : "") < 0
                           : strv_addf(v, err, "tap,id=net%zu,fd=%zu", i, (size_t)QEMU_FD_TAP + i) < 0)
        return -1;
    /* The option ROM is for booting from the network; without it QEMU starts faster. */
    return strv_add(v, "-device", err) < 0 ? -1
                                           : strv_addf(v, err, "%s,netdev=net%zu,id=vif%zu,mac=%s%s%s", device, i, i,
                                                       vif->mac ? vif->mac : mac, boot, *boot ? "" : ",romfile=");
}

static int add_network(const struct domain *d, const struct qemu_host *h, struct strv *v, struct vmundo_error *err)
{
    if (h->net == NET_NONE)
        return 0;
    if (d->n_vifs > RUNDIR_MAX_TAPS)
        return error_set(err, VMUNDO_FAILED, "vif: %zu network cards, the qemu driver has room for %u", d->n_vifs,
                         RUNDIR_MAX_TAPS);
    for (size_t i = 0; i < d->n_vifs; i++)
        if (add_vif(d, h, i, v, err) < 0)
            return -1;
    return 0;
}

/* ---- rights -------------------------------------------------------------------------------------------------------- */

/* Whoever is to become another user must be allowed to. What that gives goes with it, and new privileges are out of reach: the
 * monitor has set no_new_privs. */
static int add_rights(const struct qemu_host *h, struct strv *v, struct vmundo_error *err)
{
    if (strv_add(v, "-sandbox", err) < 0 ||
        strv_addf(v, err, "on,obsolete=deny,elevateprivileges=%s,spawn=deny,resourcecontrol=deny",
                  *h->run_as ? "allow" : "deny") < 0)
        return -1;
    return *h->run_as ? add(v, "-runas", h->run_as, err) : 0;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

int qemu_argv(const struct domain *d, const struct qemu_host *h, struct strv *ret, struct vmundo_error *err)
{
    static const char *const always[] = {
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-S",
        "-msg",
        "timestamp=on",
    };
    AUTO_FREE struct qemu_disk *disks = NULL;
    if (qemu_disks_place(d, &disks, err) < 0)
        return -1;
    if (strv_add(ret, h->program, err) < 0 || strv_add(ret, "-name", err) < 0 ||
        strv_addf(ret, err, "guest=%s", d->name) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(always); i++)
        if (strv_add(ret, always[i], err) < 0)
            return -1;
    if (add_rights(h, ret, err) < 0 || add_machine(d, h, ret, err) < 0 || add_ram(d, h, ret, err) < 0 ||
        add_boot(d, h, disks, ret, err) < 0 || add_sockets(ret, err) < 0 ||
        add_disks(d, h, disks, ret, err) < 0)
        return -1;
    return add_network(d, h, ret, err) < 0 ? -1 : add_agent(ret, err);
}

/* ---- what must be the same when a state is loaded --------------------------------------------------------------- */

static bool is_flag(const char *arg)
{
    return str_eq(arg, "-nodefaults") || str_eq(arg, "-no-user-config") || str_eq(arg, "-S");
}

static bool makes_the_machine(const char *option, const char *value)
{
    static const char *const options[] = {"-machine", "-accel", "-cpu", "-m", "-smp", "-bios", "-device"};
    if (str_has_prefix(value, "memory-backend="))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (str_eq(option, options[i]))
            return true;
    return false;
}

static int add_without_mac(const char *option, const char *value, struct strv *ret, struct vmundo_error *err)
{
    const char *mac = strstr(value, ",mac=");
    size_t before = mac ? (size_t)(mac - value) : strlen(value);
    const char *after = mac ? mac + 1 + strcspn(mac + 1, ",") : "";
    return strv_addf(ret, err, "%s %.*s%s", option, (int)before, value, after);
}

int qemu_machine(const char *const *argv, size_t n, struct strv *ret, struct vmundo_error *err)
{
    for (size_t i = 1; i + 1 < n; i++) {
        if (is_flag(argv[i]))
            continue;
        if (makes_the_machine(argv[i], argv[i + 1]) && add_without_mac(argv[i], argv[i + 1], ret, err) < 0)
            return -1;
        i++;
    }
    return 0;
}

/* ---- what has no effect ----------------------------------------------------------------------------------------- */

static bool is_honoured(const char *key)
{
    static const char *const keys[] = {
        "name",    "uuid", "type",   "builder",     "memory",     "vcpus",    "maxvcpus", "kernel",
        "ramdisk", "root", "extra",  "cmdline",     "bootloader", "firmware", "bios",     "boot",
        "disk",    "vif",  "serial", "on_poweroff", "on_reboot",  "on_crash",
    };
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (str_eq(key, keys[i]))
            return true;
    return false;
}

static int note_disks(const struct domain *d, struct strv *ret, struct vmundo_error *err)
{
    for (size_t i = 0; i < d->n_disks; i++)
        if (d->disks[i].backendtype &&
            strv_addf(ret, err, "disk: %s: backendtype=%s has no effect with the qemu driver", d->disks[i].vdev,
                      d->disks[i].backendtype) < 0)
            return -1;
    return 0;
}

static int note_vifs(const struct domain *d, const struct qemu_host *h, struct strv *ret, struct vmundo_error *err)
{
    if (d->n_vifs && h->net == NET_NONE)
        return strv_add(ret, "vif: the domain was asked to have no network", err);
    for (size_t i = 0; i < d->n_vifs; i++) {
        const struct domain_vif *vif = &d->vifs[i];
        if (vif->bridge && h->net == NET_USER &&
            strv_addf(ret, err, "vif: bridge=%s has no effect with user networking", vif->bridge) < 0)
            return -1;
        if (vif->script && strv_addf(ret, err, "vif: script=%s has no effect with the qemu driver", vif->script) < 0)
            return -1;
        if (vif->ip && strv_addf(ret, err, "vif: ip=%s has no effect with the qemu driver", vif->ip) < 0)
            return -1;
    }
    return 0;
}

static int note_boot(const struct domain *d, struct strv *ret, struct vmundo_error *err)
{
    AUTO_FREE struct qemu_disk *disks = NULL;
    AUTO_FREE char *cmdline = NULL;
    if (d->kernel) {
        if (qemu_disks_place(d, &disks, err) < 0 || translate_cmdline(d, disks, &cmdline, ret, err) < 0)
            return -1;
        return d->boot ? strv_add(ret, "boot: has no effect, as a kernel is given", err) : 0;
    }
    if (d->bootloader)
        return strv_addf(ret, err,
                         "bootloader: instead of %s the firmware boots from the disk, which needs a boot loader "
                         "in its first sectors",
                         d->bootloader);
    return d->type != DOMAIN_HVM ? strv_add(ret, "kernel: none is given, so the firmware boots from the disk", err) : 0;
}

int qemu_notes(const struct domain *d, const struct qemu_host *h, struct strv *ret, struct vmundo_error *err)
{
    for (size_t i = 0; i < d->keys.n; i++) {
        const char *key = d->keys.items[i];
        bool balloon = str_eq(key, "maxmem");
        if (balloon && d->maxmem_mib > d->memory_mib &&
            strv_addf(ret, err, "maxmem: the guest has %llu MiB, as memory says; it does not grow",
                      (unsigned long long)d->memory_mib) < 0)
            return -1;
        if (!balloon && !is_honoured(key) && strv_addf(ret, err, "%s: has no effect with the qemu driver", key) < 0)
            return -1;
    }
    for (size_t i = 0; i < d->serials.n; i++)
        if (!str_eq(d->serials.items[i], "pty") &&
            strv_addf(ret, err, "serial: %s has no effect; the first port is the console", d->serials.items[i]) < 0)
            return -1;
    if (note_boot(d, ret, err) < 0 || note_disks(d, ret, err) < 0)
        return -1;
    return note_vifs(d, h, ret, err);
}
