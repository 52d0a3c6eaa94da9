/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.h: what an image file says about itself, as far as a driver must know it: how large a disk it holds, and which
 * other files it needs. The format is always given, never guessed: a guest can write any header on a raw disk.
 */
#ifndef STORAGE_IMAGE_H
#define STORAGE_IMAGE_H

#include "util/str.h"

#include <stdint.h>
#include <sys/types.h>

/* From the header alone, without running a program. */
struct image_header {
    uint64_t virtual_size;
    bool has_backing;   /* it shows another image where it has no data of its own */
    char *backing;      /* that image's name as it stands there; NULL when it cannot be told */
    bool external_data; /* its data are in another file, which a copy would share with it */
    bool corrupt;       /* it is marked so */
};
/* fd: a file or device open for reading. Formats are raw, qcow, qcow2, qed, vhd. Errors: VMUNDO_FAILED not such an
 * image, or a format that we do not know. */
int image_read_header(int fd, const char *format, struct image_header *ret, struct vmundo_error *err);
/* Has a qcow2 image data of its own? */
int image_has_data(int fd, bool *ret, struct vmundo_error *err);
void image_header_clear(struct image_header *h);

/* The name that QEMU has for a format, NULL if it is none of ours. */
const char *image_qemu_format(const char *format);

/* An image and all that it is based on, every file open for reading, so that what was checked is what is used. */
#define IMAGE_MAX_CHAIN 8
struct image_chain {
    size_t n;
    uint64_t virtual_size;
    struct image_link {
        char *path;
        char *format; /* QEMU's name */
        int fd;
        bool device;
    } links[IMAGE_MAX_CHAIN]; /* the image itself is the first */
};
#define AUTO_IMAGE_CHAIN CLEANUP(image_chain_clear)

/* What `qemu-img info` says of one file. */
struct image_info {
    uint64_t virtual_size;
    char *backing, *backing_format; /* as they stand in it; NULL: none */
};
void image_info_clear(struct image_info *i);
int image_parse_info(const char *json, struct image_info *ret, struct vmundo_error *err);

/* The absolute path of a backing file, from its name in the image at the absolute path. *ret is the caller's. Errors:
 * VMUNDO_REFUSED for what names no file: "json:{…}", "nbd://…". */
int image_backing_path(const char *path, const char *name, char **ret, struct vmundo_error *err);

/* Errors: VMUNDO_REFUSED when a file in the chain is one that the owner of the image might not read, or has no stated
 * format. Runs `qemu-img info` for each file that is not raw. */
int image_open_chain(const char *path, const char *format, struct image_chain *ret, struct vmundo_error *err);
void image_chain_clear(struct image_chain *c);

/* The path by which a program that we run can open a descriptor of ours (plus "/NAME" in a directory). */
char *image_fd_path(int fd, const char *name, struct vmundo_error *err);

/* The chain as a value for --image-opts, prefix before every key ("backing."), the caller's. */
char *image_chain_options(const struct image_chain *c, const char *prefix, struct vmundo_error *err);

#endif
