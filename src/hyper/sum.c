/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sum.c: see sum.h. FNV-1a by words of 64 bits: as fast as the file is read. Any one word that differs makes another
 * sum. */
#include "hyper/sum.h"

#include "util/cleanup.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define CHUNK ((size_t)256 << 10)

static uint64_t add_words(uint64_t sum, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, data + i, len - i < sizeof(word) ? len - i : sizeof(word));
        sum = (sum ^ word) * UINT64_C(1099511628211);
    }
    return sum;
}

int sum_read(int fd, char *buf, size_t len, uint64_t at, struct vmundo_error *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, buf + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "cannot read the saved state");
        if (n == 0)
            return error_set(err, VMUNDO_FAILED, "the saved state ends too early");
        done += (size_t)n;
    }
    return 0;
}

int sum_file(int fd, uint64_t from, uint64_t to, char ret[SUM_SIZE], struct vmundo_error *err)
{
    AUTO_FREE char *buf = malloc(CHUNK);
    uint64_t sum = UINT64_C(14695981039346656037);
    if (!buf)
        return error_nomem(err);
    for (uint64_t at = from; at < to; at += CHUNK) {
        size_t len = to - at < CHUNK ? (size_t)(to - at) : CHUNK;
        if (sum_read(fd, buf, len, at, err) < 0)
            return -1;
        sum = add_words(sum, buf, len);
    }
    snprintf(ret, SUM_SIZE, "%016" PRIx64, sum);
    return 0;
}
