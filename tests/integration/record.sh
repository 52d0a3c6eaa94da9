#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A real guest counts in its RAM and on its disk while it is recorded: rollback --to some seconds ago finds both as they were
# then. Whoever is killed, the domain is recorded again after `recover`; rollback, stop and start do not end it. When the
# file system is nearly full the oldest go, then recording is paused, and the guest goes on.
. "$(dirname "$0")/functions.sh"
requires_guest
make_fs xfs 2G
image=$fs/disk.img
make_disk "$image" 32M
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
with_helpers recorder
remember "$image"
baseline

has_recorded() { [ "$(recorded)" -ge "$1" ]; }
# In the guest: what it counted last, in RAM and on the disk. For a moment in between the file is empty.
counted() { guest_say vm "until n=\$(cat $1); [ -n \"\$n\" ]; do usleep 20000; done; echo \$n"; }
ram() { counted /count; }
disk() { counted /mnt/0/count; }

step "a guest that counts is recorded"
vmundo run "$work/vm.cfg"
expect_exit 4 "is not being recorded" vmundo record vm --stop
expect_exit 2 "takes a time" vmundo record vm --every soon
expect_exit 2 "too often" vmundo record vm --every 10ms
expect_exit 2 "make no sense" vmundo record vm --every 10s --keep 5s
expect_exit 3 "no domain" vmundo record nobody
guest_say vm '(i=0; while :; do i=$((i+1)); echo $i >/count; echo $i >/mnt/0/count; sync; sleep 0.2; done) & echo counts' >/dev/null
vmundo record vm --every 500ms
begun=$SECONDS
vmundo checkpoint vm named
wait_until 60 has_recorded 6
expect_exit 0 "recorded every 0.5 s|recorded about" vmundo list
vmundo list --json | grep -q '"recording": "every 0.5 s"' || fail "not in list --json"
[ "$(vmundo tree vm --all | grep -c '(recorded ')" -ge 6 ] || fail "not in tree --all"
vmundo tree vm | grep -q '([0-9]* recorded since ' || fail "not summed up"
! vmundo log vm | grep -q ' recording ' || fail "every recorded checkpoint is in the log"
expect_exit 3 "its checkpoints are from" vmundo rollback vm --to -1h
expect_exit 3 "its checkpoints are from" vmundo rollback vm --to '2001-01-01 00:00:00'
expect_exit 3 "as of 2001-01-01 13:05:00: its checkpoints are from" vmundo rollback vm --to '2001-01-01 13:05'
for time in 25:00 13:05:00:00 13 "13:05 " 2001-01-01 "2001-02-30x 10:00" yesterday; do
    expect_exit 2 "is not a time" vmundo rollback vm --to "$time"
done

step "back by two seconds, RAM and disk together, and it counts on and is recorded on"
before=$(ram)
vmundo rollback vm --to -2s | tee "$work/said"
grep -q "rolled back to $(date +%F) " "$work/said" || fail "it does not say to when"
after=$(ram)
[ "$after" -lt $((before + 10)) ] || fail "it counts at $after, and was at $before two seconds ago"
on_disk=$(disk)
[ "$on_disk" -ge $((after - 1)) ] && [ "$on_disk" -le $((after + 20)) ] || fail "$after in RAM, $on_disk on the disk"
n=$(recorded)
wait_until 60 has_recorded $((n + 2))
vmundo rollback vm --undo
vmundo rollback vm named
wait_until 60 has_recorded $((n + 4))

step "whoever is killed: recorder, monitor, QEMU"
kill -9 "$(named vmundo-recorder)"
wait_until 10 eval '[ -z "$(named vmundo-recorder)" ]'
[[ $(field vm detail) == *"its recorder is gone"* ]] || fail "$(field vm detail)"
expect_exit 0 "start a new recorder" vmundo recover
expect_exit 0 "nothing to recover" vmundo recover
n=$(recorded)
wait_until 60 has_recorded $((n + 2))
kill -9 "$(field vm pid)"
wait_until 20 eval '[ -z "$(named vmundo-recorder)" ]'
vmundo recover >/dev/null
vmundo start vm
guest_say vm true
n=$(recorded)
wait_until 60 has_recorded $((n + 2))
[ "$(named vmundo-recorder | wc -l)" = 1 ] || fail "recorders: $(named vmundo-recorder)"

step "off and on; changed while it runs"
vmundo stop --force vm
wait_until 20 eval '[ -z "$(named vmundo-recorder)" ]'
[ "$(field vm recording)" != None ] || fail "forgotten"
vmundo record vm --no-ram
vmundo start vm
n=$(recorded)
wait_until 60 has_recorded $((n + 2))
newest() { vmundo tree vm --all --json | python3 -c '
import json, sys
print(max((n for n in json.load(sys.stdin) if n["recorded"]), key=lambda n: n["id"])["ram"])'; }
[ "$(newest)" = False ] || fail "with RAM, although without was asked for"
vmundo record vm --ram --space 1M

step "no more than a megabyte"
vmundo record vm --once
[ "$(recorded)" -le 12 ] || fail "$(recorded) checkpoints in 1 MiB"

step "nearly full: the oldest go, then it is paused, and the guest goes on; and recorded again when there is room"
# A tenth of the file system and the RAM of the guest are not to be had any more.
n=0
fill() { # what is set free meanwhile, too
    local room=$(($(df --output=avail -B1M "$fs" | tail -n 1) - 150))
    [ $room -lt 20 ] || fallocate -l ${room}M "$fs/fill.$((n += 1))"
}
paused() {
    fill
    [[ $(field vm detail) == *"recording is paused: "*" MiB free, and more checkpoints need "* ]] && [ "$(recorded)" = 0 ]
}
wait_until 60 paused
vmundo log vm | grep -q "record .*paused" || fail "not in the log"
guest_say vm true
vmundo tree vm | grep -q named || fail "a checkpoint with a label went"
rm "$fs"/fill.*
wait_until 30 has_recorded 2
vmundo log vm | grep -q "record .*resumed" || fail "not in the log"

step "no longer, and gone"
vmundo record vm --stop
wait_until 20 eval '[ -z "$(named vmundo-recorder)" ]'
vmundo prune vm --recorded
! vmundo tree vm --all | grep -q recorded || fail "some are left"
vmundo record vm --every 200ms
wait_until 30 eval '[ -n "$(named vmundo-recorder)" ]'
step "a console does not wait for the recorder that was started with the domain"
vmundo stop -q --force vm
wait_until 20 eval '[ -z "$(named vmundo-recorder)" ]'
vmundo start -q vm
sleep 11 | vmundo rollback vm -c >"$work/said" 2>&1
! grep -a "still waiting" "$work/said" || fail "it says so"
vmundo drop vm
wait_until 20 eval '[ -z "$(named vmundo-recorder)" ]'
unchanged
no_traces drop
expect_exit 0 "nothing to recover" vmundo recover
echo "in $((SECONDS - begun)) s"
