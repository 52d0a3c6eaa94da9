#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# overlays.sh: overlays that rest on one another. Checkpoints go in any order, and what others rest on stays for just as
# long; keep brings all of them into the origin, again after it was cut off; a chain has a greatest length.
. "$(dirname "$0")/functions.sh"
requires qemu-img qemu-io strace
make_fs ext4 300M
image=$fs/disk.img
truncate -s 8M "$image"
dd if=/dev/urandom of="$image" bs=64k count=16 conv=notrunc status=none
cat >"$work/vm.cfg" <<C
name = "vm"
type = "hvm"
memory = 64
disk = [ 'format=raw,vdev=xvda,access=rw,target=$image' ]
C
remember "$image"
baseline

# Five states, each with a block of its own; want.N.img is what the disk holds then.
branch() { field vm disks.0.branch; }
cp "$image" "$work/want.0.img"
# write N: the guest writes its N-th block, and empties a part of the first
write() {
    cp "$work/want.$(($1 - 1)).img" "$work/want.$1.img"
    head -c 70000 /dev/urandom >"$work/noise"
    dd if="$work/noise" of="$work/want.$1.img" bs=4096 seek=$(($1 * 100)) conv=notrunc status=none
    dd if=/dev/zero of="$work/want.$1.img" bs=4096 seek="$1" count=1 conv=notrunc status=none
    qemu-io -f qcow2 -c "write -q -s $work/noise $(($1 * 400))k 70000" -c "write -q -z $(($1 * 4))k 4k" "$(branch)" >/dev/null
}
holds() { qemu-img compare -q -F raw "$(branch)" "$work/want.$1.img" || fail "the disk does not hold state $1"; }
overlays() { find "$fs/.vmundo" -name '*.qcow2' | wc -l; }
gone() { find "$fs/.vmundo" -name '*.gone' | wc -l; }
count() { [ "$(overlays) $(gone)" = "$1 $2" ] || fail "$(overlays) overlays, $(gone) of them gone, instead of $1 and $2"; }

step "a chain, and away with the middle of it"
vmundo run -q -H null "$work/vm.cfg"
vmundo stop -q --force vm
for n in 1 2 3 4; do
    write $n
    vmundo checkpoint -q vm s$n
done
write 5
count 5 0
vmundo prune -q vm s2 s3
count 5 2
holds 5
vmundo rollback -q vm s1
holds 1
vmundo rollback -q vm --undo
holds 5
vmundo rollback -q vm s4
holds 4
step "what differs"
# differs OLD NEW MOST [CHECKPOINT...]: the images of these states, blocks at most
differs() { vmundo diff --json vm "${@:4}" | "$here/../rig/scenarios/diff-covers" xvda "$1" "$2" 4096 "$3"; }
differs "$work/want.0.img" "$work/want.4.img" 77
differs "$work/want.1.img" "$work/want.4.img" 58 s1
differs "$work/want.1.img" "$work/want.4.img" 58 s4 s1
differs "$work/want.4.img" "$work/want.4.img" 0 s4
step "the last that rests on what is gone takes it along"
vmundo prune -q vm s4
vmundo rollback -q vm s1 --forget
holds 1
count 2 0
vmundo rollback -q vm --forget
holds 0
vmundo prune -q vm s1
count 1 0
vmundo stop -q --force vm

step "forks rest on what they are forked from, and keep it for as long"
write 1
vmundo checkpoint -q vm s1
write 2
holds_in() { # DOMAIN N
    qemu-img compare -q -F raw "$(field "$1" disks.0.branch)" "$work/want.$2.img" || fail "the disk of $1 does not hold state $2"
}
vmundo fork -q vm@s1 --count 2
vmundo fork -q vm --name other # off: it goes on in an overlay of its own
holds 2
holds_in vm-1 1
holds_in vm-2 1
holds_in other 2
expect_exit 4 "overlay of domain (vm-1|vm-2|other)" vmundo keep vm
qemu-io -f qcow2 -c "write -q -P 5 0 64k" "$(field vm-1 disks.0.branch)" >/dev/null
holds_in vm-2 1
vmundo rollback -q vm-1
holds_in vm-1 1
vmundo prune -q vm s1
vmundo drop -q vm
holds_in vm-1 1
holds_in vm-2 1
holds_in other 2
vmundo stop -q --force other
vmundo keep -q other --to "$work/kept"
qemu-img compare -q -f raw -F raw "$work/kept/xvda.img" "$work/want.2.img" || fail "what was kept"
rm -r "$work/kept"
vmundo drop -q vm-2
holds_in vm-1 1
vmundo drop -q vm-1
unchanged
[ ! -e "$fs/.vmundo" ] || fail "left: $(ls -A "$fs/.vmundo")"
no_traces forks
vmundo run -q -H null "$work/vm.cfg"
vmundo stop -q --force vm

step "keep: all of the chain, also when it was cut off"
for n in 1 2 3; do
    write $n
    vmundo checkpoint -q vm s$n
done
write 4
vmundo rollback -q vm s2
write 3
vmundo checkpoint -q vm side
unchanged
vmundo prune -q vm s1
rc=0
{ strace -qq -e signal=none -e trace=wait4 -e inject=wait4:signal=KILL:when=2 -o /dev/null "$VMUNDO" keep vm || rc=$?; } \
    >"$work/output" 2>&1
[ $rc = 137 ] || fail "keep was not killed"
! cmp -s "$image" "$work/want.3.img" || fail "it was killed too late"
vmundo recover >"$work/output"
cmp "$image" "$work/want.3.img" || fail "keep has not brought state 3 into the origin"
no_traces keep
cp "$work/want.3.img" "$work/want.0.img"
remember "$image"

step "one whose header is damaged may rest on any: what is removed stays until it is gone, too"
vmundo run -q -H null "$work/vm.cfg"
vmundo stop -q --force vm
write 1
vmundo checkpoint -q vm s1
write 2
vmundo checkpoint -q vm s2
vmundo fork -q vm@s1 --name hurt
vmundo fork -q vm@s1 --name hurt-too
base_of() { ls "$fs/.vmundo"/*"@$1".*.1.qcow2; } # on which its branch rests, itself on the checkpoint
hurt=$(base_of hurt)
cp "$hurt" "$work/whole"
dd if=/dev/zero bs=512 count=1 conv=notrunc status=none of="$hurt"
before=$(overlays)
vmundo prune -q vm s1
[ "$(overlays) $(gone)" = "$before 1" ] || fail "an overlay went that $hurt rests on"
cp "$work/whole" "$hurt"
holds_in hurt 1
holds 2
truncate -s 100 "$hurt"
truncate -s 0 "$(base_of hurt-too)"
vmundo rollback -q vm --forget
vmundo drop -q vm
vmundo drop -q hurt-too
[ "$(gone)" -gt 0 ] || fail "what the damaged one may need has gone"
vmundo drop -q hurt
[ ! -e "$fs/.vmundo" ] || fail "left: $(ls -A "$fs/.vmundo")"
unchanged

step "as deep as they may be"
vmundo run -q -H null "$work/vm.cfg"
for ((n = 1; n < 32; n++)); do
    vmundo checkpoint -q vm d$n
done
expect_exit 5 "rests on 31 others" vmundo checkpoint vm d32
expect_exit 5 "rests on 31 others" vmundo checkpoint vm d32 --dry-run
vmundo prune -q vm --keep-last 1
count 32 30
expect_exit 5 "rests on 31 others" vmundo checkpoint vm d32
vmundo rollback -q vm d31
vmundo rollback -q vm --undo
expect_exit 5 "rests on 32 others" vmundo checkpoint vm d32
step "one of them is lost"
lost=$(find "$fs/.vmundo" -name '*.gone' | sort | head -n 1)
mv "${lost%.gone}" "$work/lost"
vmundo stop -q --force vm
name=${lost##*/}
expect_exit 1 "cannot start on the branch .*invalid: .*${name%.gone}: No such file" vmundo start vm
mv "$work/lost" "${lost%.gone}"
vmundo start -q vm
vmundo rollback -q vm --forget
vmundo checkpoint -q vm d32
vmundo drop -q vm
unchanged
no_traces drop
