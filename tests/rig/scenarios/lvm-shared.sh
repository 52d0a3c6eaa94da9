# SPDX-License-Identifier: LGPL-2.1-or-later
# Two domains with images in one volume, one of them with a logical volume as a disk besides: each has its own branch,
# rollback and keep of one leave the other alone, and keep finds out whether it may merge the whole volume.
# limit: 600
new_vg shared 1500
lvcreate -qq -y -L 160M -n files shared
lvcreate -qq -y -L 32M -n data shared
mkfs.ext4 -q /dev/shared/files
mkdir -p "$W/files"
mount /dev/shared/files "$W/files"
for f in a1 a2 b; do head -c 8M /dev/urandom >"$W/files/$f.img"; done
sync
plain_cfg a "format=raw,vdev=xvda,access=rw,target=$W/files/a1.img" "format=raw,vdev=xvdb,access=rw,target=$W/files/a2.img" \
    "format=raw,vdev=xvdc,access=rw,target=/dev/shared/data"
plain_cfg b "format=raw,vdev=xvda,access=rw,target=$W/files/b.img"
sums() { for f in a1.img a2.img b.img; do sum "$W/files/$f"; done; sum /dev/shared/data; }

say "run both"
origin=$(sums)
vmundo run -q -H null "$W/a.cfg"
vmundo run -q -H null "$W/b.cfg"
same "$(count "lvs --noheadings -o lv_name shared" vmundo)" 3 "branches"
same "$(count mount "$VMUNDO_STATE_DIR/mnt")" 2 "mounted branches"
scribble "$(branch_of a xvda)" 100 200
scribble "$(branch_of a xvdb)" 5 3
scribble "$(branch_of a xvdc)" 1000 500
scribble "$(branch_of b xvda)" 300 100
same "$(sums)" "$origin" "the origins"
differs a xvda "$W/files/a1.img" "$(branch_of a xvda)" 300
differs a xvdb "$W/files/a2.img" "$(branch_of a xvdb)" 40
differs a xvdc /dev/shared/data "$(branch_of a xvdc)" 600
differs b xvda "$W/files/b.img" "$(branch_of b xvda)" 200

say "roll back one"
other=$(sum "$(branch_of b xvda)")
vmundo rollback -q a
same "$(sum "$(branch_of a xvda)")" "$(sum "$W/files/a1.img")" "a1 after rollback"
same "$(sum "$(branch_of a xvdc)")" "$(sum /dev/shared/data)" "data after rollback"
same "$(sum "$(branch_of b xvda)")" "$other" "b's branch after a's rollback"
same "$(sums)" "$origin" "the origins"

say "keep one"
scribble "$(branch_of a xvda)" 700 300
scribble "$(branch_of a xvdc)" 64 200
want="$(sum "$(branch_of a xvda)")
$(sum "$(branch_of a xvdb)")
$(sum "$W/files/b.img")
$(sum "$(branch_of a xvdc)")"
vmundo stop -q --force a
vmundo keep -q a
same "$(sums)" "$want" "the origins after keep"
same "$(sum "$(branch_of b xvda)")" "$other" "b's branch after a's keep"
vmundo status b | grep -q "unchanged\|ok" || fail "b is not well after a's keep"

say "an image that somebody writes to is not kept over"
vmundo stop -q --force b
scribble "$W/files/b.img" 0 1
refuses 5 "b.img: it was written to" vmundo keep b
vmundo drop -q b
no_traces shared

say "the volume not mounted at all, and for itself: merged whole"
before=$(sums)
umount "$W/files"
refuses 1 "b.img: No such file" vmundo run -q -H null "$W/b.cfg"
echo "/dev/shared/files $W/files ext4 noauto 0 0" >>/etc/fstab
vmundo run -q -H null "$W/b.cfg"
scribble "$(branch_of b xvda)" 30 900
vmundo rollback -q b
scribble "$(branch_of b xvda)" 70 800
want=$(sum "$(branch_of b xvda)")
vmundo stop -q --force b
vmundo keep -q b
no_traces shared
mount "$W/files"
same "$(sums)" "$(sed "3s/.*/$want/" <<<"$before")" "after a merge"

say "the volume unmounted, but another file was changed: copied"
vmundo run -q -H null "$W/b.cfg"
scribble "$(branch_of b xvda)" 10 90
want=$(sum "$(branch_of b xvda)")
vmundo stop -q --force b
echo new >"$W/files/new"
umount "$W/files"
vmundo keep -q b
mount /dev/shared/files "$W/files"
same "$(sum "$W/files/b.img")" "$want" "after copying"
same "$(<"$W/files/new")" new "the other file"
no_traces shared
vmundo recover
say done
