# SPDX-License-Identifier: LGPL-2.1-or-later
# An image file as a disk, served by the kernel through our loop device (phy) and by QEMU (qdisk): how long a domain takes
# to be made with each, and to be destroyed, and how fast a guest that has both writes to them. Only the ratios mean
# something here. ROUNDS in the environment.
# limit: 900
ROUNDS=${ROUNDS:-3}
new_vg disks 400
lvcreate -q -y -L 128M -n files disks
mkfs.ext4 -q /dev/disks/files
mkdir -p "$W/files"
mount /dev/disks/files "$W/files"
for n in a b; do dd if=/dev/zero of="$W/files/$n.img" bs=1M count=24 status=none; done
sync
idle_cfg phy "file:$W/files/a.img,xvda,w"
idle_cfg qdisk "format=raw,vdev=xvda,access=w,backendtype=qdisk,target=$W/files/a.img"
now() { date +%s%3N; }
for ((round = 1; round <= ROUNDS; round++)); do
    for way in phy qdisk; do
        rm -rf "$W/$way"
        mkdir -p -m 700 "$W/$way/run.1"
        t=$(now)
        xen-tool start "$W/$way/run.1" "$W/$way.cfg"
        t2=$(now)
        xen-tool destroy "$W/$way/run.1"
        echo "$way: start $((t2 - t)) ms, destroy $(($(now) - t2)) ms"
    done
done
guest_cfg both "file:$W/files/a.img,xvda,w" "format=raw,vdev=xvdb,access=w,backendtype=qdisk,target=$W/files/b.img"
mkdir -p -m 700 "$W/both/run.1"
xen-tool start "$W/both/run.1" "$W/both.cfg"
xen-tool resume "$W/both/run.1"
guest_open both
for ((round = 1; round <= ROUNDS; round++)); do
    for disk in xvda xvdb; do
        t=$(now)
        guest both raw "$disk" 0 16 "$round-$disk"
        echo "$disk ($([ "$disk" = xvda ] && echo phy || echo qdisk)): 16 MiB in $(($(now) - t)) ms"
    done
done
guest_close both
xen-tool destroy "$W/both/run.1"
