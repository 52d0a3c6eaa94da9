#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# qcow2.sh: overlays over everything that there can be below.
. "$(dirname "$0")/common.sh"
requires qemu-img qemu-io
make_fs ext4

# life IMAGE FORMAT: a branch, a change, keep
life() {
    make "$1" "$2" qcow2
    qemu-img info --output=json "$branch" | grep -q "\"backing-filename-format\": \"${2/vhd/vpc}\"" || fail "no backing format"
    write qcow2 "$branch" 0x5a 64k 64k
    holds "${2/vhd/vpc}" "$1" 0 64k 64k
    keep
    holds "${2/vhd/vpc}" "$1" 0x5a 64k 64k
    holds "${2/vhd/vpc}" "$1" 0 128k 64k
    drive remove "$state"
}

step "every format"
for format in raw qcow2 qed; do
    qemu-img create -q -f $format "$fs/disk.$format" 64M
    life "$fs/disk.$format" $format
done
qemu-img create -q -f vpc -o subformat=dynamic "$fs/dynamic.vhd" 64M
life "$fs/dynamic.vhd" vhd
qemu-img create -q -f vpc -o subformat=fixed "$fs/fixed.vhd" 16M
life "$fs/fixed.vhd" vhd

step "names that QEMU could misunderstand"
mkdir "$fs/a,b=c:d"
for name in "nbd:x" "json:{}" "x,y=z" "with space" "ü" "-f"; do
    truncate -s 1M "$fs/a,b=c:d/$name"
    life "$fs/a,b=c:d/$name" raw
done

step "a size that is no number of sectors"
truncate -s 1000001 "$fs/odd.img"
write raw "$fs/odd.img" 0x11 0 976k
make "$fs/odd.img" raw
write qcow2 "$branch" 0x22 0 4k
keep
holds raw "$fs/odd.img" 0x22 0 4k
holds raw "$fs/odd.img" 0x11 4k 972k

step "an image based on another: only the image itself changes"
qemu-img create -q -f raw "$fs/base.img" 16M
write raw "$fs/base.img" 0x11 0 16M
qemu-img create -q -f qcow2 -F raw -b base.img "$fs/middle.qcow2"
qemu-img create -q -f qcow2 -F qcow2 -b middle.qcow2 "$fs/top.qcow2"
before=$(sum_of "$fs/base.img")$(sum_of "$fs/middle.qcow2")
make "$fs/top.qcow2" qcow2
write qcow2 "$branch" 0x22 1M 64k
holds qcow2 "$branch" 0x11 0 64k
keep
expect "$(sum_of "$fs/base.img")$(sum_of "$fs/middle.qcow2")" "$before"
holds qcow2 "$fs/top.qcow2" 0x22 1M 64k
holds qcow2 "$fs/top.qcow2" 0x11 0 64k
expect "$(qemu-img info --output=json "$fs/top.qcow2" | python3 -c 'import json, sys; print(json.load(sys.stdin)["backing-filename"])')" middle.qcow2

step "an image may not make us read what its owner could not"
install -m 600 /dev/null "$fs/secret.img"
truncate -s 16M "$fs/secret.img"
qemu-img create -q -f qcow2 -F raw -b "$fs/secret.img" "$fs/theirs.qcow2"
new "$fs/theirs.qcow2" qcow2
drive preflight "$state" # root's own
chown 1000 "$fs/theirs.qcow2"
expect_exit 5 "not a file that its owner .user 1000. may read" drive preflight "$state"
expect_exit 5 "not a file that its owner .user 1000. may read" drive create "$state"
chmod 644 "$fs/secret.img"
drive preflight "$state"
chmod 600 "$fs/secret.img"
chown 1000 "$fs/secret.img"
drive preflight "$state"
for bad in "nbd://127.0.0.1:1/x" 'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}' "$fs" /dev/null "$fs/missing"; do
    qemu-img create -q -u -f qcow2 -F raw -b "$bad" "$fs/bad.qcow2" 16M
    new "$fs/bad.qcow2" qcow2
    expect_exit '[15]' "$fs/bad.qcow2" drive preflight "$state"
done
# the format of a backing file is never guessed
qemu-img create -q -u -f qcow2 -b "$fs/base.img" -F raw "$fs/bad.qcow2" 16M
qemu-img amend -q -f qcow2 -o compat=0.10 "$fs/bad.qcow2" 2>/dev/null || true
python3 - "$fs/bad.qcow2" <<'P'
import struct, sys
with open(sys.argv[1], "r+b") as f:
    head = f.read(4096)
    at = head.index(struct.pack(">I", 0xE2792ACA))  # the header extension that states it
    f.seek(at)
    f.write(struct.pack(">I", 0x12345678))
P
new "$fs/bad.qcow2" qcow2
expect_exit 5 "does not state the format of its backing file" drive preflight "$state"

step "a block device: the overlay lies in the state directory"
truncate -s 64M "$fs/device.img"
device=$(losetup -f --show -o 1M "$fs/device.img")
own_loop "$device"
life "$device" raw
make "$device" raw
[[ $branch == $VMUNDO_STATE_DIR/.vmundo/* ]] || fail "the overlay of a device is at $branch"
drive changed "$state" | grep -qx unchanged
write raw "$device" 0x66 0 64k
drive changed "$state" | grep -q "KiB were written to it"
drive remove "$state"
nothing_left "$VMUNDO_STATE_DIR"
holds raw "$device" 0x66 0 64k

step "progress"
make "$fs/disk.raw" raw
write qcow2 "$branch" 0x33 0 32M
drive keep "$state" 2>"$work/progress"
tail -n 1 "$work/progress" | grep -qx "10000/10000"
drive remove "$state"

step "no room for keep"
make_fs ext4 64M "$work/small"
truncate -s 128M "$fs/sparse.img"
make "$fs/sparse.img" raw
write qcow2 "$branch" 0x33 0 20M
dd if=/dev/zero of="$fs/full" bs=1M count=20 status=none 2>/dev/null || true
sync -f "$fs"
expect_exit 5 "may need [0-9]* MiB more, and .* has [0-9]* MiB free" drive keep_check "$state"
rm "$fs/full"
dd if=/dev/zero of="$fs/full" bs=1M status=none 2>/dev/null || true
expect_exit 1 "cannot keep the changes" drive keep "$state"
rm "$fs/full" # it can be done again from the start
drive keep "$state" 2>/dev/null
holds raw "$fs/sparse.img" 0x33 0 20M
drive remove "$state"

step "a commit that outlived vmundo is waited for"
fs=$work/ext4
truncate -s 600M "$fs/large.img"
make "$fs/large.img" raw
write qcow2 "$branch" 0x44 0 400M
"$drive" keep "$state" 2>/dev/null &
vmundo_pid=$!
wait_until 20 sh -c "grep -q qemu-img /proc/[0-9]*/comm && [ \$(stat -c %b '$fs/large.img') -gt 8 ]"
kill -9 $vmundo_pid
wait $vmundo_pid 2>/dev/null || true
drive keep "$state" 2>/dev/null
holds raw "$fs/large.img" 0x44 0 400M
drive remove "$state"
ends_soon || fail "a process is left"

step "without qemu-img"
mkdir "$work/empty"
expect_exit 5 "there is no qemu-img in PATH" env PATH="$work/empty" "$drive" new "$work/x.json" "$fs/large.img" raw - x 1 "$work"
