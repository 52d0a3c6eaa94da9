#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# No room: for branches, for keep, for the state database. One clear message, and nothing changed.
. "$(dirname "$0")/functions.sh"
requires qemu-img python3
make_fs xfs 320M
image=$fs/data.img
make_disk "$image" 100M state=known
# something to share, so that keep and overlays have something to need room for
dd if=/dev/urandom of="$image" bs=1M count=60 seek=30 conv=notrunc status=none
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
baseline
remember "$image"

# fill DIR: not a byte left for anybody
fill_up() {
    dd if=/dev/zero of="$1/full" bs=64k status=none 2>/dev/null || true
    dd if=/dev/zero of="$1/full" bs=512 oflag=append conv=notrunc status=none 2>/dev/null || true
    sync -f "$1"
}

# empty DIR: XFS gives the room of a file that is gone free a moment later
has_room() { [ "$(($(stat -f -c "%a * %S" "$1")))" -gt $((8 << 20)) ]; }
empty() {
    rm "$1/full"
    wait_until 20 has_room "$1"
}

step "a full XFS: run refuses or works, but never does half"
fill_up "$fs"
rc=0
vmundo run -H null "$work/vm.cfg" >"$work/output" 2>&1 || rc=$?
cat "$work/output"
case $rc in
0) vmundo drop vm ;;
1 | 5) grep -qiE "space|room|free" "$work/output" || fail "the message does not speak of space" ;;
*) fail "exit code $rc" ;;
esac
unchanged
no_traces "run on a full file system"
empty "$fs"

step "a full XFS: a checkpoint is refused or made, never half; recording lets the oldest go, then refuses"
vmundo run -H null "$work/vm.cfg"
vmundo checkpoint vm before --ram
vmundo record vm --once
vmundo record vm --once
fill_up "$fs"
branches() { find "$fs/.vmundo" -type f | sort; }
branches >"$work/branches"
rc=0
vmundo checkpoint vm full --ram >"$work/output" 2>&1 || rc=$?
cat "$work/output"
case $rc in
0) vmundo prune vm full ;;
1 | 5) grep -qiE "space|room|free" "$work/output" || fail "the message does not speak of space" ;;
*) fail "exit code $rc" ;;
esac
branches | diff "$work/branches" - || fail "a checkpoint that failed left something, or took something away"
! vmundo tree vm | grep -q full || fail "a checkpoint that failed is in the tree"
expect_exit 5 "MiB free, and more checkpoints need" vmundo record vm --once
! vmundo tree vm | grep -q recorded || fail "there is no room, and recorded ones are left"
vmundo tree vm | grep -q before || fail "one with a label went"
empty "$fs"
vmundo record vm --once
vmundo checkpoint vm full --ram
vmundo rollback vm before
vmundo drop vm
unchanged
no_traces "checkpoints on a full file system"

step "a full ext4, for an overlay"
make_fs ext4 64M
make_disk "$fs/small.img" 16M state=known
make_config "$work/small.cfg" small "file:$fs/small.img,xvda,w"
remember "$fs/small.img"
baseline
fill_up "$fs"
expect_exit "[15]" "space|room|free" vmundo run -H null "$work/small.cfg"
no_traces "run on a full ext4"
empty "$fs"

step "no room for keep of an overlay: the branch stays, and keep works once there is room"
vmundo run -H null "$work/small.cfg"
branch=$(field small disks.0.branch)
qemu-io -f qcow2 -c "write -P 7 0 15M" "$branch" >/dev/null
vmundo stop --force small
fill_up "$fs"
rc=0
vmundo keep small >"$work/output" 2>&1 || rc=$?
cat "$work/output"
if [ $rc != 0 ]; then
    [ $rc = 5 ] || [ $rc = 1 ] || fail "exit code $rc"
    [ -e "$branch" ] || fail "keep failed and the branch is gone"
    unchanged
    empty "$fs"
    vmundo keep small
fi
[ "$(head -c 15M "$fs/small.img" | tr -d '\007' | wc -c)" = 0 ] || fail "what was kept is not in the image"
rm -f "$fs/full"
no_traces "keep"

step "the disk with the state database is full"
unset 'remembered[$fs/small.img]'
mkdir "$work/tiny"
mount -t tmpfs -o size=1M,mode=700 none "$work/tiny"
cleanup umount -l "$work/tiny"
export VMUNDO_STATE_DIR=$work/tiny/state
vmundo run -H null "$work/vm.cfg"
fill_up "$work/tiny"
for command in "run -H null -N other $work/vm.cfg" "rollback vm" "stop --force vm" "keep vm"; do
    rc=0
    # shellcheck disable=SC2086 # words
    vmundo $command >"$work/output" 2>&1 || rc=$?
    sed "s|^|$rc: |" "$work/output"
    case $rc in
    0) ;;                               # some room is left inside the database file
    1 | 4 | 5 | 6) [ "$(wc -l <"$work/output")" = 1 ] || fail "not one message: $command" ;;
    *) fail "exit code $rc: $command" ;;
    esac
done
vmundo list
rm -f "$work/tiny/full"
vmundo recover
expect_exit 0 "nothing to recover" vmundo recover
vmundo status vm >/dev/null 2>&1 && vmundo drop vm
vmundo status other >/dev/null 2>&1 && vmundo drop other
unchanged
expect_exit 0 "no domains" vmundo list
[ -z "$(find "$work/xfs" -name '*.vmundo*')" ] || fail "branches left"
