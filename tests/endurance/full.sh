#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# No room at any stage of any command: with so many KiB free, in the file system of the images (XFS with clones, ext4 with
# overlays) and in that of the state directory. The commands and what is checked are in `full`.
. "$(dirname "$0")/../integration/functions.sh"
requires_root
requires qemu-img qemu-io python3 tune2fs findmnt
sizes=(0 4 64 256)
[ -z "${VMUNDO_TEST_LONG:-}" ] || sizes=($(seq 0 4 256) $(seq 288 32 2048))
full() { python3 "$here/../endurance/full" "$@" "${sizes[@]}" || failed=1; }
# root is to have no more room than others
for_all() { tune2fs -m 0 "$(findmnt -n -o SOURCE "$fs")" >/dev/null; }
failed=''
make_fs xfs 320M
vmundo list >/dev/null # makes the state directory
step "XFS full"
full reflink "$fs" "$fs"
make_fs ext4 64M
for_all
step "ext4 full"
full qcow2 "$fs" "$fs"
step "the state directory full, and what it keeps for that case is used up"
make_fs ext4 40M "$work/own"
for_all
mkdir "$work/own/state"
export VMUNDO_STATE_DIR=$work/own/state
FULL_SPENT=1 full reflink "$work/xfs" "$work/own"
step "XFS full, and the state directory in it"
mkdir "$work/xfs/state"
export VMUNDO_STATE_DIR=$work/xfs/state
full reflink "$work/xfs" "$work/xfs"
[ -z "$failed" ] || fail "see above"
echo "in $SECONDS s"
