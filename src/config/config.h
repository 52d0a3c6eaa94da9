/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * config.h: xl.cfg in, rewritten xl.cfg out.
 *
 * The user's file is read once (config_load) and from then on only the copy of its text counts: what was started can be
 * started again although the file has changed or gone. Reading is libxlutil's work (xlu_cfg_readdata, xlu_disk_parse),
 * so that we accept what xl accepts and refuse what it refuses.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "config/domain.h"

/* Read the file: *ret_text its bytes, *ret_path its absolute path (symbolic links resolved). At most 1 MiB.
 * Errors: VMUNDO_FAILED missing, unreadable, a directory or device, too large, contains a NUL byte. */
int config_load(const char *path, char **ret_text, char **ret_path, struct vmundo_error *err);

/* Parse text that came from path (for messages as "path:line: …" and for relative targets). Errors: VMUNDO_FAILED
 * syntax, wrong value types, a bad or missing name, duplicate vdev, two disks with one target (unless both are
 * read-only), control characters in paths, memory or vcpus out of range. */
int config_parse(const char *text, const char *path, struct domain *ret, struct vmundo_error *err);

/* The new target of one disk, named by its vdev. */
struct config_target {
    const char *vdev;
    const char *target;
    enum disk_format format;
    bool block;              /* the target is a block device */
};

/* The text of a copy of the configuration in which only the targets of the disks named (and the name, unless NULL) are
 * changed; comments, order, white space and all other keys stay byte for byte. Relative paths in other keys that xl
 * would resolve against its working directory are left as they are. The result is parsed again and compared before it
 * is handed out. A disk whose format or kind changes is written anew as key=value; a backendtype that cannot serve the
 * new target is dropped. *ret is the caller's. Errors: VMUNDO_FAILED when a disk's text cannot be located, when there
 * is no such disk, when the new target is not an absolute path or has control characters. */
int config_rewrite(const char *text, const char *path, const struct config_target *targets, size_t n_targets,
                   const char *name, char **ret, struct vmundo_error *err);

/* What makes a machine another one of the same kind. */
struct config_identity {
    const char *uuid;
    const char *const *macs; /* one for each vif; may be NULL with no_vifs */
    bool no_vifs;            /* it has no network cards */
};

/* The text of a copy of the configuration that differs in its UUID and in the hardware addresses of its network cards
 * (and has no names for their counterparts, which are the first machine's); all else is the same. *ret is the caller's.
 * Errors: VMUNDO_FAILED when the result would not be the domain wanted. */
int config_identify(const char *text, const char *path, const struct config_identity *id, char **ret,
                    struct vmundo_error *err);

#endif
