# SPDX-License-Identifier: LGPL-2.1-or-later
# Real guests on every layout of disks at once, each through run, rollback, keep, a fresh run and drop. What the guest
# writes before the rollback is gone, what it writes after it is kept, in the very place on the origin, and nothing else
# in the origins has changed. One guest has them all: volumes themselves as disks (classic with hyphens and dots in the
# names, striped, thin), two images in one volume, one in another, one on XFS in a thin volume, qcow2 served by QEMU.
# limit: 900
A=xlay-a.1 T=xlay-thin
new_vg "$A" 700 700
new_vg "$T" 1200
lvcreate -q -y -L 16M -n dom.U-1 "$A"
lvcreate -q -y -L 16M -i 2 -n striped "$A"
lvcreate -q -y -L 64M -n files-1.x "$A"
lvcreate -q -y -l 180 -n spans "$A"
lvcreate -q -y -L 900M -T "$T/pool"
lvcreate -q -y -V 16M -T "$T/pool" -n thin-1.d
lvcreate -q -y -V 330M -T "$T/pool" -n xfs
mkfs.ext4 -q "/dev/$A/files-1.x"
mkfs.ext4 -q "/dev/$A/spans"
mkfs.xfs -q -m reflink=0 "/dev/$T/xfs"
for d in "$A/files-1.x" "$A/spans" "$T/xfs"; do
    mkdir -p "$W/${d#*/}/sub.dir"
    mount "/dev/$d" "$W/${d#*/}"
    mkdir -p "$W/${d#*/}/sub.dir"
done
# name of the disk, its origin, and what xl.cfg says before the target
disks=(
    "xvda /dev/$A/dom.U-1 phy:"
    "xvdb /dev/$A/striped phy:"
    "xvdc /dev/$T/thin-1.d phy:"
    "xvdd $W/files-1.x/one.img file:"
    "xvde $W/files-1.x/sub.dir/two-2.img file:"
    "xvdf $W/spans/three.img file:"
    "xvdg $W/xfs/sub.dir/four.img file:"
    "xvdh $W/five.qcow2 tap:qcow2:"
)
specs=()
for d in "${disks[@]}"; do
    read -r vdev origin form <<<"$d"
    case $origin in
    *.img) truncate -s 8M "$origin" ;;
    *.qcow2) qemu-img create -q -f qcow2 "$origin" 8M ;;
    esac
    specs+=("$form$origin,$vdev,w")
done
head -c 1M /dev/urandom >"$W/files-1.x/bystander"
sync
guest_cfg lay "${specs[@]}"
cp "$W/lay.cfg" "$W/lay.cfg.before"

# contents DEVICE|FILE: what its guest would see, in a form that can be compared
contents() {
    case $1 in
    *.qcow2) qemu-img convert -q -f qcow2 -O raw "$1" "$W/raw" && sum "$W/raw" ;;
    *) sum "$1" ;;
    esac
}
origins() { local d; for d in "${disks[@]}"; do read -r _ origin _ <<<"$d"; echo "$origin $(contents "$origin")"; done; }
all_write() { local d; for d in "${disks[@]}"; do guest lay raw "${d%% *}" "$1" 1 "$2-${d%% *}"; done; }
all_have() { # OFFSET TEXT: with the disk's name added, if there is any
    local d want
    for d in "${disks[@]}"; do
        want=${2:+$2-${d%% *}}
        same "$(guest lay rawread "${d%% *}" "$1" | tr -d '\0')" "$want" "${d%% *} at $1 KiB"
    done
}

before=$(origins)
bystander=$(sum "$W/files-1.x/bystander")
say "run"
vmundo plan "$W/lay.cfg"
vmundo run -q --size 32M "$W/lay.cfg"
same "$(count "lvs --noheadings -o lv_name $A" vmundo)" 4 "branches in $A"
same "$(count "lvs --noheadings -o lv_name $T" vmundo)" 2 "branches in $T"
guest_open lay
all_write 64 damage
all_have 64 damage
say "rollback"
vmundo rollback -q lay
guest_open lay
all_have 64 ""
all_write 2048 kept
same "$(origins)" "$before" "the origins while the guest ran"
say "keep"
vmundo stop -q --force lay
vmundo keep -q lay
no_traces "$A" "$T"
for d in "${disks[@]}"; do
    read -r vdev origin _ <<<"$d"
    case $origin in *.qcow2) qemu-img convert -q -f qcow2 -O raw "$origin" "$W/raw" && origin=$W/raw ;; esac
    same "$(dd if="$origin" bs=1k skip=2048 count=1 status=none | head -n 1)" "kept-$vdev" "$origin"
    cmp -s -n $((2048 * 1024)) "$origin" /dev/zero || fail "$origin: not only what was kept has changed"
done
kept=$(origins)
same "$(sum "$W/files-1.x/bystander")" "$bystander" "another file in the volume"
say "run anew"
vmundo run -q --size 32M "$W/lay.cfg"
for d in "${disks[@]}"; do
    vdev=${d%% *}
    at=$(branch_of lay "$vdev")
    case $at in *.qcow2) continue ;; esac
    same "$(dd if="$at" bs=1k skip=2048 count=1 status=none | head -n 1)" "kept-$vdev" "the new branch of $vdev"
    scribble "$at" 16 2
done
say "drop"
vmundo drop -q lay
same "$(origins)" "$kept" "the origins after drop"
no_traces "$A" "$T"
cmp "$W/lay.cfg" "$W/lay.cfg.before"
say "$(vmundo recover)"
