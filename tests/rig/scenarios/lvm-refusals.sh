# SPDX-License-Identifier: LGPL-2.1-or-later
# What LVM cannot do or we do not: each refused with the reason and the way out, before anything is touched; and what an
# lvm command that died in the middle leaves, mended.
# limit: 600
S=$VMUNDO_STATE_DIR
mkdir -p -m 700 "$S"
new_vg refuse 600 100
lvcreate -qq -y -L 64M -n disk refuse
lvcreate -qq -y -L 100M -n files refuse
mkfs.ext4 -q /dev/refuse/files
mkdir -p "$W/files" "$W/bound" "$W/up" "$W/overlay"
mount /dev/refuse/files "$W/files"
mkdir "$W/files/sub"
head -c 4M /dev/urandom >"$W/files/sub/vm.img"
sync
# new STATE TARGET DOMAIN GENERATION
new() { drive new "$W/$1" "$2" raw lvm "$3" "$4" "$S"; }

say "a path through a bind mount is the file that it is; one in an overlay is not LVM's"
mount --bind "$W/files/sub" "$W/bound"
new bind "$W/bound/vm.img" web 1
grep -q '"inside":\["sub/vm.img"\]' "$W/bind" || fail "bind: $(<"$W/bind")"
umount "$W/bound"
touch "$W/one.img"
mount --bind "$W/files/sub/vm.img" "$W/one.img"
new one "$W/one.img" web 1
grep -q '"inside":\["sub/vm.img"\]' "$W/one" || fail "bind of a file: $(<"$W/one")"
umount "$W/one.img"
mount -t tmpfs t "$W/up"
mkdir "$W/up/up" "$W/up/work"
mount -t overlay -o "lowerdir=$W/files,upperdir=$W/up/up,workdir=$W/up/work" o "$W/overlay"
refuses 5 "in an overlay" new over "$W/overlay/sub/vm.img" web 1
umount "$W/overlay" "$W/up"

say "a snapshot of a snapshot"
new disk /dev/refuse/disk web 1
drive create "$W/disk"
refuses 5 "no snapshot of a snapshot.*thin" new snap "$(drive locate "$W/disk" | head -n 1)" web 2
refuses 5 "inner part" new inner /dev/mapper/refuse-disk-real web 2

say "no room"
plain_cfg web "format=raw,vdev=xvda,access=rw,target=/dev/refuse/disk"
lvcreate -qq -y -l 100%FREE -n ballast refuse
refuses 5 "does not fit: volume group refuse has 0 MiB free" vmundo run -q -H null "$W/web.cfg"
lvreduce -qq -y -L -24M refuse/ballast
refuses 5 "for 40 MiB.*has 24 MiB free" vmundo run -q -H null --size 40M "$W/web.cfg"
drive remove "$W/disk"
lvremove -qq -y refuse/ballast

say "a full snapshot is lost, and says so"
new small /dev/refuse/disk web 3
sed -i 's/"limit":[0-9]*/"limit":8388608/' "$W/small"
drive create "$W/small"
scribble "$(drive locate "$W/small" | head -n 1)" 0 3000 2>/dev/null || true
drive inspect "$W/small" | grep -q 'health=invalid: .*lost' || fail "$(drive inspect "$W/small")"
refuses 1 "cannot be kept: it is invalid" drive keep_check "$W/small"
drive remove "$W/small"

say "a volume of the same name that is not ours"
new taken /dev/refuse/disk web 4
name=$(drive locate "$W/taken" | head -n 1)
lvcreate -qq -y -L 8M -n "${name##*/}" refuse
refuses 4 "it is not ours" drive create "$W/taken"
drive remove "$W/taken"
lvs "refuse/${name##*/}" >/dev/null || fail "somebody else's volume was removed"
say "one of ours, half made"
lvchange -qq --addtag vmundo --addtag vmundo.store=0badcafe --addtag vmundo.domain=web --addtag vmundo.generation=4 "refuse/${name##*/}"
drive create "$W/taken"
same "$(lvs --noheadings -o origin "refuse/${name##*/}" | tr -d ' ')" disk "origin of the branch made anew"
say "and one whose devices are gone, or stand still"
dmsetup remove "refuse-${name##*/}"
drive attach "$W/taken"
[ -b "$(drive locate "$W/taken" | head -n 1)" ] || fail "not active again"
dmsetup suspend refuse-disk
dmsetup suspend "refuse-${name##*/}"
timeout 60 drive attach "$W/taken"
same "$(dmsetup info -c --noheadings -o suspended "refuse-${name##*/}" refuse-disk | sort -u)" Active "after attach"

say "a merge that is under way"
new during /dev/refuse/disk web 5
# Held open, so that the merge cannot begin.
exec 8</dev/refuse/disk
lvconvert -qq -y --merge "refuse/${name##*/}" || true
refuses 4 "being merged into" drive preflight "$W/during"
exec 8<&-
drive keep "$W/taken" 2>/dev/null
no_traces refuse

say "another command has the group"
new locked /dev/refuse/disk web 6
mkdir -p /run/lock/lvm
flock /run/lock/lvm/V_refuse sleep 100 &
holder=$!
sleep 0.5
refuses 4 "sleep|flock.*is working on volume group refuse" drive preflight "$W/locked"
pkill -P "$holder" || true
kill "$holder" 2>/dev/null || true
wait "$holder" 2>/dev/null || true
drive preflight "$W/locked"

say "no lvm, and one that is too old"
mkdir "$W/bin"
ln -s "$(command -v drive)" "$W/bin/drive"
refuses 5 "no lvm in PATH" env PATH="$W/bin" drive new "$W/none" /dev/refuse/disk raw lvm web 7 "$S"
printf '#!/bin/sh\necho "  Unrecognised option: --reportformat" >&2\nexit 3\n' >"$W/bin/lvm"
chmod +x "$W/bin/lvm"
refuses 1 "lvm 2.02.158 or newer is needed" env PATH="$W/bin:$PATH" drive preflight "$W/locked"

say "a physical volume that is missing"
umount "$W/files"
pv=$(pvs --noheadings -o pv_name,pv_used --units b --nosuffix -S vg_name=refuse | awk '$2 == 0 {print $1}')
partx -d -n "${pv##*[a-z]}" /dev/vdb
refuses 5 "1 physical volume of volume group refuse is missing" drive preflight "$W/locked"
partx -a -n "${pv##*[a-z]}" /dev/vdb
udevadm settle

say "an exported group, and one of another host"
vgchange -qq -an refuse
vgexport -qq refuse
refuses 5 "exported" drive preflight "$W/locked"
vgimport -qq refuse
vgchange -qq -y --config 'local/system_id=""' --systemid other refuse 2>/dev/null || say "(no system id can be given here)"
if ! lvs refuse >/dev/null 2>&1; then
    refuses 1 "system ID" drive preflight "$W/locked"
fi
say done
