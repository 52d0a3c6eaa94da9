#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Checkpoints with RAM: a guest that counts and writes to its disk is saved while it works, and brought back: twice from one
# saved state, again from what came of that, with RAM in a file and without. What it says after "tick N" was saved begins
# with tick N+1, and the disk has what it had then.
. "$(dirname "$0")/common.sh"
requires_guest
make_fs xfs 4G
places+=("$fs")

# Counts in its RAM, and on its disk, several times a second.
worker='(i=0;while:true;do:i=$((i+1));echo:$i>/mnt/0/count;sync;echo:GUEST.tick.$i;usleep:150000;done)&'
ram=$fs/ram disk=$fs/disk.img
write_domain() { # MEMORY LINE...
    local memory=$1
    shift
    extra="vmtest=$worker" domain "disk = [ '${image:-$disk},raw,xvda,rw' ]" "$@"
    sed -i "s/^memory = .*/memory = $memory/" "$work/vm.cfg"
}
new_ram() { # FILE
    (umask 077; truncate -s "$("$tool" qemu ram-size x "$work/vm.cfg")" "$1")
}
ticks() { sed -n 's/.*GUEST.tick.\([0-9]*\).*/\1/p' "$(console_log "$@")"; }
last_tick() { ticks "$@" | tail -n 1; }
ticked() { [ "$(ticks "$@" | wc -l)" -ge 4 ]; }
# checkpoint STATE [INSTANCE]: with disk and RAM, while it runs
checkpoint() {
    before=$(last_tick "${2:-run}")
    HYPER_TOOL_CLONE=$disk:$1.disk hyper checkpoint "${2:-run}" "$1" | tee "$work/pause"
    after=$(last_tick "${2:-run}")
    grep -q "in time" "$work/pause" || fail "$(cat "$work/pause")"
}
# counts_on FROM TO: after having been brought back, it counts on without a gap from somewhere in between
counts_on() {
    local first
    wait_until 60 ticked
    first=$(ticks | head -n 1)
    [ "$first" -gt "$1" ] && [ "$first" -le $(($2 + 2)) ] || fail "it goes on with $first, saved between $1 and $2"
    ticks | awk -v n="$first" '$1 != n++ { exit 1 }' || fail "it does not count: $(ticks)"
}
# back STATE [private]: a new instance from a saved state
back() {
    cp --reflink=always "$1.disk" "$disk"
    [ "${2:-}" = private ] || [ -z "${HYPER_TOOL_RAM:-}" ] || cp --reflink=always "$1.ram" "$HYPER_TOOL_RAM"
    new_instance
    HYPER_TOOL_SAVED=$1 hyper start run "$work/vm.cfg"
    expect_state "paused * watched -"
    [ ! -s "$(console_log)" ] || fail "it runs already"
    hyper resume
    expect_state "running * watched -"
}

make_disk "$disk" 32M
cp --sparse=always "$disk" "$work/empty.img"
write_domain 160
new_ram "$ram"
export HYPER_TOOL_RAM=$ram

step "it works, and is saved while it works"
boot
wait_until 120 ticked
expect_exit 4 "runs: it must be held or paused" hyper save run "$fs/x"
[ ! -e "$fs/x" ] || fail "a file is left"
checkpoint "$fs/one"
one=("$before" "$after")
expect_state "running * watched -"
[ "$(stat -c %a "$fs/one")" = 600 ] || fail "open to others"
[ "$(stat -c %s "$fs/one")" -lt 2000000 ] || fail "the saved state has $(stat -c %s "$fs/one") bytes"
expect_exit 1 "cannot create .*File exists" hyper checkpoint run "$fs/one"
expect_state "running * watched -"
expect_exit 4 "in use by another guest" eval 'new_instance other; hyper start other "$work/vm.cfg"'
sleep 1
checkpoint "$fs/two"
two=("$before" "$after")
hyper destroy
nothing_left

step "brought back twice from one saved state; each can be saved again"
remembered=()
remember "$fs/one" "$fs/one.ram" "$fs/two" "$fs/two.ram"
for n in 1 2; do
    back "$fs/one"
    counts_on "${one[@]}"
    checkpoint "$fs/second$n"
    second=("$before" "$after")
    hyper destroy
    nothing_left
done
back "$fs/second2"
counts_on "${second[@]}"
checkpoint "$fs/third"
hyper destroy
back "$fs/two"
counts_on "${two[@]}"
unchanged
step "its disk goes on from the same instant"
hyper destroy
[ "$(debugfs -R "cat count" "$fs/two.disk" 2>/dev/null)" -le $((two[1] + 1)) ] || fail "the disk is newer"
[ "$(debugfs -R "cat count" "$disk" 2>/dev/null)" -gt "${two[1]}" ] || fail "the guest does not write any more"

step "the monitor of one that was brought back: killed, and a new one takes over; the power button"
back "$fs/one"
pid=$(monitor_pid)
kill -9 "$pid"
wait_until 10 eval '! kill -0 '"$pid"' 2>/dev/null'
expect_state "running * unwatched -"
hyper rewatch
expect_state "running * watched -"
counts_on "${one[@]}"
checkpoint "$fs/watched"
[ "$(hyper shutdown run 60000)" = off ] || fail "does not end"
expect_state "off 0 watched guest powered off"
nothing_left

step "private RAM: two guests from one file, which nobody writes; saving them holds their RAM"
export HYPER_TOOL_RAM=$fs/one.ram HYPER_TOOL_PRIVATE=1
cp --reflink=always "$fs/one.disk" "$fs/other.img"
image=$fs/other.img write_domain 160
new_instance other
HYPER_TOOL_SAVED=$fs/one hyper start other "$work/vm.cfg"
hyper resume other
write_domain 160
back "$fs/one" private
counts_on "${one[@]}"
wait_until 60 ticked other
checkpoint "$fs/full"
full=("$before" "$after")
unchanged
hyper destroy
hyper destroy other
unset HYPER_TOOL_PRIVATE HYPER_TOOL_RAM
echo "full save: $(stat -c %s "$fs/full") bytes"

step "a full save, without a RAM file; and from there into one"
back "$fs/full"
counts_on "${full[@]}"
checkpoint "$fs/full2"
full=("$before" "$after")
hyper destroy
rm -f "$fs/full2.ram"
new_ram "$fs/full2.ram"
export HYPER_TOOL_RAM=$ram
back "$fs/full2"
counts_on "${full[@]}"
checkpoint "$fs/small"
[ "$(stat -c %s "$fs/small")" -lt 2000000 ] || fail "$(stat -c %s "$fs/small") bytes"
hyper destroy
nothing_left

step "paused instead of held: saved twice, the same; still paused, and can run"
back "$fs/one"
hyper pause
hyper save run "$fs/paused1"
expect_state "paused * watched -"
hyper save run "$fs/paused2"
cmp "$fs/paused1" "$fs/paused2"
rm "$fs/paused1" "$fs/paused2"
expect_exit 4 "let the guest run for a moment" hyper save run "$fs/paused3"
[ ! -e "$fs/paused3" ] || fail "a file is left"
hyper resume
counts_on "${one[@]}"
hyper pause
hyper save run "$fs/paused3"
hyper resume
ticks >"$work/ticks"
wait_until 20 eval '[ "$(last_tick)" -gt "$(tail -n 1 "$work/ticks")" ]'
expect_exit 1 "cannot create" hyper checkpoint run "$fs/nowhere/x"
expect_state "running * watched -"
hyper destroy

step "killed while it saves: the guest runs on"
unset HYPER_TOOL_RAM
back "$fs/full"
wait_until 60 ticked
for delay in 0.02 0.1 0.3; do
    rm -f "$fs/killed"
    "$tool" qemu checkpoint "$work/run" "$fs/killed" >/dev/null 2>&1 &
    client=$!
    sleep $delay
    kill -9 $client 2>/dev/null || true
    { wait $client; } 2>/dev/null || true
    before=$(last_tick)
    wait_until 20 eval '[ "$(last_tick)" -gt $((before + 3)) ]'
    expect_state "running * watched -"
done

step "no space for it: an error, no file, the guest runs on and can be saved elsewhere"
big=$fs
make_fs ext4 32M "$work/small"
fs=$big
expect_exit 1 "could not write the guest's state|No space" hyper checkpoint run "$work/small/x"
[ ! -e "$work/small/x" ] || fail "a file is left"
expect_state "running * watched -"
before=$(last_tick)
wait_until 20 eval '[ "$(last_tick)" -gt $((before + 3)) ]'
hyper checkpoint run "$fs/elsewhere"
hyper destroy
nothing_left

step "damaged, short, of another machine or version: refused, nothing left"
# refused CODE PATTERN STATE
refused() {
    new_instance
    HYPER_TOOL_SAVED=$3 expect_exit "$1" "$2" hyper start run "$work/vm.cfg"
    nothing_left
    expect_state "off 0 watched -"
}
export HYPER_TOOL_RAM=$ram
cp --reflink=always "$fs/one.ram" "$ram"
cp "$fs/one" "$fs/bad"
printf x | dd of="$fs/bad" bs=1 seek=100000 conv=notrunc status=none
refused 1 "damaged: it is not what was written" "$fs/bad"
head -c 200000 "$fs/one" >"$fs/short"
refused 1 "bytes long and is 200000 now" "$fs/short"
: >"$fs/nothing"
refused 1 "no complete saved state" "$fs/nothing"
refused 1 "No such file" "$fs/missing"
# As another version would have written it; the head has its place whatever is in it.
python3 - "$fs/one" "$fs/old" <<'P'
import re, sys
data = open(sys.argv[1], "rb").read()
version = re.search(rb'"qemu":"([0-9.]+)"', data).group(1)
other = re.sub(rb"^[0-9]", b"1", version)
open(sys.argv[2], "wb").write(data.replace(b'"qemu":"' + version, b'"qemu":"' + other, 1))
P
refused 4 "saved by QEMU 1[0-9.]+, and this is QEMU [0-9.]+, which may not load it rightly" "$fs/old"
# A stream that QEMU itself finds faulty, with a sum that is right.
python3 - "$fs/one" "$fs/faulty" <<'P'
import json, sys
data = open(sys.argv[1], "rb").read()
head = json.loads(data.split(b"\n")[1])
stream = bytearray(data[head["stream"]:])
stream[4:8] = b"\xff\xff\xff\xff"
total = 14695981039346656037
for i in range(0, len(stream), 8):
    word = int.from_bytes(stream[i:i + 8].ljust(8, b"\0"), "little")
    total = (total ^ word) * 1099511628211 % 2**64
head["sum"] = f"{total:016x}"
new = data.split(b"\n")[0] + b"\n" + json.dumps(head, separators=(",", ":")).encode() + b"\n"
open(sys.argv[2], "wb").write(new.ljust(head["stream"], b"\0") + bytes(stream))
P
refused 1 "QEMU cannot load the saved state: qemu-system-x86_64 failed with status 1: load of migration failed" "$fs/faulty"
(unset HYPER_TOOL_RAM; refused 4 "without its RAM, which was in a file" "$fs/one") || exit
write_domain 192
refused 4 "RAM file $ram has 167772160 bytes, and the domain's memory 201326592" "$fs/one"
truncate -s 192M "$ram"
refused 4 'it had "-m 160" where there is "-m 192" now' "$fs/one"
truncate -s 160M "$ram"
image=$disk write_domain 160 "vcpus = 2"
refused 4 'it had "-smp cpus=1,maxcpus=1" where there is "-smp cpus=2,maxcpus=2" now' "$fs/one"
write_domain 160
back "$fs/one"
counts_on "${one[@]}"
hyper destroy
nothing_left

step "a reboot after having been brought back: it boots again, in the same RAM"
back "$fs/one"
counts_on "${one[@]}"
HYPER_TOOL_SAVED='' python3 - "$work/run" <<'P'
import os, socket, sys
os.chdir(sys.argv[1])
s = socket.socket(socket.AF_UNIX)
s.connect("qmp.sock")
s.sendall(b'{"execute":"qmp_capabilities"}{"execute":"system_reset"}')
s.recv(4096)
P
wait_until 120 eval '[ "$(last_tick)" -lt "$(ticks | sort -n | tail -n 1)" ]'
expect_state "running * watched -"
hyper destroy
nothing_left
