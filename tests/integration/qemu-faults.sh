#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU refuses, dies at once, dies later, or hangs, seen from the command line: one clear message, and nothing changed. A
# rollback whose new guest does not start leaves the old one running on its branch.
. "$(dirname "$0")/functions.sh"
requires_guest
make_fs xfs
image=$fs/data.img
make_disk "$image" 32M state=known
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
baseline
remember "$image"
fake=$here/hyper/fake-qemu

# with_fault HOW COMMAND...: vmundo with a QEMU that misbehaves
with_fault() {
    local how=$1
    shift
    VMUNDO_QEMU=$fake VMUNDO_FAKE_QEMU=$how VMUNDO_START_TIMEOUT_MS=1500 vmundo "$@"
}

step "run"
for how in refuse die close mute garbage stuck; do
    expect_exit 1 "qemu|QEMU|QMP" with_fault $how run -H qemu "$work/vm.cfg"
    [ "$(wc -l <"$work/output")" = 1 ] || fail "not one message: $(cat "$work/output")"
    no_traces "run with a QEMU that does this: $how"
    expect_exit 3 "vm" vmundo status vm
done

step "rollback: the old guest is not given up for one that does not start"
vmundo run "$work/vm.cfg"
guest_say vm "echo changed >state"
branch=$(field vm disks.0.branch) pid=$(field vm pid)
for how in refuse die mute; do
    expect_exit 1 "qemu|QEMU|QMP" with_fault $how rollback vm
    [ "$(field vm disks.0.branch)" = "$branch" ] || fail "another branch after a rollback that failed"
    [ "$(field vm pid)" = "$pid" ] || fail "another QEMU after a rollback that failed"
    [ "$(find "$fs/.vmundo" -type f ! -name "*.ram")" = "$branch" ] || fail "branches left: $(ls "$fs/.vmundo")"
done
guest_has vm state changed

step "start"
vmundo stop --force vm
expect_exit 1 "qemu|QEMU|QMP" with_fault die start vm
state_is vm off || fail "state $(field vm state)"
vmundo start vm
guest_has vm state changed

step "QEMU dies later: the branch stays"
kill -KILL "$(field vm pid)"
wait_state vm off
expect_exit 0 "signal 9" vmundo status vm
vmundo start vm
guest_has vm state changed

step "QEMU hangs: stop waits its time and says so, --force ends it"
kill -STOP "$(field vm pid)"
begun=$SECONDS
expect_exit 1 "force|does not answer" vmundo stop --timeout 2 vm
[ $((SECONDS - begun)) -lt 30 ] || fail "that took $((SECONDS - begun)) s"
vmundo list
vmundo stop --force vm
state_is vm off || fail "state $(field vm state)"
unchanged
vmundo rollback vm
guest_has vm state known

step "the monitor is killed: the guest runs on, and recover brings a new one"
kill -KILL "$(awk '/^PPid:/ { print $2 }' "/proc/$(field vm pid)/status")"
guest_has vm state known
vmundo recover
[ -n "$(processes | xargs -I{} cat /proc/{}/comm | grep vmundo-monitor)" ] || fail "no monitor after recover"
vmundo stop vm
vmundo drop vm
unchanged
no_traces drop
