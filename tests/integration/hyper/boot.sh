#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Booting from disks by the firmware: from every bus, in the order that boot= says, with the console's log kept in bounds.
. "$(dirname "$0")/common.sh"
requires qemu-system-x86_64 qemu-img

# boots_from X LINE...: with these disks, the one whose sector says X
boots_from() {
    local letter=$1
    shift
    {
        printf '%s\n' 'name = "vm"' 'type = "hvm"' 'memory = 32' "$@"
    } >"$work/vm.cfg"
    boot
    wait_said "^BOOT $letter"
    hyper destroy
    nothing_left
}
for letter in A B C; do sector "$work/$letter" $letter; done
qemu-img create -q -f qcow2 -F raw -b "$work/A" "$work/A.qcow2"

step "every bus"
boots_from A "disk = [ '$work/A,raw,xvda,rw' ]"
boots_from A "disk = [ '$work/A,raw,hda,rw' ]"
boots_from A "disk = [ '$work/A,raw,hdd,rw' ]"
boots_from A "disk = [ '$work/A,raw,sda,rw' ]"
boots_from A "disk = [ '$work/A,raw,sda,ro' ]"
boots_from A "disk = [ '$work/A.qcow2,qcow2,vda,rw' ]"

step "the first disk; after an empty CD-ROM drive too"
boots_from A "disk = [ '$work/B,raw,xvdb,rw', '$work/A,raw,xvda,rw', '$work/C,raw,xvdc,rw' ]"
boots_from A "disk = [ '$work/A,raw,xvda,rw', ',,hdc,cdrom' ]" 'boot = "dc"'

step "names with everything in them that means something to QEMU"
odd="$work/a, b=c \"d\" 'e' %s \$HOME ü.img"
cp "$work/C" "$odd"
boots_from C "disk = [ 'vdev=xvda,access=rw,format=raw,target=${odd//\'/\\\'}' ]"

step "a block device"
requires_root
loop=$(losetup --find --show "$work/B") || skip "no loop devices here"
own_loop "$loop"
boots_from B "disk = [ 'phy:$loop,xvda,w' ]"
detach "$loop"

step "a console log without end is cut, and goes on"
sector_domain t
new_instance
{ head -c 17M /dev/zero | tr '\0' x; echo; } >"$(console_log)"
hyper start run "$work/vm.cfg"
hyper resume
small() { [ "$(stat -c %s "$(console_log)")" -lt 9000000 ]; }
wait_until 20 small
wait_said TICK 5
hyper destroy
