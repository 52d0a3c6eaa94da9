/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * waiting.c: says what a command waits for when that takes long: a program (lvm, qemu-img, xl) that it has started and
 * that has not ended. Such a program is never ended by us, and may hang for as long as a disk does.
 *
 * A thread looks every few seconds which children there are. Not a timer: its signal would interrupt what libraries
 * wait for.
 */
#include "cli/cli.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY_S 5
#define SAY_EVERY 6 /* looks */

static _Atomic bool on_screen; /* something that moves says already that it goes on */

/* What a file of /proc holds, at most size - 1 bytes; "" if it cannot be read. */
static size_t read_some(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, buf, size - 1);
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

struct child {
    char pid[16], program[32];
};

/* The oldest child of the thread that does the work, but those of ours that stay with a domain; "" if there is none. */
static void find_child(struct child *ret)
{
    char path[64], list[512], *rest = list;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)getpid(), (int)getpid());
    read_some(path, list, sizeof(list));
    for (char *pid; (pid = strsep(&rest, " ")) && rest;) { /* each is followed by a blank, but one that is cut off */
        snprintf(path, sizeof(path), "/proc/%.15s/comm", pid);
        read_some(path, ret->program, sizeof(ret->program));
        ret->program[strcspn(ret->program, "\n")] = '\0';
        snprintf(ret->pid, sizeof(ret->pid), "%.15s", pid);
        if (ret->program[0] && strncmp(ret->program, "vmundo-", strlen("vmundo-")) != 0)
            return;
    }
    *ret = (struct child){0};
}

/* "lvm lvcreate": the program, and its first argument if that is a word. */
static void say(const struct child *c, unsigned seconds)
{
    char path[64], args[256];
    snprintf(path, sizeof(path), "/proc/%s/cmdline", c->pid);
    size_t n = read_some(path, args, sizeof(args));
    const char *argument = args + strlen(args) + 1;
    bool word = argument < args + n && *argument >= 'a' && *argument <= 'z' && !strchr(argument, '/');
    flockfile(stderr);
    fputs("vmundo: still waiting for ", stderr);
    print_escaped(stderr, c->program);
    if (word) {
        fputc(' ', stderr);
        print_escaped(stderr, argument);
    }
    fprintf(stderr, " (pid %s), for %u s\n", c->pid, seconds);
    funlockfile(stderr);
}

static void *look(void *unused)
{
    struct child last = {0}, now = {0};
    unsigned looks = 0; /* in which it was there, one after the other */
    for (;;) {
        nanosleep(&(struct timespec){.tv_sec = LOOK_EVERY_S}, NULL);
        find_child(&now);
        looks = now.pid[0] && !strcmp(now.pid, last.pid) ? looks + 1 : 0;
        last = now;
        if (looks > 0 && (looks - 1) % SAY_EVERY == 0 && !on_screen)
            say(&now, looks * LOOK_EVERY_S);
    }
    return unused;
}

void waiting_init(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the other one */
    if (pthread_create(&thread, NULL, look, NULL) == 0)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void waiting_is_seen(bool seen)
{
    on_screen = seen;
}
