/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-save.h: a saved guest of Xen's: what `xl save` has written, and behind it a block of ours, which says that it is whole
 * and whose it is. xl stops reading where its own part ends (docs/specs/libxc-migration-stream.pandoc, END).
 *
 *     vmundo saved guest of Xen 1\n
 *     {"of": "a1b2c3d4 web 7", "size": 290000, "sum": "16 hex digits"}\n
 *     zeros up to XEN_TAIL_SIZE
 */
#ifndef HYPER_XEN_SAVE_H
#define HYPER_XEN_SAVE_H

#define XEN_SAVE_LOG "save.log"   /* there; what it says */
#define XEN_SAVE_LOCK "save.lock" /* in an instance's directory; held by xl save */
#define XEN_TAIL_SIZE 4096u

#endif
