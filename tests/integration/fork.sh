#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Forks of a real guest: running on from one instant with the same RAM, each with disks of its own; they outlive their
# parent and its checkpoints, go back to where they were forked, and are kept without touching the origin.
. "$(dirname "$0")/functions.sh"
requires_guest
make_fs xfs 4G
image=$fs/disk.img
make_disk "$image" 32M state=zero
config_tail="vif = [ 'mac=00:16:3e:00:00:01,bridge=nowhere' ]"
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
remember "$image"
baseline

now() { guest_say "$1" "echo $2 >state; echo $2 >/memory"; }
# is NAME DISK [RAM]: what the guest finds there; without RAM: it has booted
is() {
    guest_has "$1" state "$2"
    if [ $# = 3 ]; then guest_has "$1" /memory "$3"; else guest_has "$1" /memory; fi
}
config_of() { cat "$VMUNDO_STATE_DIR"/domains/"$1"/run.*/domain.cfg; }

step "of a checkpoint with RAM: they run on from that instant, and apart"
vmundo run --net user "$work/vm.cfg"
now vm one
vmundo checkpoint vm one --ram
now vm two
expect_exit 0 "would start vm-3 with qemu" vmundo fork vm@one --count 3 --dry-run
expect_exit 0 "vm-1 to vm-3 run" vmundo fork vm@one --count 3
vmundo list
for n in 1 2 3; do is "vm-$n" one one; done
