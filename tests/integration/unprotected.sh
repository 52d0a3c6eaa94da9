#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A disk that runs on its origin at the user's wish: rollback undoes the other one, and this one keeps what was written.
. "$(dirname "$0")/functions.sh"
requires_guest
make_fs xfs
make_disk "$fs/a.img" 32M state=a
make_disk "$fs/b.img" 32M state=b
make_config "$work/vm.cfg" vm "file:$fs/a.img,xvda,w" "file:$fs/b.img,xvdb,w"
baseline
remember "$fs/a.img"
vmundo run --unprotected xvdb "$work/vm.cfg"
guest_say vm "echo changed >state; echo changed >/mnt/1/state"
vmundo rollback vm
guest_has vm state a
guest_has vm /mnt/1/state changed
vmundo drop vm
unchanged
no_traces drop
