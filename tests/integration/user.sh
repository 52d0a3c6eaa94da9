#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An ordinary user with images of their own: no root anywhere, reflink on XFS and overlays elsewhere.
. "$(dirname "$0")/functions.sh"
requires_user
requires_guest
make_fs xfs
uid=$user
mkdir "$fs/mine" "$work/plain" "$work/guest"
cp "$guest/vmlinuz" "$guest/initrd" "$work/guest/"
guest=$work/guest
make_disk "$fs/mine/a.img" 32M state=known
make_disk "$work/plain/b.img" 32M state=known
make_config "$work/home/vm.cfg" vm "file:$fs/mine/a.img,xvda,w" "file:$work/plain/b.img,xvdb,w"
chown -R $uid:$uid "$fs/mine" "$work/home" "$work/plain"
remember "$fs/mine/a.img" "$work/plain/b.img"
root_sum=$(find "$work" -path "$work/home" -prune -o -type f -printf '%p\n' | sort | sha256sum)

# What vmundo() and guest-say call: as the user from here on.
cat >"$work/vmundo" <<S
#!/bin/sh
exec env -u VMUNDO_STATE_DIR HOME=$work/home setpriv --reuid=$uid --regid=$uid --clear-groups $VMUNDO "\$@"
S
chmod 755 "$work/vmundo"
VMUNDO=$work/vmundo
vmundo run "$work/home/vm.cfg"
[ "$(field vm disks.0.driver) $(field vm disks.1.driver)" = "reflink qcow2" ] || fail "wrong drivers"
[ -d "$work/home/.local/state/vmundo" ] || fail "no state directory in the user's home"
[ "$(stat -c '%a %u' "$work/home/.local/state/vmundo")" = "700 $uid" ] || fail "the state directory is open to others"
[ "$(stat -c %u "$(field vm disks.0.branch)")" = $uid ] || fail "the branch is not the user's"
guest_say vm "echo damaged >state; echo damaged >/mnt/1/state"
vmundo rollback vm
guest_has vm state known
guest_has vm /mnt/1/state known
unchanged
guest_say vm "echo kept >state; echo kept >/mnt/1/state"
vmundo keep --stop vm
[ "$(stat -c '%u:%g' "$fs/mine/a.img" "$work/plain/b.img" | sort -u)" = "$uid:$uid" ] || fail "keep changed the owner"
vmundo run "$work/home/vm.cfg"
guest_has vm state kept
guest_has vm /mnt/1/state kept
vmundo drop vm

step "forks, which share RAM"
make_config "$work/home/one.cfg" one "file:$fs/mine/a.img,xvda,w"
chown $uid:$uid "$work/home/one.cfg"
vmundo run "$work/home/one.cfg"
guest_say one "echo here >/memory"
vmundo fork one --count 2
vmundo drop one
guest_has one-1 /memory here
guest_has one-2 /memory here
vmundo rollback one-2
guest_has one-2 /memory here
for name in one-1 one-2; do vmundo drop $name; done
ends_soon || fail "processes left: $(processes)"
[ -z "$(find "$fs" "$work/plain" -name '.vmundo*')" ] || fail "branches left"
[ "$(find "$work" -path "$work/home" -prune -o -type f ! -path "$work/vmundo" ! -path "$work/output" -printf '%p\n' | sort | sha256sum)" = "$root_sum" ] ||
    fail "files appeared outside the user's home"

step "what is not theirs is refused, and nothing is changed"
make_disk "$fs/root.img" 32M state=root
chmod 600 "$fs/root.img"
remember "$fs/root.img"
make_config "$work/home/root.cfg" stolen "file:$fs/root.img,xvda,w"
chown $uid:$uid "$work/home/root.cfg"
expect_exit 1 "ermission" vmundo run "$work/home/root.cfg"
unset 'remembered[$fs/mine/a.img]' 'remembered[$work/plain/b.img]'
unchanged
expect_exit 0 "no domains" vmundo list
