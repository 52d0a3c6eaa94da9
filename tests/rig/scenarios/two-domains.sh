# SPDX-License-Identifier: LGPL-2.1-or-later
# Two real domains with images in one volume, each on a branch of its own at the same time. Rollback and keep of one leave
# the other's image, branch and guest as they were, to the byte; then the other way round.
# limit: 400
new_vg two 800
lvcreate -q -y -L 96M -n files two
mkfs.ext4 -q /dev/two/files
mkdir -p "$W/files"
mount /dev/two/files "$W/files"
for d in one two; do
    head -c 8M /dev/urandom >"$W/files/$d.img"
    idle_cfg "$d" "file:$W/files/$d.img,xvda,w"
done
head -c 1M /dev/urandom >"$W/files/bystander"
guest_cfg two "file:$W/files/two.img,xvda,w" # this one is real, and writes
sync
sums() { for f in one.img two.img bystander; do sum "$W/files/$f"; done; }

before=$(sums)
say "run both"
vmundo run -q --size 48M "$W/one.cfg"
vmundo run -q --size 48M "$W/two.cfg"
same "$(count "lvs --noheadings -o lv_name two" vmundo)" 2 "branches"
guest_open two
guest two raw xvda 1024 1 written-by-two
scribble "$(branch_of one xvda)" 5 9
other=$(sum "$(branch_of one xvda)")
say "roll back two"
vmundo rollback -q two
guest_open two
same "$(sum "$(branch_of two xvda)")" "$(sum "$W/files/two.img")" "two's branch after rollback"
guest two raw xvda 2048 1 kept-by-two
same "$(sum "$(branch_of one xvda)")" "$other" "one's branch after two's rollback"
same "$(sums)" "$before" "the origins"
say "keep two, while one runs"
domid=$(xl domid one)
vmundo stop -q --force two
want=$(sum "$(branch_of two xvda)")
vmundo keep -q two
same "$(sums)" "$(sed "2s/.*/$want/" <<<"$before")" "the origins after two's keep"
same "$(sum "$(branch_of one xvda)")" "$other" "one's branch after two's keep"
same "$(xl domid one)" "$domid" "the domain one"
same "$(dd if="$W/files/two.img" bs=1k skip=2048 count=1 status=none | head -n 1)" kept-by-two "what two wrote"
say "keep one, while two runs again"
vmundo run -q --size 48M "$W/two.cfg"
scribble "$(branch_of two xvda)" 50 20
two=$(sum "$(branch_of two xvda)")
vmundo stop -q --force one
vmundo keep -q one
same "$(sums)" "$(sed "1s/.*/$other/; 2s/.*/$want/" <<<"$before")" "the origins after one's keep"
same "$(sum "$(branch_of two xvda)")" "$two" "two's branch after one's keep"
vmundo drop -q two
no_traces two
same "$(sums)" "$(sed "1s/.*/$other/; 2s/.*/$want/" <<<"$before")" "the origins at the end"
vmundo recover | grep -q 'nothing to recover' || fail "something was left to recover"
say done
