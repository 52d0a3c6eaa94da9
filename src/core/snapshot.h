/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot.h: the stages PAUSE, SNAPSHOT and RESUME of an operation: op->made comes into being, of the domain as it is
 * at one instant.
 */
#ifndef CORE_SNAPSHOT_H
#define CORE_SNAPSHOT_H

#include "core/operation.h"

/* Make op->made of op->before, whose instance may be running; fills in what was reached (consistency) and
 * op->ret_paused_us. On failure the guest runs on, and checkpoint_remove() clears up. Errors: VMUNDO_FAILED the guest
 * was not still for long enough. */
int snapshot_take(struct operation *op, struct vmundo_error *err);

/* Make op->made a copy of op->from, another domain's: disks are cloned; RAM and saved devices, to which nobody writes,
 * get a second name. */
int snapshot_adopt(struct operation *op, struct vmundo_error *err);
/* Of an operation that was cut off or failed: is the guest, or was it when it ended, on those of op->after's branches that
 * rest on op->before's? */
int snapshot_has_moved(struct operation *op, bool *ret, struct vmundo_error *err);
/* Flush what the clones of a running domain would have to flush in the pause. snapshot_take() does so, too; done
 * before, without the domain's lock, it keeps others from having to wait for that. */
void snapshot_flush(const struct record *r, bool with_ram);

#endif
