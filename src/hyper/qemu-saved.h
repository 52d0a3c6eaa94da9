/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-saved.h: the file that holds a saved guest. First what it was saved from:
 *
 *     vmundo saved guest 1\n
 *     {"of": "a1b2c3d4 web 7", "qemu": "7.2.22", "machine": ["-m 256", …], "ram": true, "stream": 4096, "size": 290000,
 * "sum": "16 hex digits"}\n zeros up to "stream"
 *
 * then QEMU's migration stream. size is the whole file's, sum is over the stream. All of this is written when the
 * stream is complete: until then the file begins with zeros and is no saved guest.
 */
#ifndef HYPER_QEMU_SAVED_H
#define HYPER_QEMU_SAVED_H

#include "util/json.h"
#include "util/str.h"

struct saved {
    char *of;            /* instance.saved_of, NULL: none */
    char *qemu;          /* its version, "7.2.22" */
    struct strv machine; /* qemu_machine */
    bool has_ram;
    uint64_t stream; /* where it begins, bytes */
    uint64_t size;   /* of the file, bytes */
};
#define AUTO_SAVED CLEANUP(saved_clear)

/* Leave room for the head: s->stream is set, and fd's offset is there. */
int saved_begin(int fd, struct saved *s, struct vmundo_error *err);

/* The stream is complete: write the head; durable on return. */
int saved_finish(int fd, struct saved *s, struct vmundo_error *err);

/* A copy becomes that of another (instance.saved_of); durable on return. */
int saved_give(int fd, const char *of, struct vmundo_error *err);

/* Open for reading, the offset at the stream, after making sure that all of it is there and as it was written. Errors:
 * VMUNDO_FAILED it is not, or is no saved guest. */
int saved_open(const char *path, int *ret_fd, struct saved *ret, struct vmundo_error *err);

/* Can a machine like this, and a QEMU of this version (NULL: not known yet), load what s has? Versions that differ in
 * the last number only can: QEMU's stable releases keep the format. of: instance.saved_of, NULL: any. Errors:
 * VMUNDO_CONFLICT. */
int saved_check(const struct saved *s, const char *of, const struct strv *machine, bool has_ram_file,
                struct vmundo_error *err);

void saved_clear(struct saved *s);

#endif
