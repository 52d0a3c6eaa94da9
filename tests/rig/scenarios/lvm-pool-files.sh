# SPDX-License-Identifier: LGPL-2.1-or-later
# vmundo pool in files: a volume group in one, and XFS; that they are found again after a reboot and without the state
# directory; what is cut off half way.
# limit: 900
modprobe -a loop xfs
# The kernel detaches them some time after the last who had them open.
no_loops() { ! losetup -a | grep -qF "$W"; }
S=$VMUNDO_STATE_DIR
vmundo list -q
# host: what a command that refuses must leave as it is, of what is this scenario's (others run beside it)
host() {
    { dmsetup ls; losetup -a | grep -vF '(deleted)'; cat /proc/mounts; } | grep -E "($W|filed|half|tiny)( |/|:|-|\$)" || true
    [ ! -e "$W/files/p" ] || dd if="$W/files/p" iflag=direct bs=1M count=1 status=none | md5sum
    ls "$W"
}

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
until_true 30 no_loops
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
say "images come into it"
mkdir "$W/images"
head -c 3M /dev/urandom >"$W/images/old.img"
truncate -s 20M "$W/images/old.img" # a hole
chmod 640 "$W/images/old.img"
chown 12:34 "$W/images/old.img"
python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.note", b"kept")' "$W/images/old.img"
was=$(sum "$W/images/old.img")
pool=$W/fast.pool dir=$W/fast.pool.d
refuses_and_leaves 3 "no pool that is known" vmundo pool import "$W/none.pool" "$W/images/old.img"
refuses_and_leaves 1 "nowhere.img" vmundo pool import "$pool" "$W/nowhere.img"
refuses_and_leaves 2 "cannot be the name" vmundo pool import "$pool" "$W/images/old.img" --name ../x
refuses_and_leaves 4 "vm.img already" vmundo pool import "$pool" "$W/images/old.img" --name vm.img
sleep 60 <"$W/images/old.img" &
holder=$!
until_true 5 test -e "/proc/$holder/fd/0"
refuses_and_leaves 5 "in use by sleep" vmundo pool import "$pool" "$W/images/old.img"
kill "$holder"
wait "$holder" 2>/dev/null || true
qemu-img create -q -f qcow2 -b old.img -F raw "$W/images/over.qcow2"
refuses_and_leaves 5 "relative name" vmundo pool import "$pool" "$W/images/over.qcow2"
plain_cfg busy "format=raw,vdev=xvda,access=rw,target=$W/images/old.img"
vmundo run -q -H null -m qcow2 "$W/busy.cfg"
refuses_and_leaves 5 "disk of the domain busy" vmundo pool import "$pool" "$W/images/old.img" --move
vmundo drop -q busy
tries "would copy .*old.img \(20 MiB\) to" vmundo pool import "$pool" "$W/images/old.img"
(cd "$W/images" && vmundo pool import "$pool" old.img --name copy.img)
same "$(sum "$dir/copy.img") $(stat -c '%a %u %g %s' "$dir/copy.img")" "$was 640 12 34 20971520" "the copy"
[ "$(stat -c %b "$dir/copy.img")" -lt 10000 ] || fail "the hole was filled"
same "$(python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], "user.note").decode())' "$dir/copy.img")" kept "attribute"
ln "$W/images/old.img" "$W/images/other-name"
refuses_and_leaves 5 "2 names" vmundo pool import "$pool" "$W/images/old.img" --move
rm "$W/images/other-name"
vmundo pool import "$pool" "$W/images/old.img" --move
same "$(readlink "$W/images/old.img")" "$dir/old.img" "the link"
same "$(sum "$W/images/old.img")" "$was" "what it leads to"
vmundo run -q -H null "$W/busy.cfg" # as it is
grep -q reflink <<<"$(vmundo status busy)" || fail "not on reflink: $(vmundo status busy)"
vmundo drop -q busy
same "$(ls -A "$W/images" | xargs)" "old.img over.qcow2" "what is left there"
rm "$dir/copy.img" "$dir/old.img"
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
until_true 30 no_loops

say done
