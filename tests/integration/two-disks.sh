#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Disks with different drivers in one domain: a raw image on XFS (reflink), a qcow2 and a raw image on ext4 (overlays), and
# one read-only, which is passed through. virtio-blk, virtio-scsi and IDE.
. "$(dirname "$0")/functions.sh"
requires qemu-img
requires_guest
make_fs xfs
raw=$fs/raw.img
make_fs ext4
qcow2=$fs/data.qcow2
make_disk "$raw" 32M state=raw
make_disk "$work/plain.img" 32M state=qcow2
qemu-img convert -O qcow2 "$work/plain.img" "$qcow2"
make_disk "$work/shared.img" 32M state=shared
make_disk "$fs/ide.img" 32M state=ide
extra=vmtest_ide
make_config "$work/two.cfg" two "format=raw,vdev=xvda,access=rw,target=$raw" \
    "format=qcow2,vdev=sda,access=rw,target=$qcow2" "format=raw,vdev=xvdc,access=ro,target=$work/shared.img" \
    "format=raw,vdev=hda,access=rw,target=$fs/ide.img"
baseline
remember "$raw" "$qcow2" "$work/shared.img" "$fs/ide.img"

step "plan"
expect_exit 0 "reflink" vmundo plan "$work/two.cfg"
expect_exit 0 "qcow2" vmundo plan "$work/two.cfg"
no_traces plan

sees() { guest_say two "cat /mnt/[vs]d?/state" | sort | tr '\n' ' '; }

step "run and damage"
vmundo run "$work/two.cfg"
[ "$(field two disks.0.driver) $(field two disks.1.driver)" = "reflink qcow2" ] || fail "wrong drivers"
guest_has two /mnt/vda/state raw
[ "$(sees)" = "ide qcow2 raw shared " ] || fail "the guest sees $(sees)"
damage='for d in /mnt/*/state; do [ -L $(dirname $d) ] || echo damaged >>$d; done'
guest_say two "$damage" || true
seen=$(guest_say two "grep -l damaged /mnt/[vs]d?/state" | wc -l)
[ "$seen" = 3 ] || fail "damage on $seen disks instead of 3"
unchanged

step "rollback"
vmundo rollback two
[ "$(sees)" = "ide qcow2 raw shared " ] || fail "after rollback the guest sees $(sees)"
unchanged

step "keep"
guest_say two "$damage" || true
sum=$(guest_say two sum)
vmundo stop two
state_is two off || fail "not off after stop"
vmundo keep two
no_traces keep
remember "$raw" "$qcow2" "$work/shared.img" "$fs/ide.img"
[ "$(qemu-img info --output=json "$qcow2" | python3 -c 'import json, sys; print(json.load(sys.stdin).get("backing-filename"))')" = None ] ||
    fail "the image that was kept depends on another one"
qemu-img check -q "$qcow2"
vmundo run "$work/two.cfg"
[ "$(guest_say two sum)" = "$sum" ] || fail "not what was kept"
vmundo drop two
unchanged
no_traces drop
