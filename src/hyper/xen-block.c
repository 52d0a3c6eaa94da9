/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-block.c: vmundo-xen-block, the block script (xl-disk-configuration(5), script=) of disks that are block devices.
 * libxl runs it before it connects such a disk and after it has disconnected it, and the kernel's backend waits until it
 * has written in xenstore which device it is. Xen's own script `block` does no more than that for a block device, but
 * with some twenty processes; that is most of the time in which a small domain starts.
 *
 * libxl passes "add" or "remove", and in XENBUS_PATH the backend's directory in xenstore.
 */
#include "util/cleanup.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <xenstore.h>

static void close_store(struct xs_handle **xs)
{
    if (*xs)
        xs_close(*xs);
}

static int put(struct xs_handle *xs, const char *dir, const char *key, const char *value)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, key);
    if (xs_write(xs, XBT_NULL, path, value, (unsigned)strlen(value)))
        return 0;
    fprintf(stderr, "cannot write %s in xenstore: %s\n", path, strerror(errno));
    return -1;
}

/* libxl shows hotplug-error to its user. */
static int fail(struct xs_handle *xs, const char *dir, const char *device, const char *why)
{
    char text[1024];
    snprintf(text, sizeof(text), "%s: %s", device, why);
    put(xs, dir, "hotplug-error", text);
    put(xs, dir, "hotplug-status", "error");
    return 1;
}

static int add(struct xs_handle *xs, const char *dir)
{
    char path[512], number[32];
    struct stat st;
    snprintf(path, sizeof(path), "%s/params", dir);
    AUTO_FREE char *device = xs_read(xs, XBT_NULL, path, NULL);
    if (!device)
        return fail(xs, dir, path, strerror(errno));
    if (stat(device, &st) < 0)
        return fail(xs, dir, device, strerror(errno));
    if (!S_ISBLK(st.st_mode))
        return fail(xs, dir, device, "not a block device");
    snprintf(number, sizeof(number), "%x:%x", major(st.st_rdev), minor(st.st_rdev));
    return put(xs, dir, "physical-device-path", device) < 0 || put(xs, dir, "physical-device", number) < 0 ||
           put(xs, dir, "hotplug-status", "connected") < 0;
}

int main(int argc, char **argv)
{
    CLEANUP(close_store) struct xs_handle *xs = NULL;
    const char *dir = getenv("XENBUS_PATH");
    if (argc != 2 || !dir) {
        fprintf(stderr, "%s is run by libxl, as a block script\n", argv[0]);
        return 2;
    }
    if (strcmp(argv[1], "add") != 0)
        return 0;
    xs = xs_open(0);
    if (!xs) {
        fprintf(stderr, "cannot talk to xenstore: %s\n", strerror(errno));
        return 1;
    }
    return add(xs, dir);
}
