/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * room.c: a guest whose RAM is a file in a file system that is full is killed by the kernel (SIGBUS) as soon as it
 * writes to a page that has no block of its own yet. So the free space there is looked at, the more often the less
 * there is, and before the end the guest is paused until there is room again. Its disks' branches, which are there as
 * well, are saved from the end in the same way.
 *
 * How often: what stands between us and the reserve takes at least so long to be used up as FASTEST says; a guest that
 * writes to new pages has a fault of the file system for each, and is slower. How much is kept in reserve: what can be
 * used in the shortest time between two looks, and what QEMU, paused, still writes to the guest's RAM (requests to its
 * disks that are on their way); more while room goes quickly, for then a look that comes late costs more. A file system
 * that is fairly full, and stays so, has a guest in it run on, down to RESERVE.
 */
#include "monitor/monitor.h"

#include "util/str.h"

#include <fcntl.h>
#include <sys/statvfs.h>

#define MIB (UINT64_C(1) << 20)
#define RESERVE (16 * MIB)
#define MOST_RESERVE (64 * MIB)
#define FASTEST MIB /* bytes per millisecond */
#define SHORTEST_MS 10u
#define LONGEST_MS 100u /* somebody else can take any amount in an instant (fallocate), and the guest writes on */
#define RATE_MS 250u
#define FADES_MS 4000u
#define LATE_MS 250u   /* so late a look can be, on a busy machine */
#define PAUSED_MS 500u /* between two looks while the guest is paused: it begins anew when it runs */

/* Opened anew, and not to be used: the locks on the file are QEMU's alone. */
void room_open(struct monitor *m, pid_t pid, int fd)
{
    char path[64];
    if (!str_eq(json_string_value(json_object_get(m->spec, "ram")), "shared"))
        return;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
    m->room.fd = open(path, O_PATH | O_CLOEXEC);
    if (m->room.fd < 0)
        log_say("nobody watches the room for the guest's RAM: %s", strerror(errno));
}

/* How quickly room goes, bytes per millisecond: in the last RATE_MS, or what was seen before and fades within seconds.
 */
static void note_rate(struct room *r, uint64_t now)
{
    uint64_t ms = now - r->rated;
    if (r->rated && ms < RATE_MS)
        return;
    double rate = r->rated && r->left < r->rated_left ? (double)(r->rated_left - r->left) / (double)ms : 0;
    double faded = ms < FADES_MS ? r->rate * (1 - (double)ms / FADES_MS) : 0;
    r->rate = rate > faded ? rate : faded;
    r->rated = now;
    r->rated_left = r->left;
}

static uint64_t reserve(const struct room *r)
{
    double wanted = r->rate * LATE_MS;
    return wanted > (double)MOST_RESERVE ? MOST_RESERVE : wanted > (double)RESERVE ? (uint64_t)wanted : RESERVE;
}

static bool look(struct room *r, uint64_t now)
{
    struct statvfs fs;
    r->due = now + LONGEST_MS;
    if (fstatvfs(r->fd, &fs) < 0)
        return false;
    r->left = (uint64_t)fs.f_bavail * fs.f_frsize;
    r->known = true;
    note_rate(r, now);
    uint64_t above = r->left > RESERVE ? r->left - RESERVE : 0, ms = above / FASTEST;
    r->due = now + (ms < SHORTEST_MS ? SHORTEST_MS : ms > LONGEST_MS ? LONGEST_MS : ms);
    return true;
}

/* One that is paused goes on when there is more than what had it paused. */
bool room_is_scarce(const struct monitor *m)
{
    const struct room *r = &m->room;
    return r->fd >= 0 && r->known && r->left < reserve(r) + (m->record.crowded ? RESERVE / 2 : 0);
}

static void pause_guest(struct monitor *m)
{
    AUTO_FREE char *status = NULL;
    struct vmundo_error e = {0};
    if (m->record.paused || qmp_status(&m->qmp, &status, &e) < 0 || !str_eq(status, "running"))
        return; /* who has paused it may let it run: then it is our turn */
    m->record.crowded = true;
    record_write(m);
    if (qmp_do(&m->qmp, "stop", &e) < 0) { /* the next look tries again */
        log_say("the guest cannot be paused: %s", e.msg);
        m->record.crowded = false;
        m->record_changed = true;
        return;
    }
    log_say("there is hardly any room for the guest's RAM and branches, %llu MiB: it stands still until there is",
            (unsigned long long)(m->room.left / MIB));
}

static bool is_one_of(const char *s, const char *const *list)
{
    while (*list && !str_eq(s, *list))
        list++;
    return *list;
}

/* A paused guest that was saved is in "postmigrate". While it is being saved it is not our turn. */
static void let_run(struct monitor *m)
{
    static const char *const waits[] = {"paused", "postmigrate", NULL};
    static const char *const busy[] = {"finish-migrate", "save-vm", NULL};
    AUTO_FREE char *status = NULL;
    struct vmundo_error e = {0};
    int r = qmp_status(&m->qmp, &status, &e);
    if (r == 0 && is_one_of(status, busy))
        return;
    if (r == 0 && is_one_of(status, waits))
        r = qmp_do(&m->qmp, "cont", &e);
    if (r < 0) {
        log_say("the guest cannot run on: %s", e.msg);
        return;
    }
    log_say("there is room again, and the guest runs on");
    m->record.crowded = false;
    m->record_changed = true;
}

void room_tick(struct monitor *m, uint64_t now)
{
    struct room *r = &m->room;
    if (r->fd < 0 || m->qmp.fd < 0 || now < r->due || !look(r, now))
        return;
    bool scarce = room_is_scarce(m);
    if (scarce && !m->record.crowded)
        pause_guest(m);
    else if (!scarce && m->record.crowded && !m->holder) /* who holds it wants it still, and lets it go */
        let_run(m);
    if (m->record.crowded || m->record.paused)
        r->due = now + PAUSED_MS;
}

uint64_t room_due(const struct monitor *m)
{
    return m->room.fd >= 0 && m->qmp.fd >= 0 ? m->room.due : UINT64_MAX;
}
