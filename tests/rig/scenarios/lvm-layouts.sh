# SPDX-License-Identifier: LGPL-2.1-or-later
# Both LVM drivers, callback by callback, on every kind of volume: a branch is made, written to, kept or removed; each
# callback also a second time. Names with hyphens and dots, stripes, two disks, ext4 and XFS, the origin mounted or not.
# limit: 900
S=$VMUNDO_STATE_DIR
mkdir -p -m 700 "$S"

# The disk of the branch in state file $1: what a hypervisor would open.
disk_of() { drive locate "$1" | head -n 1; }

# round VG TARGET METHOD: one life on this disk, ending with remove; one with keep.
round() {
    local vg=$1 target=$2 method=$3 st=$W/st.$1 before disk after
    before=$(sum "$target")
    drive new "$st" "$target" raw - web-1.x 1 "$S" | grep -q "^$method /dev/$vg/" || fail "$target: not $method"
    drive preflight "$st"
    drive create "$st"
    drive create "$st"
    drive attach "$st"
    drive attach "$st"
    same "$(drive inspect "$st" | grep -c 'exists=1.*health=ok')" 1 inspect
    same "$(drive changed "$st")" unchanged changed
    disk=$(disk_of "$st")
    same "$(sum "$disk")" "$before" "the branch at first"
    scribble "$disk" 10 300
    same "$(sum "$target")" "$before" "the origin while the branch is written to"
    drive detach "$st"
    drive detach "$st"
    drive attach "$st"
    drive remove "$st"
    drive remove "$st"
    same "$(sum "$target")" "$before" "the origin after remove"
    no_traces "$vg"

    drive new "$st" "$target" raw "$method" web-1.x 2 "$S" >/dev/null
    drive create "$st"
    drive attach "$st"
    disk=$(disk_of "$st")
    scribble "$disk" 1 7
    scribble "$disk" 700 400
    after=$(sum "$disk")
    drive detach "$st"
    drive keep_check "$st"
    drive keep "$st" 2>/dev/null
    same "$(sum "$target")" "$after" "the origin after keep"
    drive keep "$st" 2>/dev/null
    drive remove "$st"
    same "$(sum "$target")" "$after" "the origin after keep and remove"
    no_traces "$vg"
}

new_vg lay-1.a 500 500
new_vg lay-thin 700
lvcreate -qq -y -L 48M -n dom.U-1 lay-1.a
lvcreate -qq -y -L 96M -i 2 -n striped lay-1.a
lvcreate -qq -y -l 130 -n spans lay-1.a
lvcreate -qq -y -L 400M -T lay-thin/pool
lvcreate -qq -y -V 48M -T lay-thin/pool -n t-1.d
lvcreate -qq -y -V 330M -T lay-thin/pool -n files

say "a disk"; round lay-1.a /dev/lay-1.a/dom.U-1 lvm
say "striped"; round lay-1.a /dev/lay-1.a/striped lvm
say "over two physical volumes, as large as most of the group"
drive new "$W/st.big" /dev/lay-1.a/spans raw lvm web 1 "$S" >/dev/null
grep -q '"warning"' "$W/st.big" || fail "nobody warns that the branch is small"
say "thin"; round lay-thin /dev/lay-thin/t-1.d lvm-thin
same "$(lvs --noheadings -o lv_tags lay-thin/t-1.d | tr -d ' ')" "" "tags of the thin origin after keep"

for fs in ext4 xfs; do
    mkdir -p "$W/$fs"
    new_vg "lay-$fs" 1200
    lvcreate -qq -y -L 330M -n files "lay-$fs"
    for dev in "/dev/lay-$fs/files" /dev/lay-thin/files; do
        case $fs in
        ext4) mkfs.ext4 -q -F "$dev" ;;
        xfs) mkfs.xfs -q -f -m reflink=0 "$dev" ;;
        esac
        vg=$(echo "$dev" | cut -d/ -f3)
        method=lvm
        [ "$vg" != lay-thin ] || method=lvm-thin
        mount "$dev" "$W/$fs"
        mkdir "$W/$fs/sub.dir"
        for f in one.img sub.dir/two-2.img; do head -c 12M /dev/urandom >"$W/$fs/$f"; done
        truncate -s 20M "$W/$fs/sparse.img"
        say "$fs on $dev, mounted"
        other=$(sum "$W/$fs/one.img")
        round "$vg" "$W/$fs/sub.dir/two-2.img" "$method"
        same "$(sum "$W/$fs/one.img")" "$other" "the other file"
        if [ "$method" = lvm ]; then
            say "a sparse file"
            round "$vg" "$W/$fs/sparse.img" "$method"
            [ "$(stat -c %b "$W/$fs/sparse.img")" -lt 20000 ] || fail "the sparse file is full"
        fi
        umount "$W/$fs"
    done
done
say done
