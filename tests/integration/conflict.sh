#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Two commands on one domain at the same moment: the second gets exit 4 and the name of the first. Different domains do
# not wait for each other.
. "$(dirname "$0")/functions.sh"
requires_guest
make_fs xfs
make_disk "$fs/a.img" 32M state=a
make_disk "$fs/b.img" 32M state=b
make_config "$work/a.cfg" a "file:$fs/a.img,xvda,w"
make_config "$work/b.cfg" b "file:$fs/b.img,xvda,w"
baseline
vmundo run "$work/a.cfg"

step "while stop waits for the guest"
vmundo stop --timeout 8 a >"$work/stop" 2>&1 &
stop=$!
wait_until 5 eval 'grep -qs stop "$VMUNDO_STATE_DIR/locks/a"'
holder=$(sed -n 's/.*(process \([0-9]*\)).*/\1/p' "$VMUNDO_STATE_DIR/locks/a")
for command in "rollback a" "drop a" "keep a" "start a" "stop a" "run $work/a.cfg"; do
    # shellcheck disable=SC2086 # words
    expect_exit 4 "stop.*process $holder" vmundo $command
done
expect_exit 0 "a" vmundo list
expect_exit 0 "running|stop" vmundo status a
vmundo run "$work/b.cfg"
kill -9 "$holder"
wait $stop || true

step "the killed one holds nothing back"
vmundo rollback a
guest_has a state a
guest_has b state b

step "the same image for two domains: one has it kept, the other then has a branch of what no longer is"
make_config "$work/c.cfg" c "file:$fs/a.img,xvda,w"
vmundo run -H null "$work/c.cfg"
echo kept | dd of="$(field c disks.0.branch)" bs=1 seek=20000000 conv=notrunc status=none
vmundo stop --force c
vmundo keep c
guest_has a state a
guest_say a "echo mine >state"
guest_has a state mine
vmundo stop --force a
expect_exit 5 "changed" vmundo keep a
vmundo drop a

step "an overlay needs its origin as it was: no keep while another domain has one"
vmundo run -H null -m qcow2 "$work/a.cfg"
vmundo run -H null -m qcow2 "$work/c.cfg"
vmundo stop --force c
remember "$fs/a.img"
expect_exit 4 "\ba\b" vmundo keep c
expect_exit 4 "\ba\b" vmundo keep --force c
unchanged
vmundo drop a
vmundo keep c
vmundo drop b
no_traces drop
