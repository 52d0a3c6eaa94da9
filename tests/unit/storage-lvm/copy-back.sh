#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# copy-back.sh PROGRAM ext4|xfs: copying back into a file system on a loop device, with a copy of the whole image in the
# place of its snapshot. Writes, holes, growth and shrinking at places that SEED chooses, several rounds. The default has
# once found a hole at the end of a file being made again and again.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root"; exit 77; }
program=$1 kind=$2
work=$(mktemp -d /tmp/vmundo-copy.XXXXXX)
undo() {
    local rc=$? m
    for m in origin branch; do umount "$work/$m" 2>/dev/null || true; done
    rm -rf --one-file-system "$work"
    exit "$rc"
}
trap undo EXIT
trap 'exit 143' TERM INT HUP
fail() { echo "FAIL: $*" >&2; exit 1; }
RANDOM=${SEED:=22789}
echo "SEED=$SEED"
sum() { sha256sum <"$1"; }

mkdir "$work/origin" "$work/branch"
truncate -s 320M "$work/origin.fs"
case $kind in
ext4) mkfs.ext4 -q "$work/origin.fs"; options=loop ;;
xfs) mkfs.xfs -q -m reflink=0 "$work/origin.fs"; options=loop,nouuid ;;
esac
mount -o loop "$work/origin.fs" "$work/origin" || { echo "SKIP: no loop devices"; exit 77; }
mkdir "$work/origin/sub"
head -c 20M /dev/urandom >"$work/origin/other"
head -c 20000000 /dev/urandom >"$work/origin/sub/full"
truncate -s 24M "$work/origin/sparse"
head -c 3000000 /dev/urandom | dd of="$work/origin/sparse" bs=4k seek=700 conv=notrunc status=none
truncate -s 16M "$work/origin/allocated"
fallocate -l 16M "$work/origin/allocated"
files=(sub/full sparse allocated)

# change FILE: something that a guest or a hypervisor can do to an image
change() {
    local f=$1 at=$((RANDOM % 4500)) n=$((RANDOM % 60 + 1))
    case $((RANDOM % 8)) in
    0 | 1 | 2 | 3) dd if=/dev/urandom of="$f" bs=4k seek="$at" count="$n" conv=notrunc status=none ;;
    4) dd if=/dev/urandom of="$f" bs=1 seek=$((at * 4096 + 77)) count=1000 conv=notrunc status=none ;;
    5) fallocate -p -o $((at * 4096)) -l $((n * 4096)) "$f" ;;
    6) dd if=/dev/zero of="$f" bs=4k seek="$at" count="$n" conv=notrunc status=none ;;
    7) truncate -s $((18000000 + RANDOM * 100)) "$f" ;;
    esac
}

for round in 1 2 3 4; do
    umount "$work/origin"
    cp --sparse=always "$work/origin.fs" "$work/branch.fs"
    mount -o "$options" "$work/branch.fs" "$work/branch"
    for f in "${files[@]}"; do
        for ((i = 0; i < 25; i++)); do change "$work/branch/$f"; done
    done
    mount -o loop "$work/origin.fs" "$work/origin"
    # The others live on: what they write must survive, and where they write it must not matter.
    head -c 5M /dev/urandom >"$work/origin/new-$round"
    dd if=/dev/urandom of="$work/origin/other" bs=64k seek=$((RANDOM % 100)) count=20 conv=notrunc status=none
    # Somebody changed an image of the origin too, and keep --force is to undo that: its blocks lie elsewhere now.
    if [ "$round" = 3 ]; then
        cp "$work/origin/sub/full" "$work/origin/sub/full.new"
        dd if=/dev/urandom of="$work/origin/sub/full.new" bs=4k seek=2000 count=300 conv=notrunc status=none
        mv "$work/origin/sub/full.new" "$work/origin/sub/full"
    fi
    others=$(cd "$work/origin" && sha256sum other new-*)
    umount "$work/branch"
    mount -o "$options" "$work/branch.fs" "$work/branch"
    compared=$("$program" "$work/origin" "$work/branch" "$work/origin.fs" "$work/branch.fs" "${files[@]}")
    for f in "${files[@]}"; do
        cmp "$work/origin/$f" "$work/branch/$f" || fail "round $round: $f is not what it is in the branch"
    done
    [ "$others" = "$(cd "$work/origin" && sha256sum other new-*)" ] || fail "round $round: another file was touched"
    echo "round $round: $compared bytes compared"
    [ "$compared" -lt 45000000 ] || fail "round $round: nearly everything was read"
    # After an interruption it is done again: the same end, and nothing is written any more.
    before=$(stat -c %Y.%y "$work/origin/sub/full")
    "$program" "$work/origin" "$work/branch" "$work/origin.fs" "$work/branch.fs" "${files[@]}" >/dev/null
    [ "$before" = "$(stat -c %Y.%y "$work/origin/sub/full")" ] || fail "round $round: the second time it wrote again"
    umount "$work/branch"
done
