#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A domain that ends, by command or by itself, keeps its branches: start, rollback and keep all go on from there.
. "$(dirname "$0")/functions.sh"
requires_guest
make_fs xfs
image=$fs/data.img
make_disk "$image" 32M state=known
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
baseline
remember "$image"

step "stop is an ACPI power-down; start goes on with the same branch"
vmundo run "$work/vm.cfg"
expect_exit 4 "vm" vmundo run "$work/vm.cfg"
guest_say vm "echo one >state"
expect_exit 4 "running" vmundo start vm
branch=$(field vm disks.0.branch)
vmundo stop vm
state_is vm off || fail "state $(field vm state) after stop"
grep -q "GUEST: power button" "$(field vm console_log)" || fail "the guest saw no power button"
[ -e "$branch" ] || fail "stop took the branch away"
ends_soon || fail "processes after stop: $(processes)"
vmundo stop vm
vmundo start vm
guest_has vm state one

step "the guest powers itself off"
guest_say vm "echo two >state"
guest_tell vm poweroff
wait_state vm off
expect_exit 0 "powered off" vmundo status vm
vmundo start vm
guest_has vm state two

step "the guest crashes"
guest_tell vm panic
wait_state vm crashed
expect_exit 0 "crash" vmundo status vm
vmundo rollback vm
guest_has vm state known

step "a guest that does not listen: stop fails in time, --force ends it"
# Early in its boot it cannot hear the power button.
vmundo rollback vm
expect_exit 1 "force" vmundo stop --timeout 1 vm
state_is vm running || fail "state $(field vm state) after a stop that failed"
vmundo stop --force vm
state_is vm off || fail "state $(field vm state) after a forced stop"

step "keep from off"
vmundo start vm
guest_say vm "echo kept >state"
guest_tell vm poweroff
wait_state vm off
unchanged
vmundo keep vm
no_traces keep
vmundo run "$work/vm.cfg"
guest_has vm state kept
vmundo drop vm
no_traces drop
