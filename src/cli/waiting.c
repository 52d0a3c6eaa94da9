/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * waiting.c: says what a command waits for when that takes long: a program (lvm, qemu-img, xl) that it has started and
 * that has not ended. Such a program is never ended by us, and may hang for as long as a disk does.
 *
 * A timer looks every few seconds which children there are. All is done in the signal's handler, so it calls nothing that
 * is not safe there (signal-safety(7)).
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define LOOK_EVERY_S 5
#define SAY_EVERY 6 /* looks */
#define MAX_WORD 40

static volatile sig_atomic_t on_screen; /* something that moves says already that it goes on */
static char children[64];               /* path of the list of them, which begins with the oldest */

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

/* dest must have room for it. */
static char *append(char *dest, const char *text)
{
    size_t n = strlen(text);
    memcpy(dest, text, n + 1);
    return dest + n;
}

static char *append_number(char *dest, unsigned n)
{
    char digits[16] = {0};
    size_t i = sizeof(digits) - 1;
    do
        digits[--i] = (char)('0' + n % 10);
    while ((n /= 10) > 0 && i > 0);
    return append(dest, digits + i);
}

/* "lvm lvcreate": the program, and its first argument if that is a word. */
static void name_program(const char *pid, char *ret)
{
    char path[64], program[32], args[256];
    append(append(append(path, "/proc/"), pid), "/comm");
    read_some(path, program, sizeof(program));
    program[strcspn(program, "\n")] = '\0';
    append(append(append(path, "/proc/"), pid), "/cmdline");
    size_t n = read_some(path, args, sizeof(args));
    const char *argument = args + strlen(args) + 1;
    bool word = argument < args + n && *argument >= 'a' && *argument <= 'z' && !strchr(argument, '/');
    const char *const parts[] = {program, word ? argument : ""};
    for (size_t i = 0; i < 2 && *parts[i]; i++) {
        if (i > 0)
            *ret++ = ' ';
        for (size_t k = 0; parts[i][k] && k < MAX_WORD; k++)
            *ret++ = parts[i][k] >= ' ' && parts[i][k] <= '~' ? parts[i][k] : '?';
    }
    *ret = '\0';
}

static void say(const char *pid, unsigned seconds)
{
    char text[256], program[2 * MAX_WORD + 2];
    name_program(pid, program);
    if (!*program)
        return;
    char *end = append(append(text, "vmundo: still waiting for "), program);
    end = append(append(append(end, " (pid "), pid), "), for ");
    end = append(append_number(end, seconds), " s\n");
    ssize_t n = write(STDERR_FILENO, text, (size_t)(end - text));
    (void)n;
}

static void look(int sig)
{
    static char last[16];
    static unsigned looks; /* in which it was there, one after the other */
    char now[16];
    int saved = errno;
    (void)sig;
    read_some(children, now, sizeof(now));
    if (!strchr(now, ' ')) /* none, or one whose number is cut off */
        now[0] = '\0';
    now[strcspn(now, " ")] = '\0';
    looks = *now && !strcmp(now, last) ? looks + 1 : 0;
    append(last, now);
    if (looks > 0 && (looks - 1) % SAY_EVERY == 0 && !on_screen)
        say(now, looks * LOOK_EVERY_S);
    errno = saved;
}

void waiting_init(void)
{
    struct sigaction action = {.sa_handler = look, .sa_flags = SA_RESTART};
    struct itimerval every = {.it_interval.tv_sec = LOOK_EVERY_S, .it_value.tv_sec = LOOK_EVERY_S};
    append(append_number(append(append_number(append(children, "/proc/"), (unsigned)getpid()), "/task/"),
                         (unsigned)getpid()), "/children");
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGALRM, &action, NULL) == 0)
        (void)setitimer(ITIMER_REAL, &every, NULL);
}

void waiting_is_seen(bool seen)
{
    on_screen = seen;
}
