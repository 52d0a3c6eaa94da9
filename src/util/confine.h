/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * confine.h: giving up rights that a process does not need any more. What the kernel does not have is left out: these are a
 * second wall, behind the first.
 */
#ifndef UTIL_CONFINE_H
#define UTIL_CONFINE_H

/* Neither this process nor its children gain privileges by execve(2) any more. */
void confine_no_new_privileges(void);

/* Of root's capabilities only to signal other users' processes is left (capabilities(7), CAP_KILL). 0, or -1 and errno. */
int confine_drop_capabilities(void);

/* From now on this process creates, removes and opens for writing nothing but what is below dirfd, and executes nothing
 * (landlock(7)); what it has open already stays as it is. confine_no_new_privileges() comes first. 0, also where the kernel has
 * no Landlock, or -1 and errno. */
int confine_writes(int dirfd);

#endif
