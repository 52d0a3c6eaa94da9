#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# time-travel.sh FILESYSTEM|device: checkpoints of a real guest, with RAM and without, and going back to them, and that undone.
# What the guest has in its RAM and on its disk must always belong together.
. "$(dirname "$0")/functions.sh"
fstype=$1
requires_guest
case $fstype in
device) make_fs ext4 ;;
*) make_fs "$fstype" ;;
esac
image=$fs/disk.img
make_disk "$image" 32M state=zero
disk="file:$image,xvda,w"
if [ "$fstype" = device ]; then # a block device, whose overlays are in the state directory
    image=$(losetup -f --show "$image")
    own_loop "$image"
    disk="phy:$image,xvda,w"
fi
make_config "$work/vm.cfg" vm "$disk"
remember "$image"
baseline

now() { guest_now vm "$@"; }
is() { guest_is vm "$@"; }
nodes() { vmundo tree vm --json | python3 -c '
import json, sys
for n in json.load(sys.stdin):
    print(n["label"] or "-", n["parent"], "ram" if n["ram"] else "disks", n["state"], n["consistency"])'; }

step "checkpoints"
vmundo run "$work/vm.cfg"
expect_exit 4 "no rollback to undo" vmundo rollback --undo vm
expect_exit 3 "no checkpoint 'one'" vmundo rollback vm one
now one
vmundo checkpoint vm one --ram
now two
vmundo checkpoint vm two
expect_exit 4 "'two' already" vmundo checkpoint vm two
expect_exit 2 "label" vmundo checkpoint vm ../x
now three
expect_exit 0 "with its RAM" vmundo checkpoint vm three --ram --dry-run
is three three
nodes | tee "$work/nodes"
[ "$(wc -l <"$work/nodes")" = 2 ] || fail "the tree"

step "back to RAM and disks of one instant, running on"
vmundo rollback vm one
is one one
now four
step "and that undone: the disk as it was left"
vmundo rollback vm --undo
is three
step "undo undone"
vmundo rollback vm --undo
is four
step "disks only: it boots"
vmundo rollback vm two
is two
vmundo rollback vm one --boot
is one
step "again from one checkpoint, and a second generation from what it led to"
vmundo rollback vm one
is one one
now five
vmundo checkpoint vm five --ram
now six
vmundo rollback vm five
is five five
vmundo rollback vm one
is one one
vmundo rollback vm five
is five five

step "by time, off, and from off"
made=$(vmundo tree vm --json | python3 -c '
import json, sys
print(next(n["created"] for n in json.load(sys.stdin) if n["label"] == "five"))')
expect_exit 0 "rolled back to $(date -d "@$made" '+%F %T')" \
    vmundo rollback vm --boot --to "$(date -d "@$((made + 1))" '+%F %T')"
is five
expect_exit 3 "as of .*: its checkpoints are from .* to " vmundo rollback vm --to -2d
expect_exit 2 "not a time" vmundo rollback vm --to yesterday
expect_exit 2 "exclude" vmundo rollback vm five --undo
vmundo stop --force vm
vmundo checkpoint vm off
expect_exit 4 "is off" vmundo checkpoint vm --ram
vmundo rollback vm one
is one one
expect_exit 0 "rolled back, off" vmundo rollback vm off
[ "$(field vm state)" = off ] || fail "a checkpoint of a domain that was off runs"
vmundo start vm
is five

# On ext4 the RAM is in the saved state, and the disks are overlays that rest on one another.
overlays=$([ "$fstype" = xfs ] || [ "$fstype" = btrfs ] || echo yes)
if [ -z "$overlays" ]; then
    step "the RAM of another checkpoint"
    ram_of() { find "$fs/.vmundo" -name "*.ram" -newer "$work/vm.cfg" | sort; }
    vmundo stop --force vm
    mapfile -t rams < <(ram_of)
    [ ${#rams[@]} = 2 ] || fail "RAM files: ${rams[*]}"
    mv "${rams[0]}" "$work/aside.$$" && mv "${rams[1]}" "${rams[0]}" && mv "$work/aside.$$" "${rams[1]}"
    expect_exit 4 "does not belong.*--boot" vmundo rollback vm one
    [ "$(field vm state)" = off ] || fail "a refused rollback changed something"
    mv "${rams[0]}" "$work/aside.$$" && mv "${rams[1]}" "${rams[0]}" && mv "$work/aside.$$" "${rams[1]}"
fi

if [ "$overlays" ]; then # elsewhere: fork.sh
    step "a fork of what it was, with its RAM"
    vmundo fork vm@one
    guest_is vm-1 one one
    guest_now vm-1 forked
    is five
    vmundo rollback vm-1
    guest_is vm-1 one one
    vmundo drop vm-1
fi

step "what has changed since"
vmundo diff vm five
vmundo diff vm --json | python3 -c '
import json, sys
disks = json.load(sys.stdin)
disks = disks["disks"] if isinstance(disks, dict) else disks
assert len(disks) == 1 and disks[0]["changed"] > 0, disks'

step "the origin"
vmundo rollback vm
is zero
unchanged

step "removing them, in any order"
vmundo pin vm two
expect_exit 5 "pinned" vmundo prune vm two
expect_exit 5 "pinned" vmundo drop vm
expect_exit 3 "no checkpoint" vmundo prune vm nosuch
vmundo prune vm one
vmundo rollback vm five
is five five
vmundo prune vm --keep-last 1
nodes | tee "$work/nodes"
grep -q '^two' "$work/nodes" || fail "a pinned checkpoint is gone"
! grep -q '^five' "$work/nodes" || fail "five is still there"
vmundo unpin vm two
vmundo rollback vm two --forget
expect_exit 4 "no rollback to undo" vmundo rollback --undo vm
is two
vmundo drop vm
unchanged
no_traces drop
expect_exit 0 "nothing to recover" vmundo recover
