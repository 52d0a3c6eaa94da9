#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Images that something else uses, and origins that have changed meanwhile.
. "$(dirname "$0")/functions.sh"
make_fs xfs
image=$fs/data.img
make_disk "$image" 32M state=known
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
baseline
remember "$image"

step "attached to a loop device"
loop=$(losetup -f --show "$image")
own_loop "$loop"
expect_exit 4 "$loop" vmundo run -H null "$work/vm.cfg"
vmundo run -H null --allow-in-use "$work/vm.cfg"
[ "$(field vm disks.0.consistency)" = crash ] || fail "consistency $(field vm disks.0.consistency) instead of crash"
vmundo stop --force vm
expect_exit 4 "$loop" vmundo keep vm
detach "$loop"
vmundo drop vm
unchanged
no_traces loop

step "open for writing in another process"
sleep 300 9>>"$image" &
sleeper=$!
expect_exit 4 "$sleeper" vmundo run -H null "$work/vm.cfg"
kill $sleeper
wait $sleeper || true
vmundo run -H null "$work/vm.cfg"
[ "$(field vm disks.0.consistency)" = off ] || fail "consistency $(field vm disks.0.consistency) instead of off"

step "a reader is no hindrance, for run; for keep it is none either, or is named"
vmundo drop vm
sleep 300 9<"$image" &
sleeper=$!
vmundo run -H null "$work/vm.cfg"
kill $sleeper
wait $sleeper || true

step "the origin was changed: keep refuses, unless forced"
vmundo stop --force vm
unchanged
echo changed | dd of="$image" bs=1 seek=20000000 conv=notrunc status=none
expect_exit 5 "$image|changed" vmundo keep vm
[ "$(field vm disks.0.origin_changed)" = True ] || fail "status does not say that the origin has changed"
vmundo keep --force vm
unchanged
no_traces "keep --force"
