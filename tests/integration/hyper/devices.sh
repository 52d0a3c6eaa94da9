#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a real Linux sees: disks of every bus with their names and serial numbers, a CD-ROM, a card with its address, and
# root=/dev/xvd… and console=hvc0 of a configuration that was made for Xen.
. "$(dirname "$0")/common.sh"
requires_guest
for name in a b c d; do make_disk "$work/$name.img" 8M "who=$name"; done
extra="root=/dev/xvdb1 vmtest_ide vmtest=cat:/proc/cmdline,grep:-H:.:/sys/block/*/serial,grep:-H:.:/sys/block/*/device/model,\
grep:-H:.:/sys/block/*/ro,cat:/mnt/vda/who,cat:/mnt/vdb/who,ls:/sys/bus/pci/devices,cat:/sys/bus/pci/devices/*/device"
guest_cmdline=${guest_cmdline/ttyS0/hvc0} domain \
    "disk = [ '$work/b.img,raw,xvdb,ro', '$work/a.img,raw,xvda,rw', '$work/c.img,raw,sdc,rw', '$work/d.img,raw,hda,rw', '$work/b.img,raw,hdc,cdrom' ]" \
    "vcpus = 2"

step "check tells what is translated"
"$tool" qemu check . "$work/vm.cfg" >"$work/notes"
grep -qx "root: root=/dev/xvdb1 becomes root=/dev/vdb1" "$work/notes" || fail "$(cat "$work/notes")"
grep -qx "console: console=hvc0 becomes console=ttyS0" "$work/notes" || fail "$(cat "$work/notes")"

step "the guest"
boot
wait_said "GUEST: ready"
sees() { said "$1" || { cat "$(console_log)"; fail "the guest does not see $1"; }; }
sees "root=/dev/vdb1"
sees "/sys/block/vda/serial:xvda"
sees "/sys/block/vdb/serial:xvdb"
sees "/sys/block/sd./device/model:QEMU HARDDISK"
sees "/sys/block/vda/ro:0"
sees "/sys/block/vdb/ro:1"
sees "^a"
sees "^b"
hyper destroy
nothing_left
