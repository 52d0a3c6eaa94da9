#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# stack.sh: what lies under a target: loop devices, partitions, mounts over mounts, bind mounts, overlays.
. "$(dirname "$0")/common.sh"
requires losetup partx
make_fs xfs

# stack TARGET KEY=VALUE...: that is what is said of it
stack() {
    local target=$1 pair
    shift
    drive stack "$target" >"$work/output"
    for pair; do
        grep -qxF -- "$pair" "$work/output" || { cat "$work/output" >&2; fail "$target: not $pair"; }
    done
}
attach() { losetup -f --show "$@"; }

image=$fs/disk.img
truncate -s 64M "$image"
stack "$image" kind=0 "path=$image" via_loop= size=67108864 "mount=$fs" type=xfs root=/ readonly=0 reflink=1

step "loop devices"
loop=$(attach "$image")
own_loop "$loop"
stack "$loop" kind=0 "path=$image" "via_loop=$loop" type=xfs
ln -s "$loop" "$work/link"
stack "$work/link" kind=0 "path=$image" "via_loop=$loop"
second=$(attach "$loop")
own_loop "$second"
stack "$second" kind=0 "path=$image" "via_loop=$second"
detach "$second"
part=$(attach -o 1M "$image")
own_loop "$part"
stack "$part" kind=1 "path=$part" via_loop= size=66060288
detach "$part"
part=$(attach --sizelimit 1M "$image")
stack "$part" kind=1 "path=$part" size=1048576
detach "$part"
mv "$image" "$image.moved"
stack "$loop" "path=$image.moved" # the kernel knows it by its new name
cp "$image.moved" "$image"
rm "$image.moved"
expect_exit 1 "the file of $loop is no longer at" drive stack "$loop"
mv "$image" "$image.moved (deleted)"
expect_exit 1 "the file of $loop is no longer at .*another has taken its place" drive stack "$loop"
mv "$image.moved (deleted)" "$image"
detach "$loop"
wait_until 5 sh -c "! losetup '$loop' 2>/dev/null"
expect_exit 1 "has no medium" drive stack "$loop"

step "partitions"
python3 -c '
import struct, sys
with open(sys.argv[1], "r+b") as f: # an MBR with one partition of 8 MiB at 1 MiB
    f.seek(446)
    f.write(struct.pack("<8B2I", 0, 0, 0, 0, 0x83, 0, 0, 0, 2048, 16384))
    f.seek(510)
    f.write(b"\x55\xaa")' "$image"
loop=$(attach "$image")
own_loop "$loop"
# A partition that the kernel is told of stays when the loop device goes, for the next who gets that device.
partx -d "$loop" 2>/dev/null || true
partx -a "$loop"
forget_partitions() { [ -z "${own_loops[$1]:-}" ] || partx -d "$1"; }
cleanup forget_partitions "$loop"
wait_until 5 test -b "${loop}p1"
stack "${loop}p1" kind=1 "path=${loop}p1" via_loop= size=8388608
stack "$loop" kind=0 "path=$image"
forget_partitions "$loop"
detach "$loop"

step "mounts"
mkdir "$work/bind" "$fs/dir"
cp "$image" "$fs/dir/disk.img"
mount --bind "$fs/dir" "$work/bind"
cleanup umount "$work/bind"
stack "$work/bind/disk.img" "path=$work/bind/disk.img" "mount=$work/bind" root=/dir reflink=1
make "$work/bind/disk.img" raw reflink
drive remove "$state"
mount -o remount,bind,ro "$work/bind"
stack "$work/bind/disk.img" readonly=1
stack "$fs/dir/disk.img" readonly=0
mount -t tmpfs none "$work/bind" # over it; what a path leads to is what counts
cleanup umount "$work/bind"
truncate -s 1M "$work/bind/disk.img"
stack "$work/bind/disk.img" type=tmpfs reflink=0
umount "$work/bind"

step "a file from another file system"
make_fs btrfs 256M
truncate -s 1M "$fs/disk.img" "$work/xfs/there.img"
mount --bind "$fs/disk.img" "$work/xfs/there.img"
cleanup umount "$work/xfs/there.img"
stack "$work/xfs/there.img" type=btrfs "mount=$work/xfs/there.img" reflink=1
expect_exit 5 "mounted there by itself, from another file system" new "$work/xfs/there.img" raw reflink
make "$work/xfs/there.img" raw
expect "$driver" qcow2
drive remove "$state"

step "overlayfs"
mkdir -p "$work"/o/{lower,upper,work,merged}
mount -t overlay overlay -o "lowerdir=$work/o/lower,upperdir=$work/o/upper,workdir=$work/o/work" "$work/o/merged" 2>/dev/null ||
    skip "no overlayfs here"
cleanup umount "$work/o/merged"
truncate -s 1M "$work/o/merged/disk.img"
stack "$work/o/merged/disk.img" type=overlay reflink=0
make "$work/o/merged/disk.img" raw
expect "$driver" qcow2
drive keep_check "$state"
drive keep "$state" 2>/dev/null
drive remove "$state"

step "XFS that cannot share blocks"
truncate -s 512M "$work/plain.image"
mkfs.xfs -q -m reflink=0 "$work/plain.image"
mkdir "$work/plain"
mount -o loop "$work/plain.image" "$work/plain"
cleanup umount "$work/plain"
truncate -s 1M "$work/plain/disk.img"
stack "$work/plain/disk.img" type=xfs reflink=0
expect_exit 5 "xfs at $work/plain cannot share blocks" new "$work/plain/disk.img" raw reflink
