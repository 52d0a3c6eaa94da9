/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * power-acknowledge DEVICE SECTOR NUMBER: write the number into that sector of the device, past the page cache and without
 * a flush: it is on its way to the disk when this returns, and makes nothing else reach it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECTOR 512

int main(int argc, char **argv)
{
    static _Alignas(4096) char buffer[SECTOR];
    if (argc != 4)
        return 2;
    int fd = open(argv[1], O_WRONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    snprintf(buffer, sizeof buffer, "%08ld", strtol(argv[3], NULL, 10));
    if (pwrite(fd, buffer, SECTOR, (off_t)strtoll(argv[2], NULL, 10) * SECTOR) != SECTOR) {
        perror(argv[1]);
        return 1;
    }
    return close(fd) < 0;
}
