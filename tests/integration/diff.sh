#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# diff.sh FILESYSTEM: `vmundo diff` says which blocks of an image differ, no less and no more, between the origin, what
# there is now, and checkpoints; compared with a comparison of the data itself.
. "$(dirname "$0")/functions.sh"
make_fs "$1"
image=$fs/disk.img
truncate -s 40M "$image" # with a hole at its end
dd if=/dev/urandom of="$image" bs=1M count=32 conv=notrunc,fsync status=none
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
limit=20
branch() { field vm disks.0.branch; }
# put BLOCK COUNT [FROM]: write blocks of 4 KiB there, through the page cache and not flushed
put() { dd if="${3:-/dev/urandom}" of="$(branch)" bs=4k seek="$1" count="$2" conv=notrunc status=none; }
# differs OLD NEW [CHECKPOINT...]
differs() { vmundo diff --json vm "${@:3}" | "$here/../rig/scenarios/diff-covers" xvda "$1" "$2" 4096; }

vmundo run -q -H null "$work/vm.cfg"
differs "$image" "$(branch)" | grep -q ": 0 blocks" || fail "a fresh branch differs"
step "against the origin"
put 10 1
put 700 33
put 8500 20      # where there was a hole
put 10239 1      # the last
differs "$image" "$(branch)"
step "against checkpoints, and between them"
vmundo checkpoint -q vm one
cp "$(branch)" "$work/one"
put 11 5
put 705 1
vmundo checkpoint -q vm two
cp "$(branch)" "$work/two"
put 3000 100
fallocate -p -o $((4096 * 100)) -l $((4096 * 8)) "$(branch)" # a hole, where there was data
differs "$work/one" "$(branch)" one
differs "$work/two" "$(branch)" two
differs "$work/one" "$work/two" one two
differs "$work/two" "$work/one" two one
differs "$image" "$(branch)"
step "another line of descent"
vmundo rollback -q vm one
put 706 3
differs "$work/two" "$(branch)" two
step "text, and what there is not"
vmundo diff vm --ranges >"$work/text"
grep -qE '^ *START +LENGTH' "$work/text" || fail "no ranges"
expect_exit 3 "no checkpoint 'x'" vmundo diff vm x
expect_exit 3 "no checkpoint 'x'" vmundo diff vm one x
expect_exit 3 "no domain" vmundo diff nobody
vmundo drop -q vm
