# SPDX-License-Identifier: LGPL-2.1-or-later
# The recipe that vmundo grew from, by vmundo: images in a file system on a classic LVM volume, an untouched configuration,
# a real Xen guest. Run, roll back, keep, a fresh run, drop; then nothing is left in the control domain.
# limit: 600
new_vg vgheart 2048
lvcreate -q -y -L 256M -n domU vgheart
mkfs.ext4 -q /dev/vgheart/domU
mkdir -p "$W/domains"
mount /dev/vgheart/domU "$W/domains"
truncate -s 32M "$W/domains/vm.img"
mkfs.ext4 -q "$W/domains/vm.img"
sync
guest_cfg heart "file:$W/domains/vm.img,xvda,w"
cp "$W/heart.cfg" "$W/heart.cfg.before"
before=$(sum "$W/domains/vm.img")
loops() { losetup --noheadings --list -O BACK-FILE | grep -cF "$W/" || true; } # others have theirs
loops_before=$(loops)

say plan; vmundo plan "$W/heart.cfg"
say run; vmundo run --size 64M "$W/heart.cfg"
say console; guest_open heart
guest heart mount xvda
guest heart append marker damage
same "$(guest heart read marker)" damage "what the guest wrote"

say rollback; vmundo rollback heart
say console; guest_open heart
guest heart mount xvda
guest heart append marker kept
same "$(guest heart read marker)" kept "what the guest wrote after the rollback, and nothing of before"
same "$(sum "$W/domains/vm.img")" "$before" "the origin while the guest ran on branches"

say keep; vmundo stop --force heart
vmundo keep heart
[ "$(sum "$W/domains/vm.img")" != "$before" ] || fail "keep kept nothing"

say "run anew"; vmundo run --size 64M "$W/heart.cfg"
say console; guest_open heart
guest heart mount xvda
same "$(guest heart read marker)" kept "what was kept"
say drop; vmundo drop heart
cmp "$W/heart.cfg" "$W/heart.cfg.before"
no_traces vgheart
same "$(loops)" "$loops_before" "loop devices"
refuses 3 "no domain 'heart'" vmundo status heart

say "a group with no room for two snapshots at once: in the recipe's order, and it says so"
idle_cfg heart "file:$W/domains/vm.img,xvda,w"
kept=$(sum "$W/domains/vm.img")
free=$(vgs --noheadings --units m --nosuffix -o vg_free vgheart | cut -d. -f1 | tr -d ' ')
lvcreate -q -y -L $((free - 64))M -n hog vgheart
vmundo run -q --size 48M "$W/heart.cfg"
scribble "$(branch_of heart xvda)" 70 3
domid=$(xl domid heart)
refuses 0 "no room for two branches at once.*the old goes before the new is made" vmundo rollback heart
[ "$(xl domid heart)" -gt "$domid" ] || fail "the old domain runs"
same "$(sum "$(branch_of heart xvda)")" "$kept" "the new branch"
vmundo drop -q heart
no_traces vgheart
say "$(vmundo recover)"
