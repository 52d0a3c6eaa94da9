/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy-back.c ORIGIN-DIR BRANCH-DIR ORIGIN-IMAGE BRANCH-IMAGE FILE...: lvm_copy_file() on two mounted file systems, for
 * copy-back.sh. What has changed is learned by comparing the two images in chunks of 64 KiB, which is what an exception
 * store says. Prints how many bytes were read and compared.
 */
#include "storage/lvm.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#define CHUNK 65536u

static int find_changes(const char *a, const char *b, struct lvm_chunks *ret)
{
    static char ba[CHUNK], bb[CHUNK];
    AUTO_CLOSE int fa = open(a, O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int fb = open(b, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fa < 0 || fb < 0 || fstat(fa, &st) < 0)
        return -1;
    ret->size = CHUNK;
    ret->chunks = calloc((size_t)st.st_size / CHUNK + 1, sizeof(*ret->chunks));
    if (!ret->chunks)
        return -1;
    for (uint64_t i = 0; i < (uint64_t)st.st_size / CHUNK; i++)
        if (pread(fa, ba, CHUNK, (off_t)(i * CHUNK)) != CHUNK || pread(fb, bb, CHUNK, (off_t)(i * CHUNK)) != CHUNK ||
            memcmp(ba, bb, CHUNK))
            ret->chunks[ret->n++] = i;
    return 0;
}

int main(int argc, char **argv)
{
    struct vmundo_error err = {0};
    AUTO_LVM_CHUNKS struct lvm_chunks changed = {0};
    if (argc < 6 || find_changes(argv[3], argv[4], &changed) < 0) {
        fprintf(stderr, "copy-back: cannot compare the images\n");
        return 2;
    }
    AUTO_CLOSE int to = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int from = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct lvm_copy c = {.from = from, .to = to, .changed = &changed};
    for (int i = 5; i < argc; i++)
        if (lvm_copy_measure(&c, argv[i], &err) < 0 || lvm_copy_file(&c, argv[i], &err) < 0) {
            fprintf(stderr, "copy-back: %s\n", err.msg);
            return 1;
        }
    printf("%" PRIu64 "\n", c.total);
    return c.done == c.total ? 0 : 3;
}
