/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replay.c: runs a fuzz target once for every file in the directories named, so that what a fuzzer found stays found.
 * An empty corpus is an error: it would prove nothing.
 */
#include "fuzz.h"

#include "util/str.h"
#include "util/sys.h"

#include <dirent.h>
#include <fcntl.h>

static int replay_file(int dirfd, const char *name)
{
    AUTO_FREE char *data = NULL;
    struct vmundo_error err = {0};
    size_t size = 0;
    if (sys_read_file(dirfd, name, (size_t)1 << 24, &data, &size, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    printf("%s\n", name);
    fflush(stdout);
    return LLVMFuzzerTestOneInput((const uint8_t *)data, size);
}

static int replay_dir(const char *path)
{
    DIR *d = opendir(path);
    if (!d) {
        perror(path);
        return -1;
    }
    int n = 0;
    for (struct dirent *e; n >= 0 && (e = readdir(d));)
        if (e->d_name[0] != '.')
            n = replay_file(dirfd(d), e->d_name) == 0 ? n + 1 : -1;
    closedir(d);
    return n > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    for (int i = 1; i < argc; i++)
        if (replay_dir(argv[i]) < 0)
            return 1;
    return 0;
}
