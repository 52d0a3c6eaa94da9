#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A real guest on ext4, where checkpoints are overlays that rest on one another, is recorded: what goes is merged into what
# stays, so that the chain has an end; every checkpoint shows all the time what it showed when it was made, also when the
# recorder, vmundo or QEMU is killed in the middle of that. VMUNDO_TEST_LONG: many times more.
. "$(dirname "$0")/functions.sh"
requires_guest
requires qemu-img
make_fs ext4 1G
image=$fs/disk.img
make_disk "$image" 48M
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
with_helpers recorder
remember "$image"
baseline
kills=${VMUNDO_TEST_LONG:+40}
kills=${kills:-1}

overlays() { find "$fs/.vmundo" -name '*.qcow2' | wc -l; }
gone() { find "$fs/.vmundo" -name '*.gone' | wc -l; }
# What the guest's disk rests on: "FILE" or "FILE gone", one a line.
chain() {
    local file
    qemu-img info -U --backing-chain "$(field vm disks.0.branch)" | sed -n 's/^image: //p' | while read -r file; do
        [ "$file" = "$image" ] || echo "$file$([ ! -e "$file.gone" ] || echo " gone")"
    done
}
newest() { vmundo tree vm --all --json | python3 -c '
import json, sys
print(max([n["id"] for n in json.load(sys.stdin)] + [0]))'; }
newer_than() { [ "$(newest)" -gt "$1" ]; }

# What each checkpoint holds must be what it held when it was seen first. One that goes, or is merged, just then is left out.
# look [N]: at so many of them only
declare -A seen
look() {
    local file name sum again active
    active=$(field vm disks.0.branch)
    for file in $(find "$fs/.vmundo" -name '*.qcow2' | shuf -n "${1:-99}"); do
        name=${file##*/}
        [ "$file" != "$active" ] && [ ! -e "$file.gone" ] || continue
        sum=$(holds "$file") && [ ! -e "$file.gone" ] && [ -e "$file" ] || continue
        if [ -n "${seen[$name]:-}" ] && [ "${seen[$name]}" != "$sum" ]; then
            again=$(holds "$file") || continue # renamed while it was read?
            [ "${seen[$name]}" = "$again" ] || fail "$name holds something else than it did"
        fi
        seen[$name]=$sum
    done
}
holds() {
    qemu-img convert -U -f qcow2 -O raw "$1" "$work/content.img" 2>"$work/convert" || return
    sum_of "$work/content.img"
}
# No overlay has errors; space that was lost when somebody was killed (3) is none. What QEMU may be writing to is left out.
check_files() {
    local file rc active
    active=$(field vm disks.0.branch)
    [ "$(field vm state)" = running ] || active=
    for file in "$fs"/.vmundo/*.qcow2; do
        [ -z "$active" ] || { [ "$file" != "$active" ] && [ ! -e "$file.gone" ]; } || continue
        rc=0
        qemu-img check -q "json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"file\",\"locking\":\"off\",
            \"filename\":\"$file\"}}" >"$work/check" 2>&1 || rc=$?
        [ $rc = 0 ] || [ $rc = 3 ] || [ ! -e "$file" ] || { cat "$work/check" >&2; fail "qemu-img check of $file: $rc"; }
    done
}

counting='(i=0; while :; do i=$((i+1)); date +%s >/mnt/0/time; dd if=/dev/urandom of=/mnt/0/noise bs=64k count=3 '
counting+='seek=$((i * 37 % 300)) conv=notrunc; sync; sleep 0.4; done) >/dev/null 2>&1 & echo counts'
on_disk() { guest_say vm 'until n=$(cat /mnt/0/time); [ -n "$n" ]; do usleep 20000; done; echo $n'; }

step "a guest that writes is recorded, without its RAM"
vmundo run -q "$work/vm.cfg"
expect_exit 5 "without its RAM only" vmundo record vm --ram
guest_say vm "$counting" >/dev/null
ahead=$(($(guest_say vm date +%s) - $(date +%s)))
expect_exit 0 "record vm every 0.3 s, without its RAM" vmundo record vm --every 300ms --dry-run
vmundo record vm --every 300ms
begun=$SECONDS
for round in 1 2; do # the second time some have been merged
    wait_until 60 newer_than $((round * 14))
    look 10
    [ "$(overlays)" -le 33 ] || fail "$(overlays) overlays"
done
last=$(newest)
[ ${#seen[@]} -ge 10 ] || fail "only ${#seen[@]} checkpoints seen"
[ "$(recorded)" -le 26 ] || fail "$(recorded) recorded checkpoints"
[[ $(field vm detail) != *"recording fails"* ]] || fail "$(field vm detail)"
! vmundo log vm | grep -q failed || { vmundo log vm; fail "failures in the log"; }
step "$last checkpoints made, $(recorded) stay, in $(overlays) overlays, $(gone) of them gone, $((SECONDS - begun)) s"

step "back by ten seconds"
wait_until 30 eval '[ $((SECONDS - begun)) -ge 14 ]'
vmundo rollback vm --to -10s | tee "$work/said"
at=$(date -d "$(sed -n 's/.*rolled back to \([-0-9]* [:0-9]*\).*/\1/p' "$work/said" | head -n 1)" +%s)
found=$(($(on_disk) - ahead))
[ $found -ge $((at - 3)) ] && [ $found -le $((at + 1)) ] || fail "the disk is of $found, and the checkpoint of $at"
guest_say vm "$counting" >/dev/null

step "whoever is killed while it is merged"
# Which takes some milliseconds.
merging() {
    local end=$((SECONDS + 2))
    until [ -e "$VMUNDO_STATE_DIR/domains/vm/merging" ]; do [ $SECONDS -lt $end ] || return 1; done
}
for ((n = 1; n <= kills; n++)); do
    look 6
    pids="$(named vmundo-recorder) $(field vm pid)"
    wait_until 60 merging
    sleep "0.0$((RANDOM % 4))"
    # Sometimes the recorder only, QEMU only, or both.
    case $((n % 3)) in
    0) kill -9 "${pids#* }" ;;
    1) kill -9 ${pids% *} ${pids#* } ;;
    2) kill -9 "${pids% *}" ;;
    esac
    vmundo recover >/dev/null
    expect_exit 0 "nothing to recover" vmundo recover
    check_files
    look 6
    if [ "$(field vm state)" = off ]; then
        wait_until 20 eval '[ -z "$(named vmundo-recorder)" ]'
        vmundo start -q vm
        guest_say vm "$counting" >/dev/null
    fi
done

step "a rollback in the middle of it does not wait"
wait_until 60 merging
t=$(date +%s%N)
vmundo rollback -q vm --to -3s
took=$((($(date +%s%N) - t) / 1000000))
[ $took -lt 5000 ] || fail "it took $took ms"
look 6
check_files

step "no more than so much"
vmundo record vm --space 2M
guest_say vm "$counting" >/dev/null
expect_exit 0 "" vmundo record vm --once # looked at anew
last=$(newest)
wait_until 60 newer_than $((last + 3))
# What is removed takes room until it is merged; and that is looked at every two seconds.
held=$(for _ in {1..16}; do du -sk "$fs/.vmundo"; sleep 0.5; done | sort -n | head -n 1 | cut -f1)

step "no longer, and what is left is merged"
vmundo record vm --stop
wait_until 20 eval '[ -z "$(named vmundo-recorder)" ]'
vmundo checkpoint -q vm named
vmundo prune -q vm --recorded
look
check_files
# Of the gone ones only those stay on which the running one, or what the rollback left behind, rests directly.
[ "$(chain | wc -l)" -le 4 ] && [ "$(chain | grep -c gone)" -le 1 ] || fail "it rests on: $(chain)"
held=$((held - $(du -sk "$fs/.vmundo" | cut -f1)))
echo "recording held $held KiB"
[ $held -le 6144 ] || fail "2 MiB were asked for"

step "what a fork rests on is left alone"
vmundo checkpoint -q vm second
vmundo fork -q vm@second
vmundo checkpoint -q vm third
vmundo prune -q vm named second
[ "$(chain | grep -c gone)" -ge 2 ] || fail "it was merged: $(chain)"
vmundo drop -q vm-1
vmundo checkpoint -q vm fourth
vmundo prune -q vm third
[ "$(chain | grep -c gone)" -le 1 ] || fail "it was not merged: $(chain)"
guest_say vm true
vmundo drop -q vm
unchanged
[ ! -e "$fs/.vmundo" ] || fail "left: $(ls -A "$fs/.vmundo")"
no_traces drop
expect_exit 0 "nothing to recover" vmundo recover
echo "in $((SECONDS - begun)) s"
