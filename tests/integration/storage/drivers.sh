#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# drivers.sh FILESYSTEM METHOD: the life of a branch, and what keep must preserve, on a real file system.
. "$(dirname "$0")/common.sh"
fstype=$1 method=$2
requires qemu-img qemu-io setfacl getfattr chattr
make_fs "$fstype"
mkdir "$fs/images"
image=$fs/images/disk.img

# A disk of 64 MiB of which 8 MiB are written
make_image() {
    rm -f "$image"
    truncate -s 64M "$image"
    dd if=/dev/urandom of="$image" bs=1M count=8 conv=notrunc status=none
    sync "$image"
}
# change: the branch, as a guest would; and what the image should be then, in $work/want
change() {
    local format=raw
    [[ $branch == *.qcow2 ]] && format=qcow2
    write $format "$branch" 0x5a 4M 1M
    write $format "$branch" 0x5b 32M 64k
    cp --sparse=always "$image" "$work/want"
    write raw "$work/want" 0x5a 4M 1M
    write raw "$work/want" 0x5b 32M 64k
}
same() { cmp "$work/want" "$image" || fail "keep: the content is not what it should be"; }

step "a life"
make_image
new "$image" raw "$method"
expect "$driver" "$method"
nothing_left "$fs/images"
before=$(sum_of "$image")
drive create "$state"
expect "$(stat -c '%a %u' "$fs/images/.vmundo" "$branch" | tr '\n' ' ')" "700 0 600 0 "
drive create "$state"
drive attach "$state"
expect "$(drive changed "$state")" unchanged
drive inspect "$state" | grep -q "exists=1 .*health=ok"
change
expect "$(sum_of "$image")" "$before" "the origin was written to"
drive create "$state"
holds "$([[ $branch == *.qcow2 ]] && echo qcow2 || echo raw)" "$branch" 0x5a 4M 1M
used=$(drive inspect "$state" | sed 's/.*used=\([0-9]*\).*/\1/')
[ "$used" -ge $((1024 * 1024)) ] && [ "$used" -lt $((4 * 1024 * 1024)) ] || fail "it has $used bytes for itself"
drive detach "$state"
keep
same
[ "$(blocks "$image")" -lt $((12 * 2048)) ] || fail "the image is no longer sparse: $(blocks "$image") blocks"
drive remove "$state"
nothing_left "$fs/images"

step "dropped"
make "$image" raw "$method"
before=$(sum_of "$image")
change
drive remove "$state"
nothing_left "$fs/images"
expect "$(sum_of "$image")" "$before"

# preserved: keep changes the content alone
preserved() {
    make "$image" raw "$method"
    change
    before=$(attributes "$image")
    old=$(stat -c %Y "$image")
    keep
    same
    expect "$(attributes "$image")" "$before" "attributes"
    [ "$(stat -c %Y "$image")" -ge "$old" ] || fail "the time of the last change went back"
}

step "owner, mode, ACL, extended attributes"
make_image
chown 1000:1001 "$image"
chmod 4640 "$image"
setfacl -m u:1234:rw,g:1235:r "$image"
setfattr -n user.note -v "mine" "$image"
setfattr -n user.empty "$image"
setfattr -n trusted.note -v "root's" "$image"
setfattr -n security.vmundo -v "safe" "$image"
chattr +d "$image"
inode=$(stat -c %i "$image")
preserved
# Even with all of that a clone takes the image's place in one step; an overlay is written into it.
[ $method:$((inode == $(stat -c %i "$image"))) != reflink:1 ] || fail "the clone was copied back"
expect "$(stat -c '%u %g' "$image")" "1000 1001"

step "an ACL that new files in the directory would get"
make_image
setfacl -d -m u:1234:rw "$fs/images"
preserved
setfacl -b "$fs/images"

step "a hard link goes on showing the same file"
make_image
ln "$image" "$fs/images/link"
inode=$(stat -c %i "$image")
preserved
expect "$(stat -c '%i %h' "$fs/images/link")" "$inode 2"
cmp "$image" "$fs/images/link"
rm "$fs/images/link"

step "an image that is itself a mount point"
make_image
mount --bind "$image" "$image"
cleanup umount "$image"
preserved
umount "$image"
same

step "immutable and append-only images are refused before anything is done"
for flag in i a; do
    make_image
    make "$image" raw "$method"
    change
    chattr +$flag "$image"
    expect_exit 5 "is (immutable|append-only): take that away first .chattr -$flag" drive keep_check "$state"
    chattr -$flag "$image"
    keep
    same
done

step "in use"
make_image
make "$image" raw "$method"
change
sleep 100 9<"$image" &
expect_exit 4 "is in use by sleep .pid $!" drive keep_check "$state"
kill $!
wait $! || true
keep
same

step "the origin changed"
make_image
make "$image" raw "$method"
write raw "$image" 0x77 1M 64k
expect "$(drive changed "$state" | cut -d: -f1 | sed 's/ at .*//')" "it was written to"
drive remove "$state"
make "$image" raw "$method"
cp "$image" "$image.new"
mv "$image.new" "$image"
expect "$(drive changed "$state")" "another file has taken its place"
change
drive keep "$state" 2>/dev/null # forced
drive keep "$state" 2>/dev/null
same
drive remove "$state"
make "$image" raw "$method"
rm "$image"
expect "$(drive changed "$state")" "it is gone"
expect_exit 1 "cannot open $image" drive keep_check "$state"
expect_exit 1 "cannot open $image" drive keep "$state"
drive remove "$state"

step "an overlay of another domain keeps the origin as it is"
make_image
make "$image" raw qcow2 other.one
make "$image" raw "$method" web
expect_exit 4 "overlay of domain other.one is based on $image" drive keep_check "$state"
drive remove "$work/other.one.json"
keep
nothing_left "$fs/images"

step "an ordinary user's own image"
mkdir -m 700 "$fs/images/user"
saved=$image image=$fs/images/user/disk.img
make_image
chown -R 1000:1000 "$fs/images/user"
install -d -o 1000 -g 1000 "$work/user"
chmod 711 "$work" "$fs"
cp "$drive" "$work/drive-of-user"
as_user() { timeout 120 setpriv --reuid=1000 --regid=1000 --clear-groups "$work/drive-of-user" "$@"; }
state=$work/user/state.json
as_user new "$state" "$image" raw "$method" web 1 "$work/user" >"$work/output"
read -r driver branch <"$work/output"
as_user create "$state"
expect "$(stat -c %u:%a "$branch")" 1000:600
change
before=$(attributes "$image")
as_user keep_check "$state"
as_user keep "$state" 2>/dev/null
as_user remove "$state"
same
expect "$(attributes "$image")" "$before"
nothing_left "$fs/images/user"

step "root and a user's image"
make "$image" raw "$method"
expect "$(stat -c %u:%g:%a "$branch")" 1000:1000:600
install -m 644 "$state" "$work/root.json"
expect_exit 5 "belongs to user 0" as_user preflight "$work/root.json"
drive remove "$state"

step "a directory that somebody prepared"
mkdir -m 700 "$fs/images/user/.vmundo"
chown 1000:1000 "$fs/images/user/.vmundo"
new "$image" raw "$method"
expect_exit 5 "belongs to user 1000, not to us" drive preflight "$state"
expect_exit 1 "belongs to user 1000, not to us" drive create "$state"
rmdir "$fs/images/user/.vmundo"
ln -s "$work/user" "$fs/images/user/.vmundo"
expect_exit 5 ".vmundo is not a directory" drive preflight "$state"
expect_exit 1 ".vmundo is not a directory" drive create "$state"
rm "$fs/images/user/.vmundo"
expect "$(ls -A "$fs/images/user" "$work/user" | sort | tr '\n' ' ')" "$(printf '%s\n' '' "$fs/images/user:" "$work/user:" disk.img state.json | sort | tr '\n' ' ')"
image=$saved

step "read-only"
make_image
make "$image" raw "$method"
change
mount -o remount,ro "$fs"
expect_exit 5 "read-only" drive keep_check "$state"
expect_exit 5 "read-only" drive new "$work/ro.json" "$image" raw "$method" ro 1 "$VMUNDO_STATE_DIR"
mount -o remount,rw "$fs"
keep
same
