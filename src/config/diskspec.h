/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * diskspec.h: one string of a disk list, xl-disk-configuration(5). Reading it is libxlutil's work (xlu_disk_parse); the
 * rules that libxl applies later, when it starts the domain, are applied here.
 */
#ifndef CONFIG_DISKSPEC_H
#define CONFIG_DISKSPEC_H

#include "config/config.h"

/* source ("path:line") opens the messages, dir is what relative targets are relative to. ret is cleared with
 * domain_disk_clear(). Errors: VMUNDO_FAILED. */
int diskspec_parse(const char *spec, const char *source, const char *dir, struct domain_disk *ret,
                   struct vmundo_error *err);

/* The same disk with another target: only the target's characters changed if that is enough, else written anew as
 * key=value. The result has been parsed again and means what it should. *ret is the caller's. */
int diskspec_retarget(const char *spec, const struct config_target *target, char **ret, struct vmundo_error *err);

#endif
