/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz_cow.c: a classic snapshot's exception store. Whatever it holds: it is refused with a message, or gives chunks in
 * ascending order, as many at most as would fit in it. */
#include "fuzz.h"

#include "storage/lvm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_LVM_CHUNKS struct lvm_chunks c = {0};
    struct vmundo_error err = {0};
    AUTO_CLOSE int fd = fuzz_file(data, size);
    if (lvm_read_cow(fd, &c, &err) < 0) {
        REQUIRE_REFUSED(err);
        return 0;
    }
    REQUIRE(c.size >= 4096 && c.n <= size / 16);
    for (size_t i = 0; i < c.n; i++) {
        REQUIRE(i == 0 || c.chunks[i - 1] <= c.chunks[i]);
        REQUIRE(c.chunks[i] > UINT64_MAX / c.size || lvm_chunks_touch(&c, c.chunks[i] * c.size, 1));
    }
    return 0;
}
