# SPDX-License-Identifier: LGPL-2.1-or-later
# Checkpoints on thin volumes: of a volume that is a disk, and of images in a volume; back to them, undone, removed in any
# order. On a classic snapshot there are none, and it says why.
# limit: 500
new_vg cpthin 700
new_vg cpold 200
lvcreate -qq -y -L 600M -T cpthin/pool
lvcreate -qq -y -V 32M -T cpthin/pool -n disk
lvcreate -qq -y -V 128M -T cpthin/pool -n files
lvcreate -qq -y -L 32M -n disk cpold
mkfs.ext4 -q /dev/cpthin/files
mkdir -p "$W/files"
mount /dev/cpthin/files "$W/files"
head -c 8M /dev/urandom >"$W/files/vm.img"
sync
head -c 8M /dev/urandom | dd of=/dev/cpthin/disk bs=1M iflag=fullblock conv=fsync status=none
disk_was=$(sum /dev/cpthin/disk) image_was=$(sum "$W/files/vm.img")
plain_cfg one "format=raw,vdev=xvda,access=rw,target=/dev/cpthin/disk" "format=raw,vdev=xvdb,access=rw,target=$W/files/vm.img"
plain_cfg old "format=raw,vdev=xvda,access=rw,target=/dev/cpold/disk"

# both: what the two disks of the domain hold
both() { echo "$(sum "$(branch_of one xvda)") $(sum "$(branch_of one xvdb)")"; }
change() { scribble "$(branch_of one xvda)" "$1" 10; scribble "$(branch_of one xvdb)" "$1" 10; }

say "checkpoints of a running domain"
vmundo run -H null "$W/one.cfg"
change 5; one=$(both)
vmundo checkpoint one first
same "$(both)" "$one" "what it runs on"
change 50; two=$(both)
vmundo checkpoint one second
for vdev in xvda xvdb; do cp "$(branch_of one $vdev)" "$W/second.$vdev"; done
change 500; three=$(both)
vmundo tree one
say "what differs: blocks of 64 KiB, 10 blocks of 4 KiB written in two of them each time"
for disk in "xvda /dev/cpthin/disk" "xvdb $W/files/vm.img"; do
    read -r vdev origin <<<"$disk"
    differs one "$vdev" "$origin" "$(branch_of one "$vdev")" 160
    differs one "$vdev" "$W/second.$vdev" "$(branch_of one "$vdev")" 80 second
done
say "back, and that undone"
vmundo rollback one first
same "$(both)" "$one" "first"
vmundo rollback one --undo
same "$(both)" "$three" "what was left behind"
vmundo rollback one second
same "$(both)" "$two" "second"
vmundo rollback one
same "$(both)" "$disk_was $image_was" "the origins"
say "what is left behind is not mounted"
same "$(count mount "$VMUNDO_STATE_DIR")" 1 "mounts: the branch in use"
say "removed in any order"
vmundo prune one first
vmundo rollback one second
same "$(both)" "$two" "second, whose parent is gone"
say "a fork: volumes of its own, of the same content; kept in images of its own"
vmundo fork one@second
fork_sums() { echo "$(sum "$(branch_of one-1 xvda)") $(sum "$(branch_of one-1 xvdb)")"; }
same "$(fork_sums)" "$two" "the fork"
scribble "$(branch_of one-1 xvda)" 5 10
vmundo rollback one-1
same "$(fork_sums)" "$two" "the fork, rolled back"
vmundo stop --force one-1
refuses 5 "fork of one@second" vmundo keep one-1
vmundo keep one-1 --to "$W/kept"
same "$(sum "$W/kept/xvda.img") $(sum "$W/kept/xvdb.img")" "$two" "images"
vmundo prune one second
same "$(both)" "$two" "the branch of a checkpoint that is gone"
say "recorded, and back to a moment of it"
vmundo record one --once
at=$(date '+%F %T')
sleep 1
change 900
vmundo record one --once
same "$(vmundo tree one --all | grep -c '(recorded ')" 2 "recorded checkpoints"
[ "$(both)" != "$two" ] || fail "nothing was changed"
vmundo rollback one --to "$at"
same "$(both)" "$two" "the disks at $at"
vmundo prune one --recorded
say "keep"
vmundo stop --force one
vmundo keep one
same "$(sum /dev/cpthin/disk) $(sum "$W/files/vm.img")" "$two" "the origins after keep"
no_traces cpthin

say "classic snapshots have none"
vmundo run -H null "$W/old.cfg"
refuses 5 "thin volumes" vmundo checkpoint old
refuses 5 "thin volumes" vmundo fork old
vmundo rollback old
refuses 4 "no rollback to undo" vmundo rollback old --undo
vmundo drop old
no_traces cpold
say "$(vmundo recover)"
