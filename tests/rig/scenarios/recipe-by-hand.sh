# SPDX-License-Identifier: LGPL-2.1-or-later
# The recipe that vmundo grew from, typed by hand: proves that the rig itself is whole, and gives the times to beat.
# limit: 400
new_vg vgrecipe 2048
lvcreate -q -y -L 256M -n domU vgrecipe
mkfs.ext4 -q /dev/vgrecipe/domU
mkdir -p "$W/domains" "$W/domains.S"
mount /dev/vgrecipe/domU "$W/domains"
truncate -s 32M "$W/domains/vm.img"
mkfs.ext4 -q "$W/domains/vm.img"
sync
guest_cfg byhand "format=raw,vdev=xvda,access=w,backendtype=qdisk,target=$W/domains.S/vm.img"

for round in 1 2; do
    say "round $round: lvcreate"; lvcreate -q -L 64M -s -n domU.S vgrecipe/domU
    say mount; mount /dev/vgrecipe/domU.S "$W/domains.S"
    say create; xl create -q "$W/byhand.cfg"
    say console; guest_open byhand
    guest byhand mount xvda
    guest byhand append marker "$round"
    same "$(guest byhand read marker)" "$round" "what the guest wrote and nothing more"
    say destroy; xl destroy byhand
    say umount; umount "$W/domains.S"
    say lvremove; lvremove -q -y vgrecipe/domU.S
done
say done
