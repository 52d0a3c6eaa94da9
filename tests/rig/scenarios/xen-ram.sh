# SPDX-License-Identifier: LGPL-2.1-or-later
# A PV guest on a thin volume, checkpointed with its RAM while it runs: going back gives RAM and disk of one instant, running
# on. A saved state of another checkpoint is refused. Killed while it saves, the guest runs again.
# limit: 600
new_vg xram 500
lvcreate -qq -y -L 300M -T xram/pool
lvcreate -qq -y -V 16M -T xram/pool -n disk
guest_cfg ram phy:/dev/xram/disk,xvda,w
sed -i 's/^memory.*/memory = 96/' "$W/ram.cfg"
# now TEXT: the guest has it on its disk and in its RAM; is TEXT [RAM]: what it finds there
now() { guest ram raw xvda 64 1 "$1" && guest ram remember "$1"; }
is() {
    same "$(guest ram rawread xvda 64 | tr -d '\0')" "$1" "on the disk"
    same "$(guest ram recall)" "${2:-}" "in RAM"
}
saved() { echo "$VMUNDO_STATE_DIR/domains/ram/checkpoints/$1.saved"; }

vmundo run -q "$W/ram.cfg"
guest_open ram
now one
say "checkpoint with RAM"
vmundo checkpoint --ram ram first
is one one
now two
vmundo checkpoint --ram ram second
vmundo checkpoint ram disks
vmundo tree ram
now three
say "back to the first: it runs on, from there"
vmundo rollback ram first
guest_open ram
is one one
now four
vmundo rollback ram second
guest_open ram
is two two
vmundo status ram | grep -q running || fail "it does not run"
say "disks only: it boots"
vmundo rollback -q ram disks
guest_open ram
is two
say "what does not belong together is refused"
ids=$(vmundo tree --json ram | awk -F'[:,]' '/"id"/ {id = $2 + 0} /"label": "(first|second)"/ {print id}')
read -r a b <<<"$(echo $ids)"
mv "$(saved "$a")" "$W/kept"
cp "$(saved "$b")" "$(saved "$a")"
refuses 4 "another checkpoint.*--boot" vmundo rollback ram first
truncate -s -5000 "$(saved "$a")"
refuses 1 "no complete saved state" vmundo rollback ram first
mv "$W/kept" "$(saved "$a")"
guest_open ram
is two
vmundo rollback -q --boot ram first
guest_open ram
is one

say "paused by somebody else: disks only, and it stays so"
xl pause ram
refuses 4 "paused, and Xen can only save one that runs" vmundo checkpoint --ram ram no
vmundo checkpoint -q ram paused
xl list ram | grep -qE " --p--- " || fail "it is not paused any more: $(xl list)"
xl unpause ram

say "killed while it saves"
guest_open ram
now five
vmundo checkpoint -q --ram ram killed &
until_true 60 pgrep -f "xl save -p" >/dev/null
kill -9 $!
wait $! || true
until_true 120 eval '! pgrep -f "xl save -p" >/dev/null'
until_true 20 eval 'xl list ram | grep -qE " [r-][b-]---- "'
vmundo recover
vmundo tree ram | grep -q killed && fail "a checkpoint that was cut off is shown"
guest_open ram
is five five
vmundo drop -q ram
no_traces xram
! pgrep -f vmundo-xen-hold >/dev/null || fail "a holder is left"
say done
