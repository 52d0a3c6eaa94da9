#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# in-use.sh FILESYSTEM: who uses a file or a device, when it is the kernel; and what a device's fingerprint notices.
. "$(dirname "$0")/common.sh"
requires losetup mkfs.ext4 mkswap
make_fs "$1"
image=$fs/disk.img
truncate -s 64M "$image"
mkfs.ext4 -q "$image"
mkdir "$work/mnt"

# user TARGET PATTERN: that is who uses it; writer: who may write to it
user() { drive in-use "$1" >"$work/output"; grep -qE "^$2$" "$work/output" || fail "$1 is used by $(cat "$work/output")"; }
writer() { drive in-use "$1" writers >"$work/output"; grep -qE "^$2$" "$work/output" || fail "$1 is written by $(cat "$work/output")"; }

step "loop devices on a file"
user "$image" nobody
loop=$(losetup -f --show "$image")
user "$image" "$loop"
writer "$image" "$loop"
user "$loop" nobody # the device by which the user means the image, itself unused
writer "$loop" nobody
mount "$loop" "$work/mnt"
user "$image" "$loop"
user "$loop" "$loop"
writer "$loop" "$loop"
umount "$work/mnt"
detach "$loop"
wait_until 5 sh -c "! losetup '$loop' 2>/dev/null"
loop=$(losetup -f --show -r "$image")
user "$image" "$loop"
writer "$image" nobody
detach "$loop"
wait_until 5 sh -c "! losetup '$loop' 2>/dev/null"

step "a mounted image"
mount -o loop "$image" "$work/mnt"
writer "$image" "/dev/loop[0-9]*"
umount "$work/mnt"
mount -o loop,ro "$image" "$work/mnt"
user "$image" "/dev/loop[0-9]*"
umount "$work/mnt"
wait_until 5 sh -c "'$drive' in-use '$image' | grep -qx nobody"

step "a device"
loop=$(losetup -f --show -o 4096 "$image")
own_loop "$loop"
mkfs.ext4 -q "$loop"
user "$loop" nobody
mount "$loop" "$work/mnt"
user "$loop" "the file system mounted at $work/mnt"
writer "$loop" "the file system mounted at $work/mnt"
umount "$work/mnt"
mount -o ro "$loop" "$work/mnt"
user "$loop" "the file system mounted at $work/mnt"
writer "$loop" nobody
umount "$work/mnt"
sleep 100 9<"$loop" &
user "$loop" "sleep .pid $!."
writer "$loop" nobody
kill $!
wait $! || true
sleep 100 9<>"$loop" &
writer "$loop" "sleep .pid $!."
kill $!
wait $! || true
user "$loop" nobody
second=$(losetup -f --show -o 4096 "$loop")
user "$loop" "$second"
detach "$second"
wait_until 5 sh -c "! losetup '$second' 2>/dev/null"
if mkswap -q "$loop" 2>/dev/null && swapon "$loop" 2>/dev/null; then
    user "$loop" "swap area $loop"
    writer "$loop" "swap area $loop"
    swapoff "$loop"
fi
if unshare -m true 2>/dev/null; then
    mkfs.ext4 -q "$loop"
    unshare -m sh -c "mount '$loop' '$work/mnt' && touch '$work/mounted' && sleep 100" &
    wait_until 10 test -e "$work/mounted"
    user "$loop" "somebody who cannot be seen.*"
    kill "$(pgrep -P $! sleep || echo $!)" 2>/dev/null || true
    kill $! 2>/dev/null || true
    wait $! 2>/dev/null || true
    wait_until 10 sh -c "'$drive' in-use '$loop' | grep -qx nobody"
fi

step "the fingerprint of a device"
print() { drive fingerprint "$1"; }
then=$(print "$loop")
expect "$(print "$loop")" "$then"
dd if="$loop" of=/dev/null bs=1M status=none
expect "$(print "$loop")" "$then" "reading changed it"
dd if=/dev/urandom of="$loop" bs=4k count=1 seek=5000 status=none
now=$(print "$loop")
[ "${now#*written=}" != "${then#*written=}" ] || fail "a write was not noticed: $now"
# attached anew: the counter begins again, the samples are the same
detach "$loop"
loop=$(losetup -f --show -o 4096 "$image")
own_loop "$loop"
again=$(print "$loop")
[ "${again%%samples*}" != "${now%%samples*}" ] || fail "attaching it anew was not noticed"
expect "${again##*samples=}" "${now##*samples=}"
dd if=/dev/urandom of="$loop" bs=4k count=1 seek=3 status=none
now=$(print "$loop")
[ "${again##*samples=}" != "${now##*samples=}" ] || fail "the samples miss a change at the start"
