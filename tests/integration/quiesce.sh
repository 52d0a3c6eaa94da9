#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# quiesce.sh: checkpoints of a guest that was brought to rest, by its agent (qemu-ga, and one of our own that hangs as it is
# told) and by commands around it. Whatever fails, hangs or is killed: the file systems are thawed, the second command has
# run, the guest writes on.
. "$(dirname "$0")/functions.sh"
requires strace
case ${ASAN_OPTIONS:-} in ?*) export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" ;; esac
make_fs xfs

# ---- commands, around a domain of the null hypervisor -----------------------------------------------------------------------

truncate -s 1M "$fs/null.img"
cat >"$work/null.cfg" <<C
name = "null"
type = "hvm"
memory = 64
disk = [ 'format=raw,vdev=xvda,access=rw,target=$fs/null.img' ]
C
cat >"$work/hook" <<'C'
#!/bin/sh
# hook FILE WORD: note it; some words are special
echo "$2" >>"$1"
case $2 in
no) echo "the database is away" >&2; exit 3 ;;
hang) trap '' TERM; echo $$ >"$1.pid"; exec sleep 60 ;;
esac
C
chmod +x "$work/hook"
baseline
# notes: what the commands noted; and forget it
notes() { tr '\n' ' ' <"$work/notes"; rm -f "$work/notes"; }
noted() { local n; n=$(notes); [ "$n" = "$1 " ] || fail "the commands noted \"$n\" instead of \"$1\""; }
consistency() { vmundo tree "$1" --json | python3 -c '
import json, sys
print([n["consistency"] for n in json.load(sys.stdin) if n["label"] == sys.argv[1]][0])' "$2"; }
no_checkpoint() { ! vmundo tree "$1" --json | grep -q "\"$2\"" || fail "there is a checkpoint $2"; }

step "commands"
vmundo run -q -H null "$work/null.cfg"
vmundo checkpoint -q null one --before "'$work/hook' $work/notes \"the  first\"" --after "$work/hook $work/notes last\ one"
noted "the  first last one"
[ "$(consistency null one)" = quiesced ] || fail "not quiesced, but $(consistency null one)"
vmundo checkpoint -q null two --after "$work/hook $work/notes only"
noted only
vmundo checkpoint null dry --dry-run --before "$work/hook x" --after "$work/hook y" | tee "$work/output"
grep -q "would run $work/hook" "$work/output" || fail "the dry run does not tell of the commands"
expect_exit 2 "no program /none" vmundo checkpoint null x --before /none
expect_exit 2 "closing ' is missing" vmundo checkpoint null x --before "'$work/hook"
expect_exit 2 "a program" vmundo checkpoint null x --before "  "

step "commands that fail, and that hang"
expect_exit 1 "before the checkpoint: .*hook failed with status 3: the database is away" \
    vmundo checkpoint null x --before "$work/hook $work/notes no" --after "$work/hook $work/notes after"
noted "no after"
expect_exit 1 "after the checkpoint: .*status 3" vmundo checkpoint null x --after "$work/hook $work/notes no"
noted no
expect_exit 1 "longer than 0.3 s" vmundo checkpoint null x --hook-timeout 0.3 --before "$work/hook $work/notes hang" \
    --after "$work/hook $work/notes after"
noted "hang after"
expect_exit 5 "agent" vmundo checkpoint null x --quiesce --after "$work/hook $work/notes after"
[ ! -e "$work/notes" ] || fail "a command was run in vain"
no_checkpoint null x

step "vmundo killed between them, and the process between them"
rm -f "$work/notes.pid"
{ strace -qq -e trace=ioctl -e inject=ioctl:signal=KILL:when=1 -o /dev/null "$VMUNDO" checkpoint null x \
    --before "$work/hook $work/notes before" --after "$work/hook $work/notes after" || true; } >"$work/output" 2>&1
wait_until 5 grep -q after "$work/notes"
noted "before after"
vmundo recover
no_checkpoint null x
hook_pid() { pgrep -P "$1" -f vmundo-hook; }
"$VMUNDO" checkpoint null x --before "$work/hook $work/notes hang" --after "$work/hook $work/notes after" >"$work/output" 2>&1 &
wait_until 5 [ -e "$work/notes.pid" ]
kill -KILL "$(hook_pid $!)"
! wait $! || fail "the process between the commands was killed, and nobody noticed"
grep -q "vmundo-hook.*killed" "$work/output" || fail "not told: $(cat "$work/output")"
kill -KILL "$(cat "$work/notes.pid")"
noted "hang after"
vmundo stop -q --force null
vmundo checkpoint -q null off --before "$work/hook $work/notes off"
[ ! -e "$work/notes" ] || fail "the commands run for a domain that is off"
vmundo drop -q null
no_traces commands

# ---- an agent in a guest -----------------------------------------------------------------------------------------------------

requires_guest
[ -x "$guest/agent/qemu-ga" ] || skip "the commands do what they should, but there is no qemu-ga for the guest"
image=$fs/disk.img
truncate -s 48M "$image"
mkdir "$work/disk"
cp -r "$guest/agent" "$work/disk/agent"
cat >"$work/disk/fake" <<'C'
# fake PORT HOW: an agent that answers nothing but "sync", or freezes and then nothing
exec 3<>"$1"
while :; do
    read -r line <&3 || { usleep 50000; continue; } # nobody is connected
    case $line in
    *guest-sync-delimited*) id=${line##*:}; printf '\377{"return": %s}\n' "${id%%\}*}" >&3 ;;
    *fsfreeze-freeze*)
        [ "$2" != freeze ] || { fsfreeze --freeze /mnt/0; echo '{"return": 1}' >&3; }
        while :; do sleep 1 3>&-; done
        ;;
    esac
done
C
mkfs.ext4 -q -F -E root_owner=0:0 -d "$work/disk" "$image"
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
say_limit=30
# real: start qemu-ga in the guest; fake HOW: the other; quiet: neither
quiet() { guest_say vm '[ ! -e /tmp/agent ] || kill -9 $(cat /tmp/agent); rm -f /tmp/agent'; }
real() {
    quiet
    guest_say vm "(cd /; exec /mnt/0/agent/ld-linux-x86-64.so.2 --library-path /mnt/0/agent /mnt/0/agent/qemu-ga \
        -p \$(ls /dev/vport*p1) -t /tmp -f /tmp/pid) >/dev/null 2>&1 & echo \$! >/tmp/agent"
}
fake() { quiet; guest_say vm "sh /mnt/0/fake \$(ls /dev/vport*p1) $1 >/dev/null 2>&1 & echo \$! >/tmp/agent"; }
writes() { guest_say vm "echo $1 >/mnt/0/state && sync" >/dev/null || fail "the guest cannot write"; }
clean() { ! dumpe2fs -h "$1" 2>/dev/null | grep -q needs_recovery; }
copy_of() { find "$fs/.vmundo" -name "disk.img@vm.*.$1.clone"; }

step "no agent"
vmundo run -q "$work/vm.cfg"
guest_say vm "load virtio_console; mkdir -p /tmp; until ls /dev/vport*p1; do usleep 50000; done" >/dev/null
expect_exit 1 "no agent in the guest answers" vmundo checkpoint vm x --quiesce --hook-timeout 1
# A signal does not end what is waited for.
expect_exit 1 "no agent in the guest answers" strace -qq -o /dev/null -e trace=poll -e inject=poll:error=EINTR:when=1+2 \
    "$VMUNDO" checkpoint vm x --quiesce --hook-timeout 1
writes 0

step "qemu-ga"
real
writes 1
vmundo checkpoint vm rest --quiesce --ram
vmundo checkpoint vm unrest
writes 2
[ "$(consistency vm rest) $(consistency vm unrest)" = "quiesced paused" ] || fail "$(consistency vm rest)"
clean "$(copy_of 2)" || fail "the file system in the checkpoint was not at rest"
! clean "$(copy_of 3)" || fail "the file system is always at rest: this test tests nothing"
step "back to RAM in which the file system was frozen, with a clock that was behind"
vmundo rollback vm rest
writes 3
wait_until 10 eval '[ $(($(date +%s) - $(guest_say vm "date +%s"))) -le 2 ]'

step "killed while they are frozen"
strace -qq -e signal=none -e trace=connect,sendto -o "$work/calls" "$VMUNDO" checkpoint -q vm traced --quiesce
# the connection by which the guest is to be held
nth=$(awk '/^connect/ { n++ } /freeze/ { print n + 1; exit }' "$work/calls")
{ strace -qq -e trace=connect -e "inject=connect:signal=KILL:when=$nth" -o /dev/null "$VMUNDO" checkpoint vm x --quiesce ||
    true; } >"$work/output" 2>&1
writes 4
vmundo recover
no_checkpoint vm x
step "the monitor killed while they are frozen"
lock=$(echo "$VMUNDO_STATE_DIR"/domains/vm/run.*/monitor.lock)
frozen() { grep -q '"frozen": *true' "$lock"; }
strace -qq -e trace=connect -e "inject=connect:delay_enter=2000000:when=$nth" -o /dev/null "$VMUNDO" checkpoint vm x \
    --quiesce >"$work/output" 2>&1 &
wait_until 5 frozen
sleep 0.5 # the agent has it done by now
kill -KILL "$(python3 -c 'import json, sys; print(json.loads(open(sys.argv[1]).read())["pid"])' "$lock")"
! wait $! || fail "a checkpoint without a monitor"
vmundo recover
wait_until 5 eval '! frozen'
writes 4

step "an agent that hangs"
fake hang
expect_exit 1 "does not answer any more" vmundo checkpoint vm x --quiesce --hook-timeout 3
writes 4
expect_exit 4 "still to be thawed" vmundo checkpoint vm x --quiesce
step "one that freezes and never thaws"
real
wait_until 15 vmundo checkpoint -q vm again --quiesce 2>"$work/output"
fake freeze
expect_exit 1 "may still be frozen" vmundo checkpoint vm x --quiesce
no_checkpoint vm x
real
writes 5
vmundo stop -q --force vm
vmundo drop -q vm
no_traces agent
