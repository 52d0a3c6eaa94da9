# SPDX-License-Identifier: LGPL-2.1-or-later
# vmundo pool and vmundo volume on real LVM2: what they make, what they refuse, and that a dry run and a refusal touch
# nothing. Pools in files: lvm-pool-files.
# limit: 1200
modprobe -a loop xfs
a=$(new_pv 400)
b=$(new_pv 400)
c=$(new_pv 300)
d=$(new_pv 400)
S=$VMUNDO_STATE_DIR
vmundo list -q
json() { vmundo "${@:2}" --json | awk -F': ' -v key="\"$1\"" '$1 ~ key {gsub(/[",]/, "", $2); print $2}'; }
ours="($a|$b|$c|$d|$W|fast|other)( |/|:|-|\$)"
# host: what a command that refuses must leave as it is, of what is this scenario's (others run beside it). LVM's metadata
# are in the first MiB of its disks.
host() {
    local disk
    { dmsetup ls; losetup -a | grep -vF '(deleted)'; cat /proc/mounts; } | grep -E "$ours" || true
    for disk in "$a" "$b" "$c" "$d"; do
        dd if="$disk" iflag=direct bs=1M count=1 status=none | md5sum
    done
    ls "$W"
}
say "devices in use, and devices with something on them"
mkdir -p "$W/m"
mkfs.ext4 -q "$c"
refuses_and_leaves 5 "is not empty.*ext4.*--wipe" vmundo pool create fast "$c"
mount -o ro "$c" "$W/m" # so that nothing of it is written when it pleases the kernel
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
grep -qE '^fast +lvm-thin .*\[-+\] +0%' <<<"$(vmundo pool list)" || fail "the list: $(vmundo pool list)"
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
grep -qE '^fast/t +thin +1.0G +\[#' <<<"$(vmundo volume list fast)" || fail "no bar"
grep -qE '^fast .*\[#' <<<"$(vmundo pool list)" || fail "no bar of the pool"

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
before=$(lvs --noheadings -a -o lv_name,lv_size,lv_tags fast) # the metadata have been written, and the old ones again
refuses 1 "mkfs.ext4" env PATH="$W/bin:$PATH" vmundo volume create fast/no --size 16M --fs ext4
same "$(lvs --noheadings -a -o lv_name,lv_size,lv_tags fast)" "$before" "volumes after mkfs failed"

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

say "XFS on a device"
mkfs.ext4 -q "$a"
refuses_and_leaves 2 "--mount" vmundo pool create "$a"
refuses_and_leaves 5 "not empty" vmundo pool create "$a" --mount "$W/onvdb"
vmundo pool create "$a" --mount "$W/onvdb" --wipe
same "$(findmnt -n -o SOURCE "$W/onvdb")" "$a" "mounted"
vmundo pool remove "$a"
same "$(blkid -p -o value -s TYPE "$a" || true)" "" "signatures left"

say "one change at a time"
exec 8>"$S/locks/.pools"
flock 8
refuses_and_leaves 4 "pools are being worked on" vmundo pool create fast "$a"
exec 8>&-
say done
