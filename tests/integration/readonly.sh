#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A file system that is mounted read-only, and one that becomes so.
. "$(dirname "$0")/functions.sh"
make_fs xfs
make_disk "$fs/data.img" 16M state=known
make_config "$work/vm.cfg" vm "file:$fs/data.img,xvda,w"
baseline
remember "$fs/data.img"

mount -o remount,ro "$fs"
expect_exit "[15]" "read-only" vmundo run -H null "$work/vm.cfg"
no_traces run
mount -o remount,rw "$fs"

vmundo run -H null "$work/vm.cfg"
branch=$(field vm disks.0.branch)
vmundo stop --force vm
mount -o remount,ro "$fs"
for command in rollback keep drop; do
    expect_exit "[156]" "ead-only" vmundo $command vm
    [ -e "$branch" ] || fail "the branch is gone after $command"
done
unchanged
mount -o remount,rw "$fs"
vmundo recover
unchanged
vmundo drop vm 2>/dev/null || expect_exit 3 "vm" vmundo status vm
unchanged
no_traces drop
