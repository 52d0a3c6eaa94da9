/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_image.c: what an image says of itself, and what qemu-img says of it. The first byte says what the rest is:
 *     h  the start of an image, read as every format     i  the answer of qemu-img info     m  of qemu-img map
 *     b  a backing file's name
 */
#include "fuzz.h"

#include "storage/image.h"
#include "storage/qcow2-chain.h"

static void check_header(const uint8_t *data, size_t size)
{
    static const char *const formats[] = {"raw", "qcow", "qcow2", "qed", "vhd", "vmdk"};
    AUTO_CLOSE int fd = fuzz_file(data, size);
    struct vmundo_error err = {0};
    bool any;
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        CLEANUP(image_header_clear) struct image_header h = {0};
        err = (struct vmundo_error){0};
        if (image_read_header(fd, formats[i], &h, &err) < 0)
            REQUIRE_REFUSED(err);
        else
            REQUIRE(!h.backing || h.has_backing);
    }
    err = (struct vmundo_error){0};
    if (image_has_data(fd, &any, &err) < 0)
        REQUIRE_REFUSED(err);
}

static void check_backing(const char *name)
{
    AUTO_FREE char *path = NULL;
    struct vmundo_error err = {0};
    if (image_backing_path("/images/web.qcow2", name, &path, &err) < 0)
        REQUIRE_REFUSED(err);
    else /* QEMU would take what is before a colon for a protocol */
        REQUIRE(path[0] == '/' && (name[0] == '/' ? str_eq(path, name) : str_has_prefix(path, "/images/")));
}

static void check_info(const char *text)
{
    CLEANUP(image_info_clear) struct image_info i = {0};
    struct vmundo_error err = {0};
    if (image_parse_info(text, &i, &err) < 0)
        REQUIRE_REFUSED(err);
    else if (i.backing)
        check_backing(i.backing);
}

static void check_map(const char *text)
{
    AUTO_RANGES struct ranges r = {0};
    struct vmundo_error err = {0};
    if (chain_parse_map(text, &r, &err) < 0) {
        REQUIRE_REFUSED(err);
        return;
    }
    for (size_t i = 0; i < r.n; i++)
        REQUIRE(r.list[i].length <= INT64_MAX && r.list[i].start <= INT64_MAX - r.list[i].length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char choice = fuzz_choice(&data, &size);
    AUTO_FREE char *text = fuzz_text(data, size);
    if (choice == 'h')
        check_header(data, size);
    else if (choice == 'i')
        check_info(text);
    else if (choice == 'm')
        check_map(text);
    else if (choice == 'b')
        check_backing(text);
    return 0;
}
