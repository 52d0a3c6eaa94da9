#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# concurrent.sh [SECONDS [PROCESSES]]: many commands at once on a few domains, some of them killed in between, against a
# model (concurrent.py). The hypervisor is null; storage is real: images on XFS, two domains share one. At the end every
# domain is as the model says, and when all are dropped nothing is left: no branch, file, lock or process.
. "$(dirname "$0")/../integration/functions.sh"
requires_root
seconds=${1:-${VMUNDO_TEST_LONG:+1800}} processes=${2:-64}
make_fs xfs 2G
for n in 0 1 2 3 4 5 6; do
    truncate -s 1M "$fs/d$n.img"
    echo "origin of d$n" | dd of="$fs/d$n.img" conv=notrunc status=none
done
for n in 0 1 2 3 4 5 6 7; do
    cat >"$work/d$n.cfg" <<C
name = "d$n"
type = "hvm"
memory = 64
disk = [ 'format=raw,vdev=xvda,access=rw,target=$fs/d$((n < 7 ? n : 6)).img' ]
C
done
vmundo list >/dev/null

step "whom a lock names"
mkdir -p "$VMUNDO_STATE_DIR/locks"
# What a killed command has left, of a process number that is another's now: nobody is in the way.
printf 'drop (process %d)\n1\n' $$ >"$VMUNDO_STATE_DIR/locks/d0"
vmundo run -H null "$work/d0.cfg"
# One that lives, by the name of a dead one: it has just taken the lock and not yet written who it is.
printf 'keep (process %d)\n1\n' $$ >"$VMUNDO_STATE_DIR/locks/d0"
exec 7<>"$VMUNDO_STATE_DIR/locks/d0"
flock 7
expect_exit 4 "worked on by 'another vmundo command'" vmundo stop --force d0
# Its own name, as vmundo writes it: process and start.
start=$(cut -d' ' -f22 /proc/$$/stat)
printf 'keep (process %d)\n%s\n' $$ "$start" >&7
printf 'keep (process %d)\n%s\n' $$ "$start" >"$VMUNDO_STATE_DIR/locks/d0"
expect_exit 4 "worked on by 'keep \(process $$\)'" vmundo stop --force d0
exec 7>&-
vmundo drop d0
[ -z "$(ls -A "$VMUNDO_STATE_DIR/locks")" ] || fail "a lock is left"

step "$processes processes for ${seconds:=35} s"
baseline
python3 "$(dirname "$0")/concurrent.py" "$VMUNDO" "$work" "$fs" "$seconds" "$processes"

step "and nothing is left"
for n in 0 1 2 3 4 5 6 7; do
    vmundo status "d$n" >/dev/null 2>&1 && vmundo drop "d$n" >/dev/null
done
vmundo recover
no_traces "after everything was dropped"
