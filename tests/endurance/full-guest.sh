#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A real guest fills the file system that its branch is on, and its RAM, too. It stands still and says so; nothing of what
# it had flushed is lost; `rollback --forget` and `drop` make room on a file system without a byte left, and then
# the guest goes on as if nothing had been.
. "$(dirname "$0")/../integration/functions.sh"
requires_guest
make_fs xfs 700M
image=$fs/disk.img
make_disk "$image" 400M
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
export VMUNDO_STATE_DIR=$fs/state
vmundo list >/dev/null
remember "$image"
baseline
room() { df --output=avail -B1K "$fs" | tail -n 1; }
# fill_up: the guest writes more than there is room for, and what it leaves goes as well
fill_up() {
    sync -f "$fs"
    fallocate -l $(($(room) - 40 * 1024))K "$fs/full"
    guest_tell vm 'dd if=/dev/zero of=big bs=1M count=200 conv=fsync; echo end' || true
    wait_until 60 stands_still
    local i still=0
    # XFS gives back what it had set aside for growing files, a little later.
    for ((i = 0; i < 40 && still < 4; i++)); do
        dd if=/dev/zero of="$fs/full2" bs=64k oflag=append conv=notrunc status=none 2>/dev/null || true
        dd if=/dev/zero of="$fs/full2" bs=4k oflag=append conv=notrunc status=none 2>/dev/null || true
        sync -f "$fs"
        sleep 0.2
        if [ "$(room)" -lt 8 ]; then still=$((still + 1)); else still=0; fi
    done
    [ "$(room)" -lt 512 ] || fail "$(room) KiB free"
}
make_room() {
    rm -f "$fs/full" "$fs/full2"
    wait_until 20 has_room
}
has_room() { [ "$(room)" -gt 20480 ]; }
monitor_is_gone() { [[ $(field vm detail) == *"monitor is gone"* ]]; }
settled() { [[ $(field vm state) =~ off|running ]]; }
stands_still() {
    local is
    is=$(field vm state) && [ "$is" != running ]
}

# It is paused, says why, also when its monitor has been killed, and goes on by itself when there is room
until_there_is_room() {
    wait_until 5 state_is vm paused
    [[ $(field vm detail) == *"no room for what it writes"* ]] || fail "status says: $(field vm detail)"
    kill -9 "$(named vmundo-monitor)"
    wait_until 20 monitor_is_gone
    expect_exit 0 "start a new monitor" vmundo recover
    sleep 2
    wait_until 5 state_is vm paused # it tries now and then
    make_room
    wait_state vm running
    wait_until 60 eval '[ "$(field vm detail)" = None ]'
}

step "a guest whose RAM is elsewhere: it stands still, says why, and goes on when there is room"
vmundo run --anonymous-ram "$work/vm.cfg"
guest_say vm 'echo flushed >state; sync; echo here >/memory'
fill_up
until_there_is_room
guest_has vm state flushed
guest_has vm /memory here
guest_say vm 'ls -l big; rm -f big; sync'

step "full again: a rollback that would leave the branch behind is refused (or there was just room enough); with --forget it makes room"
fill_up
rc=0
vmundo rollback vm >"$work/said" 2>&1 || rc=$?
if [ $rc != 0 ]; then
    [ $rc = 5 ] && grep -q "rollback --forget vm' would remove the old branch first" "$work/said" || fail "exit code $rc: $(<"$work/said")"
    vmundo rollback --forget vm
fi
guest_has vm state
make_room

step "full again: drop"
fill_up
vmundo list
vmundo drop vm
unchanged
no_traces "drop on a full file system"

step "with the RAM in the file system: it stands still before the end; nothing is killed; it goes on when there is room"
rm -f "$fs/full" "$fs/full2"
wait_until 20 has_room
vmundo run "$work/vm.cfg"
guest_say vm 'echo flushed >state; sync; echo here >/memory'
qemu=$(field vm pid)
fill_up
until_there_is_room
[ "$(field vm pid)" = "$qemu" ] || fail "it is another QEMU"
guest_has vm state flushed
guest_has vm /memory here
guest_say vm 'ls -l big; rm -f big; sync'

step "only a little is left, and stays so: it runs; it writes to memory that a checkpoint shares: it stands still"
sync -f "$fs"
fallocate -l $(($(room) - 44 * 1024))K "$fs/full"
vmundo checkpoint vm with-ram --ram
wait_state vm running
sleep 3
wait_until 20 state_is vm running # room that goes as quickly as just now has it paused for some seconds
sleep 3
state_is vm running || fail "with $(room) KiB free it is $(field vm state)"
guest_tell vm 'mkdir -p /ram; mount -t tmpfs tmpfs /ram; dd if=/dev/urandom of=/ram/big bs=64k count=600; md5sum /ram/big >/ram/sum; echo end' || true
wait_state vm paused
[ "$(room)" -gt 1024 ] || fail "only $(room) KiB are left"
make_room
wait_state vm running
guest_say vm 'md5sum -c /ram/sum'
[ "$(field vm pid)" = "$qemu" ] || fail "it is another QEMU"
vmundo drop vm
unchanged
no_traces "drop"
expect_exit 0 "nothing to recover" vmundo recover
echo "in $SECONDS s"
