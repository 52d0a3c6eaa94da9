#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A long run: two guests on XFS, one with a reserve, and for two minutes (VMUNDO_TEST_LONG=SECONDS, or 1 for three hours)
# whatever comes: marks, checkpoints, rollbacks, forks, kills, in an order that SOAK_SEED repeats. What is done and
# checked is in `soak`.
. "$(dirname "$0")/../integration/functions.sh"
requires_guest
requires python3
case ${VMUNDO_TEST_LONG:-} in '') seconds=120 ;; 1) seconds=10800 ;; *) seconds=$VMUNDO_TEST_LONG ;; esac
make_fs xfs 4G
for name in one two; do
    make_disk "$fs/$name.img" 32M
    make_config "$work/$name.cfg" $name "file:$fs/$name.img,xvda,w"
done
with_helpers recorder reserve
remember "$fs/one.img" "$fs/two.img"
baseline
step "for $seconds s, seed ${SOAK_SEED:=$RANDOM}"
python3 "$here/../endurance/soak" "$work" "$fs" "$seconds" "$SOAK_SEED" "$here/guest-say" || fail "SOAK_SEED=$SOAK_SEED"
for name in one two; do vmundo drop "$name"; done
reserves_gone() { ! processes | grep -q .; }
wait_until 30 reserves_gone
unchanged
no_traces "after all"
expect_exit 0 "nothing to recover" vmundo recover
