/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz.h: what a fuzz target and its drivers (libFuzzer, replay.c) agree on, and what targets have in common. */
#ifndef FUZZ_H
#define FUZZ_H

#include "util/str.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold. */
#define REQUIRE(what)                                                                                                  \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                                         \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* What fails says why. */
#define REQUIRE_REFUSED(err) REQUIRE((err).code != 0 && (err).msg[0])

/* The input as text, which ends at its first NUL as any text does; the caller's. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    REQUIRE(text);
    return text;
}

/* The input as a file in memory; the caller's. */
static inline int fuzz_file(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    return fd;
}

/* Most targets serve several parsers: the first byte of an input is the letter of one of them, a newline may follow. */
static inline char fuzz_choice(const uint8_t **data, size_t *size)
{
    char choice = *size ? (char)**data : '\0';
    for (size_t skip = choice ? (*size > 1 && (*data)[1] == '\n' ? 2 : 1) : 0; skip; skip--) {
        ++*data;
        --*size;
    }
    return choice;
}

#endif
