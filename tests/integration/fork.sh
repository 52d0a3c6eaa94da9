#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Forks of a real guest: running on from one instant with the same RAM, each with disks of its own; they outlive their
# parent and its checkpoints, go back to where they were forked, and are kept without touching the origin.
. "$(dirname "$0")/functions.sh"
requires_guest
requires ip
make_fs xfs 4G
image=$fs/disk.img
make_disk "$image" 32M state=zero
config_tail="uuid = \"11111111-2222-4333-8444-555555555555\"
vif = [ 'mac=00:16:3e:00:00:01,bridge=nowhere', 'model=e1000' ]"
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
remember "$image"
baseline

now() { guest_now "$@"; }
is() { guest_is "$@"; }
# once KEY PATTERN NAME...: what matches in the last line about KEY of the configurations that these were started with;
# each has another
once() {
    local key=$1 pattern=$2 name
    shift 2
    for name; do
        grep -h "^$key" "$VMUNDO_STATE_DIR/domains/$name"/run.*/domain.cfg | tail -n 1 | grep -oE "$pattern"
    done >"$work/found"
    [ -z "$(sort "$work/found" | uniq -d)" ] || fail "not only once: $(cat "$work/found")"
    [ "$(wc -l <"$work/found")" -ge $# ] || fail "no $pattern: $(cat "$work/found")"
}
# own_ram NAME: KiB of the guest's RAM that nobody shares
own_ram() {
    python3 - "$(field "$1" pid)" <<'P'
import sys
own = wanted = 0
for line in open(f"/proc/{sys.argv[1]}/smaps"):
    words = line.split()
    if not words[0].endswith(":"):
        begin, end = (int(n, 16) for n in words[0].split("-"))
        wanted = end - begin == 128 << 20
    elif wanted and words[0] == "Anonymous:":
        own = int(words[1])
print(own)
P
}

step "of a checkpoint with RAM: they run on from that instant, and apart"
vmundo run --net user "$work/vm.cfg"
now vm one
vmundo checkpoint vm one --ram
now vm two
expect_exit 0 "would start vm-3 with qemu" vmundo fork vm@one --count 3 --dry-run
expect_exit 3 "no checkpoint 'none'" vmundo fork vm@none
expect_exit 2 "bad name" vmundo fork vm@one --name ../x
expect_exit 4 "'vm' is in use" vmundo fork vm@one --name vm
vmundo fork vm@one --count 2 --json >"$work/json"
python3 -c 'import json, sys; assert json.load(sys.stdin)["made"] == ["vm-1", "vm-2"]' <"$work/json"
own=$(own_ram vm-1)
[ "$own" -gt 0 ] && [ "$own" -lt 20000 ] || fail "vm-1 has $own KiB of RAM for itself"
vmundo rollback vm one
for name in vm vm-1 vm-2; do is $name one one; done
for name in vm-1 vm-2; do now $name $name; done
for name in vm-1 vm-2; do is $name $name $name; done
is vm one one
once uuid '".*"' vm vm-1 vm-2
once vif 'mac=[0-9a-f:]*' vm vm-1 vm-2
[ "$(field vm-1 parent)" = vm@one ] || fail "what vm-1 was forked from: $(field vm-1 parent)"
tr '\0' '\n' <"/proc/$(field vm-1 pid)/cmdline" | grep -q '^user,.*restrict=on' || fail "its network leads somewhere"

step "names that are taken are left out; a network that is wanted"
expect_exit 0 "go on with its network" vmundo fork vm@one --network
tr '\0' '\n' <"/proc/$(field vm-3 pid)/cmdline" | grep -q '^user,id=net0$' || fail "its network leads nowhere"
vmundo drop vm-3

step "back to where it was forked; a checkpoint of its own, with RAM, and a fork of that"
vmundo rollback vm-1
is vm-1 one one
now vm-1 own
vmundo checkpoint vm-1 own --ram
expect_exit 5 "is where vm-1 was forked" vmundo prune vm-1 fork
vmundo fork vm-1@own --name deep
is deep own own
vmundo rollback vm-1
vmundo rollback vm-1 own
is vm-1 own own
vmundo drop deep

step "the checkpoint goes, and the parent: the forks stay what they are"
vmundo prune vm one
vmundo rollback vm-2
is vm-2 one one
expect_exit 0 "vm: checkpoint|forked 2 times" vmundo fork vm --count 2 --boot --name cold
is cold-1 one
vmundo drop cold-2
vmundo drop vm
vmundo rollback vm-2
is vm-2 one one
vmundo stop --force vm-2
vmundo start vm-2
is vm-2 one

step "of one that is off: they boot"
vmundo stop --force vm-2
vmundo fork vm-2
[ "$(field vm-2 state)" = off ] || fail "vm-2 runs"
is vm-2-1 one
now vm-2-1 three
vmundo rollback vm-2-1
is vm-2-1 one

step "kept: not in the origin, while others have it"
vmundo stop --force vm-1
expect_exit 5 "fork of vm@one.*is a disk of .*keep vm-1 --to" vmundo keep vm-1
mkdir "$fs/there"
expect_exit 4 "is a .*/there already" vmundo keep vm-1 --to "$fs/there"
expect_exit 0 "would make images of its disks in $fs/kept" vmundo keep vm-1 --to "$fs/kept" --dry-run
[ ! -e "$fs/kept" ] || fail "a dry run has made something"
vmundo keep vm-1 --to "$fs/kept"
expect_exit 3 "no domain" vmundo status vm-1
[ "$(debugfs -R 'cat state' "$fs/kept/xvda.img" 2>/dev/null)" = own ] || fail "what was kept"
unchanged
vmundo run --net user "$fs/kept/vm-1.cfg"
is vm-1 own
unchanged

step "nothing is left of them"
for name in vm-1 vm-2 vm-2-1 cold-1; do vmundo drop $name; done
rm -r "$fs/kept" "$fs/there"
unchanged
no_traces drop

step "on a bridge: their network cards lead nowhere, unless that is wanted"
bridge=vmtest$$
ip link add "$bridge" type bridge
cleanup ip link del "$bridge"
sed -i "s/nowhere/$bridge/; s/'model=e1000'/'bridge=$bridge'/" "$work/vm.cfg"
on_bridge() { ip -o link show master "$bridge" | wc -l; }
vmundo run -q "$work/vm.cfg"
vmundo checkpoint -q vm one --ram
vmundo fork vm@one
[ "$(on_bridge)" = 2 ] || fail "on the bridge: $(on_bridge)"
expect_exit 0 "go on with its network" vmundo fork vm@one --network
[ "$(on_bridge)" = 4 ] || fail "on the bridge: $(on_bridge)"

step "one that cannot be started: none of them, and no checkpoint that was made for them"
for name in vm-1 vm-2; do vmundo drop -q $name; done
traces | grep -v saved.json >"$work/before"
expect_exit 1 "vm-[12]: .*vmundo-monitor" env VMUNDO_LIBEXEC_DIR=/nowhere "$VMUNDO" fork vm@one --count 2
expect_exit 1 "vm-[12]: .*vmundo-monitor" env VMUNDO_LIBEXEC_DIR=/nowhere "$VMUNDO" fork vm --count 2
traces | grep -v saved.json >"$work/after"
diff "$work/before" "$work/after" || fail "something is left"
vmundo drop vm
no_traces failed
expect_exit 0 "nothing to recover" vmundo recover
