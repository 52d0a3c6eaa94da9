#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# reflink.sh FILESYSTEM: what only clones have to deal with.
. "$(dirname "$0")/common.sh"
requires qemu-img qemu-io
make_fs "$1"
image=$fs/disk.img

step "no space until the guest writes"
truncate -s 1G "$image"
dd if=/dev/urandom of="$image" bs=1M count=64 conv=notrunc status=none
sync -f "$fs"
free() { df --output=avail -k "$fs" | tail -n 1; }
before=$(free)
make "$image" raw
expect "$driver" reflink
sync -f "$fs"
[ $((before - $(free))) -lt 4096 ] || fail "a clone took $((before - $(free))) KiB"
expect "$(drive inspect "$state" | cut -d' ' -f2)" used=0
[ $(($(blocks "$branch") - $(blocks "$image"))) -le 16 ] || fail "the clone is not as sparse as the image"
drive remove "$state"

step "an image in many pieces is left to an overlay"
# shellcheck disable=SC2016 # it is Python
python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
for i in range(6000):
    os.pwrite(fd, b"x" * 4096, i * 65536)' "$fs/pieces.img"
sync -f "$fs"
new "$fs/pieces.img" raw
expect "$driver" qcow2
drive plan "$fs/pieces.img" raw | grep -q "reflink: no: the image is in [0-9]* pieces"
rm "$fs/pieces.img"

step "images that other files belong to"
qemu-img create -q -f raw "$fs/base.img" 16M
qemu-img create -q -f qcow2 -F raw -b base.img "$fs/relative.qcow2"
qemu-img create -q -f qcow2 -F raw -b "$fs/base.img" "$fs/absolute.qcow2"
qemu-img create -q -f qcow2 -o "data_file=$fs/data.raw" "$fs/external.qcow2" 16M
expect_exit 5 "by a relative name" new "$fs/relative.qcow2" qcow2 reflink
new "$fs/relative.qcow2" qcow2
expect "$driver" qcow2
new "$fs/absolute.qcow2" qcow2
expect "$driver" reflink
expect_exit 5 "reflink: .*another file.*qcow2: .*another file" new "$fs/external.qcow2" qcow2
expect_exit 5 "it is not a qcow2 image" new "$image" qcow2

step "a qcow2 image"
qemu-img create -q -f qcow2 "$fs/disk.qcow2" 64M
write qcow2 "$fs/disk.qcow2" 0x11 0 1M
make "$fs/disk.qcow2" qcow2
write qcow2 "$branch" 0x22 0 64k
holds qcow2 "$fs/disk.qcow2" 0x11 0 1M
keep
holds qcow2 "$fs/disk.qcow2" 0x22 0 64k
holds qcow2 "$fs/disk.qcow2" 0x11 64k 64k

step "whoever reads the image while it is kept sees the old content or the new, and no mixture"
make "$image" raw reflink
write raw "$branch" 0x22 0 64k
before=$(sum_of "$image")
exec 9<"$image"
drive keep "$state" 2>/dev/null
expect "$(sha256sum <&9 | cut -c1-64)" "$before"
exec 9<&-
holds raw "$image" 0x22 0 64k
drive remove "$state"

if [ "$1" = btrfs ]; then
    step "an image without checksums (chattr +C), and a compressed one"
    for flag in C c; do
        rm -f "$fs/flag.img"
        touch "$fs/flag.img"
        chattr +$flag "$fs/flag.img"
        head -c 8M < <(yes) >"$fs/flag.img"
        sync -f "$fs"
        before=$(attributes "$fs/flag.img")
        make "$fs/flag.img" raw reflink
        write raw "$branch" 0x33 1M 64k
        keep
        holds raw "$fs/flag.img" 0x33 1M 64k
        expect "$(attributes "$fs/flag.img")" "$before"
    done

    step "in a subvolume"
    btrfs -q subvolume create "$fs/sub"
    cp --reflink=never "$fs/disk.qcow2" "$fs/sub/disk.qcow2"
    make "$fs/sub/disk.qcow2" qcow2 reflink
    keep
    nothing_left "$fs/sub"
fi

step "many at once in one directory: none is in the way of another"
truncate -s 16M "$fs"/many{1..8}.img
dd if=/dev/urandom of="$fs/many1.img" bs=1M count=1 conv=notrunc status=none
pids=()
for n in {1..8}; do
    for _ in {1..15}; do
        drive new "$work/many$n.json" "$fs/many$n.img" raw reflink "d$n" 1 "$VMUNDO_STATE_DIR" >/dev/null
        drive create "$work/many$n.json" && drive remove "$work/many$n.json" || exit 1
    done &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || fail "one of them failed"
done
nothing_left "$fs"

step "no room"
umount "$fs"
make_fs "$1" "$([ "$1" = xfs ] && echo 300M || echo 128M)" "$work/small"
truncate -s 8M "$fs/disk.img"
write raw "$fs/disk.img" 0x44 0 8M
before=$(sum_of "$fs/disk.img")
dd if=/dev/zero of="$fs/full" bs=1M status=none 2>/dev/null || true
dd if=/dev/zero of="$fs/full2" bs=4k status=none 2>/dev/null || true
sync -f "$fs"
new "$fs/disk.img" raw
if [ "$1" = xfs ]; then # btrfs has room for metadata when it has none for data
    expect_exit 5 "KiB free: a branch needs 1024 KiB" drive preflight "$state"
fi
drive create "$state" 2>"$work/output" || grep -q "No space left" "$work/output"
drive remove "$state"
nothing_left "$fs"
expect "$(sum_of "$fs/disk.img")" "$before"
