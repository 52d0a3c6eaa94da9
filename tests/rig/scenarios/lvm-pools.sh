# SPDX-License-Identifier: LGPL-2.1-or-later
# vmundo pool and vmundo volume, on real LVM2 and XFS: what they make, what they refuse, and that a dry run and a refusal
# touch nothing.
# limit: 600
modprobe loop
a=$(new_pv 400)
b=$(new_pv 400)
c=$(new_pv 300)
d=$(new_pv 400)
S=$VMUNDO_STATE_DIR
vmundo list -q
json() { vmundo "${@:2}" --json | awk -F': ' -v key="\"$1\"" '$1 ~ key {gsub(/[",]/, "", $2); print $2}'; }
ours="($a|$b|$c|$d|$W|fast|other|filed|half|tiny)( |/|:|-|\$)"
# host: what a command that refuses must leave as it is, of what is this scenario's (others run beside it). LVM's metadata
# are in the first MiB of its disks.
host() {
    local disk
    { dmsetup ls; losetup -a; cat /proc/mounts; } | grep -E "$ours" || true
    for disk in "$a" "$b" "$c" "$d" "$W"/files/p; do
        [ ! -e "$disk" ] || dd if="$disk" iflag=direct bs=1M count=1 status=none | md5sum
    done
    ls "$W"
}
# refuses_and_leaves CODE PATTERN COMMAND...
refuses_and_leaves() { local before after; before=$(host); refuses "$@"; after=$(host); same "$after" "$before" "the host after ${*:3}"; }
# tries PATTERN COMMAND...: with --dry-run says so, and touches nothing
tries() {
    local pattern=$1 before after text
    shift
    before=$(host)
    text=$("$@" --dry-run)
    echo "    $text"
    grep -qE "$pattern" <<<"$text" || fail "$* --dry-run does not say '$pattern'"
    grep -q "nothing was changed" <<<"$text" || fail "$* --dry-run does not say that nothing was changed"
    after=$(host)
    same "$after" "$before" "the host after a dry run of $*"
}

say "devices in use, and devices with something on them"
mkdir -p "$W/m"
mkfs.ext4 -q "$c"
refuses_and_leaves 5 "is not empty.*ext4.*--wipe" vmundo pool create fast "$c"
mount "$c" "$W/m"
refuses_and_leaves 5 "in use by the file system mounted" vmundo pool create fast "$c" --wipe
umount "$W/m"
mkswap -q "$c" 2>/dev/null || mkswap "$c" >/dev/null
swapon "$c"
refuses_and_leaves 5 "in use by swap" vmundo pool create fast "$c" --wipe
swapoff "$c"
wipefs -q -a "$c"
l=$(losetup -f --show "$c")
refuses_and_leaves 5 "in use by $l" vmundo pool create fast "$c"
losetup -d "$l"
dmsetup create held --table "0 2048 linear $c 0"
refuses_and_leaves 5 "/dev/mapper/held" vmundo pool create fast "$c"
dmsetup remove held
vgcreate -q other "$c" >/dev/null
refuses_and_leaves 5 "physical volume of volume group other" vmundo pool create fast "$c" --wipe
refuses_and_leaves 5 "not a pool|was not made by vmundo" vmundo pool remove other
refuses_and_leaves 5 "physical volume.*leave alone" env LVM_SYSTEM_DIR="$(mkdir -p "$W/lvm"; echo "devices { filter = [ \"r|$c|\" ] }" >"$W/lvm/lvm.conf"; echo "$W/lvm")" vmundo pool create fast "$c" --wipe
vgremove -q other >/dev/null
pvremove -q "$c"
sleep 60 <"$c" &
holder=$!
until_true 5 test -e "/proc/$holder/fd/0"
refuses_and_leaves 5 "sleep \(pid $holder\)" vmundo pool create fast "$c"
kill "$holder"
wait "$holder" 2>/dev/null || true
refuses_and_leaves 5 "partition|/dev/vdb is in use" vmundo pool create fast /dev/vdb --wipe
truncate -s 300M "$W/disk"
printf 'label: gpt\nsize=10M\n' | sfdisk -q "$W/disk"
dd if="$W/disk" of="$c" bs=1M count=1 conv=notrunc status=none
refuses_and_leaves 5 "has 1 partition, " vmundo pool create fast "$c" --wipe
wipefs -q -a -f "$c"
rm "$W/disk"
refuses_and_leaves 3 "there is no /dev/nothing" vmundo pool create fast /dev/nothing
refuses_and_leaves 2 "no block device" vmundo pool create fast /etc/passwd
refuses_and_leaves 2 "given twice" vmundo pool create fast "$a" "$a"
refuses_and_leaves 2 "name of a volume group" vmundo pool create -- '-x y' "$a"
refuses_and_leaves 2 "more stripes" vmundo pool create fast "$a" --thin --stripes 2

say "a group with a thin pool in stripes"
tries "would make the volume group fast of $a, $b" vmundo pool create fast "$a" "$b" --thin --stripes 2
vmundo pool create fast "$a" "$b" --thin --stripes 2
refuses_and_leaves 4 "already" vmundo pool create fast "$d"
same "$(lvs --noheadings -o segtype,stripes fast/thinpool_tdata -a | xargs)" "striped 2" "the thin pool's data"
free=$(vgs --noheadings --units m --nosuffix -o vg_free fast | cut -d. -f1 | tr -d ' ')
{ [ "$free" -gt 8 ] && [ "$free" -lt 200 ]; } || fail "the reserve is $free MiB"
vmundo pool list
vmundo pool list | grep -qE '^fast +lvm-thin .*\[-+\] +0%' || fail "the list: $(vmundo pool list)"
same "$(json name pool list | grep -xc fast)" 1 "name in JSON"

say "volumes"
tries "would make the thin volume fast/t of 1 GiB" vmundo volume create fast/t --size 1G --thin --fs ext4
refuses_and_leaves 3 "no volume group 'nosuch'" vmundo volume create nosuch/t --size 1G
refuses_and_leaves 3 "no volume 'nosuch'" vmundo volume remove fast/nosuch
refuses_and_leaves 5 "does not fit: volume group fast has" vmundo volume create fast/big --size 10G
refuses_and_leaves 4 "3 stripes need" vmundo volume create fast/s --size 12M --stripes 3
vmundo volume create fast/t --size 1G --thin --fs ext4 2>"$W/m.err"
grep -q "the volumes of thin pool.*are 1 GiB together" "$W/m.err" || fail "no warning: $(<"$W/m.err")"
vmundo volume create fast/s --size 12M --stripes 2
vmundo volume create fast/x --size 400M --thin --fs xfs -q
refuses_and_leaves 4 "already" vmundo volume create fast/t --size 1G --thin
same "$(lvs --noheadings -o stripes fast/s | xargs)" 2 "stripes"
same "$(blkid -p -o value -s TYPE /dev/fast/t) $(blkid -p -o value -s TYPE /dev/fast/x)" "ext4 xfs" "file systems"
mount /dev/fast/t "$W/m"
dd if=/dev/urandom of="$W/m/data" bs=1M count=60 status=none
sync
vmundo volume list
same "$(json mount volume list fast | sed 's/null//' | xargs)" "$W/m" "mount in JSON"
vmundo volume list fast | grep -qE '^fast/t +thin +1.0G +\[#' || fail "no bar"
vmundo pool list | grep -qE '^fast .*\[#' || fail "no bar of the pool"

say "other sizes"
before=$(md5sum <"$W/m/data")
tries "would make the volume fast/t and the file system in it 1.5 GiB instead of 1 GiB" vmundo volume resize fast/t 1.5G
vmundo volume resize fast/t 1.5G
[ "$(df --output=size -BM "$W/m" | tail -n 1 | tr -dc 0-9)" -gt 1300 ] || fail "not grown: $(df -h "$W/m")"
refuses_and_leaves 5 "mounted at.*smaller only when it is not" vmundo volume resize fast/t 1G
refuses_and_leaves 5 "is mounted at" vmundo volume remove fast/t
umount "$W/m"
refuses_and_leaves 5 "file system needs" vmundo volume resize fast/t 32M
sleep 60 </dev/fast/t &
holder=$!
until_true 5 test -e "/proc/$holder/fd/0"
refuses_and_leaves 5 "in use by sleep" vmundo volume resize fast/t 1G
refuses_and_leaves 5 "in use by sleep" vmundo volume remove fast/t
kill "$holder"
wait "$holder" 2>/dev/null || true
vmundo volume resize fast/t 1G
e2fsck -fn /dev/fast/t >/dev/null
same "$(blockdev --getsize64 /dev/fast/t)" $((1 << 30)) "size"
mount /dev/fast/t "$W/m"
same "$(md5sum <"$W/m/data")" "$before" "data after growing and shrinking"
umount "$W/m"
refuses_and_leaves 5 "XFS has no way" vmundo volume resize fast/x 350M
vmundo volume resize fast/x 500M
mount /dev/fast/x "$W/m"
[ "$(df --output=size -BM "$W/m" | tail -n 1 | tr -dc 0-9)" -gt 420 ] || fail "XFS not grown: $(df -h "$W/m")"
vmundo volume resize fast/x 600M
[ "$(df --output=size -BM "$W/m" | tail -n 1 | tr -dc 0-9)" -gt 520 ] || fail "XFS not grown: $(df -h "$W/m")"
umount "$W/m"
refuses_and_leaves 5 "cannot be told" vmundo volume resize fast/s 8M
vmundo volume resize fast/s 20M
refuses_and_leaves 5 "do not fit" vmundo volume resize fast/s 1T
refuses_and_leaves 5 "is the thin pool" vmundo volume remove fast/thinpool

say "branches and snapshots"
plain_cfg web "format=raw,vdev=xvda,access=rw,target=/dev/fast/t"
vmundo run -q -H null "$W/web.cfg"
vmundo volume list
same "$(json domain volume list fast | sed 's/null//' | xargs)" web "the branch's domain"
refuses_and_leaves 5 "domain web" vmundo volume remove fast/t
refuses_and_leaves 5 "domain web" vmundo volume resize fast/t 800M
refuses_and_leaves 5 "domain web" vmundo volume resize fast/t 2G
branch=$(branch_of web xvda)
refuses_and_leaves 5 "is a branch of the domain web" vmundo volume remove "${branch#/dev/}"
refuses_and_leaves 5 "there are .* volumes in fast" vmundo pool remove fast
vmundo drop -q web
vmundo run -q -H null -m qcow2 "$W/web.cfg"
refuses_and_leaves 5 "disk of the domain web" vmundo volume remove fast/t
refuses_and_leaves 5 "disk of the domain web" vmundo volume resize fast/t 2G
vmundo drop -q web
lvcreate -qq -y -s -L 8M -n snap fast/s
refuses_and_leaves 5 "there is a snapshot of it \(snap\)" vmundo volume remove fast/s
refuses_and_leaves 5 "there is a snapshot of it \(snap\)" vmundo volume resize fast/s 24M
lvremove -qq -y fast/snap
lvcreate -qq -y -s -n tsnap fast/t
refuses_and_leaves 5 "snapshot of it \(tsnap\)" vmundo volume resize fast/t 800M
refuses_and_leaves 5 "snapshot of it \(tsnap\)" vmundo volume remove fast/t
vmundo volume resize fast/t 1200M
lvremove -qq -y fast/tsnap

say "one that was cut off before its file system was made"
lvchange -qq --addtag vmundo.unfinished fast/s
grep -q "half made" <<<"$(vmundo volume list fast)" || fail "not shown as half made"
vmundo volume create fast/s --size 16M --fs ext4
same "$(lvs --noheadings -o lv_tags fast/s | xargs)" vmundo.volume "tags"
mkdir "$W/bin"
printf '#!/bin/sh\nexit 1\n' >"$W/bin/mkfs.ext4"
chmod +x "$W/bin/mkfs.ext4"
refuses_and_leaves 1 "mkfs.ext4" env PATH="$W/bin:$PATH" vmundo volume create fast/no --size 16M --fs ext4

say "more disks"
size=$(lvs --noheadings --units b --nosuffix -o lv_size fast/thinpool | xargs)
tries "would add $c to the volume group fast" vmundo pool grow fast "$c"
mkfs.ext4 -q "$d"
refuses_and_leaves 5 "not empty" vmundo pool grow fast "$c" "$d"
vmundo pool grow fast "$c" "$d" --wipe
same "$(vgs --noheadings -o pv_count fast | xargs)" 4 "disks"
[ "$(lvs --noheadings --units b --nosuffix -o lv_size fast/thinpool | xargs)" -gt "$((size + 400 * 1048576))" ] || fail "the thin pool has not grown"
refuses_and_leaves 2 "pool in a file" vmundo pool grow fast --size 5G

say "remove"
for v in t x s; do vmundo volume remove "fast/$v"; done
tries "would remove the volume group fast" vmundo pool remove fast
vmundo pool remove fast
same "$(pvs --noheadings 2>/dev/null | grep -cE "$ours" || true)" 0 "physical volumes left"
refuses_and_leaves 3 "no volume group 'fast'" vmundo pool remove fast

say "a group in a file"
mkdir "$W/files"
tries "would make the file $W/files/p of 2 GiB" vmundo pool create filed --file "$W/files/p" --size 2G --thin
vmundo pool create filed --file "$W/files/p" --size 2G --thin
[ "$(du -m "$W/files/p" | cut -f1)" -lt 100 ] || fail "the file is not sparse"
same "$(losetup -n -O DIO "$(losetup -j "$W/files/p" | cut -d: -f1)" | xargs)" 1 "direct I/O"
refuses_and_leaves 4 "already" vmundo pool create filed --file "$W/files/q" --size 2G
refuses_and_leaves 4 "there is a file" vmundo pool create filed2 --file "$W/files/p" --size 2G
vmundo volume create filed/v --size 1G --thin --fs ext4
vmundo pool grow filed --size 3G
[ "$(vgs --noheadings --units m --nosuffix -o vg_size filed | cut -d. -f1)" -gt 3000 ] || fail "not grown"
refuses_and_leaves 5 "cannot be made smaller" vmundo pool grow filed --size 1G
refuses_and_leaves 5 "there is 1 volume in filed \(v\)" vmundo pool remove filed
say "as after a reboot"
vgchange -qq -an filed
losetup -d "$(losetup -j "$W/files/p" | cut -d: -f1)"
grep -qE "^filed .*not attached" <<<"$(vmundo pool list)" || fail "$(vmundo pool list)"
refuses_and_leaves 4 "not attached" vmundo pool remove filed
vmundo pool mount filed
[ -b /dev/filed/v ] || fail "not active"
vmundo pool mount filed
say "and when the state directory is lost"
vgchange -qq -an filed
losetup -d "$(losetup -j "$W/files/p" | cut -d: -f1)"
rm "$S/pools.json"
vmundo pool mount "$W/files/p"
[ -b /dev/filed/v ] || fail "not active"
vmundo volume remove filed/v
vmundo pool remove filed
[ ! -e "$W/files/p" ] || fail "the file is there"
same "$(losetup -a | grep -cF "$W" || true)" 0 "loop devices left"
say "one that was cut off"
printf '[{"name":"half","kind":"lvm","path":"%s","mount":null,"making":true}]' "$W/files/h" >"$S/pools.json"
truncate -s 100M "$W/files/h"
losetup -f "$W/files/h"
grep -q "half made" <<<"$(vmundo pool list)" || fail "$(vmundo pool list)"
vmundo pool create half --file "$W/files/h2" --size 200M
[ ! -e "$W/files/h" ] || fail "the half made one is there"
vmundo pool remove half
refuses_and_leaves 5 "too small for a thin pool" vmundo pool create tiny --file "$W/files/t" --size 20M --thin
same "$(vmundo pool list --json | grep -cE '"(half|tiny|filed)"' || true)" 0 "pools left"

say "XFS in a file"
tries "would make the file $W/fast.pool of 1 GiB" vmundo pool create "$W/fast.pool" --size 1G
vmundo pool create "$W/fast.pool" --size 1G | tee "$W/out"
grep -qF "$W/fast.pool $W/fast.pool.d xfs loop,nosuid,nodev,noexec,nofail 0 0" "$W/out" || fail "no line for fstab"
for o in nosuid nodev noexec; do findmnt -n -o OPTIONS "$W/fast.pool.d" | grep -q $o || fail "without $o"; done
same "$(xfs_info "$W/fast.pool.d" | grep -o 'reflink=1')" "reflink=1" "reflink"
refuses_and_leaves 4 "there is a file" vmundo pool create "$W/fast.pool" --size 1G
head -c 4M /dev/urandom >"$W/fast.pool.d/vm.img"
plain_cfg img "format=raw,vdev=xvda,access=rw,target=$W/fast.pool.d/vm.img"
grep -q reflink <<<"$(vmundo plan -H null "$W/img.cfg")" || fail "not for reflink"
vmundo pool list
grep -qE "^$W/fast.pool +xfs .*\[#.* $W/fast.pool.d" <<<"$(vmundo pool list)" || fail "$(vmundo pool list)"
refuses_and_leaves 5 "not empty: 'vm.img'" vmundo pool remove "$W/fast.pool"
vmundo pool grow "$W/fast.pool" --size 1500M
[ "$(df --output=size -BM "$W/fast.pool.d" | tail -n 1 | tr -dc 0-9)" -gt 1300 ] || fail "not grown"
refuses_and_leaves 5 "cannot be made smaller" vmundo pool grow "$W/fast.pool" --size 1G
umount "$W/fast.pool.d"
until_true 5 test -z "$(losetup -j "$W/fast.pool")"
grep -q "not mounted" <<<"$(vmundo pool list)" || fail "$(vmundo pool list)"
refuses_and_leaves 4 "not mounted" vmundo pool remove "$W/fast.pool"
vmundo pool mount
findmnt -n "$W/fast.pool.d" >/dev/null || fail "not mounted again"
umount "$W/fast.pool.d"
rm "$S/pools.json"
mkdir "$W/full"
touch "$W/full/file"
refuses 4 "is not empty" vmundo pool mount "$W/fast.pool" --mount "$W/full"
vmundo pool mount "$W/fast.pool" --mount "$W/elsewhere"
umount "$W/elsewhere"
echo "$W/fast.pool $W/elsewhere xfs loop,nosuid,nodev,noexec,nofail 0 0" >>/etc/fstab
mount "$W/elsewhere" # the line works
sleep 60 <"$W/elsewhere/vm.img" &
holder=$!
until_true 5 test -e "/proc/$holder/fd/0"
rm "$W/elsewhere/vm.img"
refuses 5 "is in use" vmundo pool remove "$W/fast.pool"
kill "$holder"
wait "$holder" 2>/dev/null || true
vmundo pool remove "$W/fast.pool"
[ ! -e "$W/fast.pool" ] || fail "the file is there"
refuses 4 "is not empty" vmundo pool create "$W/bad.pool" --size 1G --mount "$W/full"
[ ! -e "$W/bad.pool" ] || fail "the file is there though it was not mounted"
same "$(losetup -a | grep -cF "$W" || true)" 0 "loop devices left"

say "XFS on a device"
mkfs.ext4 -q "$a"
refuses_and_leaves 2 "--mount" vmundo pool create "$a"
refuses_and_leaves 5 "not empty" vmundo pool create "$a" --mount "$W/onvdb"
vmundo pool create "$a" --mount "$W/onvdb" --wipe
same "$(findmnt -n -o SOURCE "$W/onvdb")" "$a" "mounted"
vmundo pool remove "$a"
same "$(blkid -p "$a" || true)" "$(blkid -p "$b" || true)" "signatures left"

say "one change at a time"
exec 8>"$S/locks/.pools"
flock 8
refuses_and_leaves 4 "pools are being worked on" vmundo pool create fast "$a"
exec 8>&-
say done
