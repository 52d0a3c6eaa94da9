#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A domain with an instance in reserve: a rollback to the checkpoint that it has loaded (the last one that was made or gone
# back to), or while it is recorded to any, takes it, and finds RAM and disks of one instant in it; it is made again, ends with
# its domain, and one that is lost is no failure.
. "$(dirname "$0")/functions.sh"
requires_guest
requires strace
with_helpers reserve recorder
make_fs xfs 4G
image=$fs/disk.img
make_disk "$image" 32M state=zero
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
remember "$image"
baseline

now() { guest_now vm "$@"; }
is() { guest_is vm "$@"; }
qemus() { named qemu-system-x86; }
# The QEMU that waits, if there is one
waiting() { qemus | grep -vx "$(field vm pid)" || true; }
has_reserve() { [ "$(waiting | wc -l)" = 1 ] && [ -z "$(named vmundo-reserve)" ]; }
# by_reserve ARGUMENT...: that rollback uses what waits
by_reserve() {
    wait_until 20 has_reserve
    local reserve
    reserve=$(waiting)
    vmundo rollback vm "$@" 2>&1 | tee "$work/output"
    ! grep -q "of no use" "$work/output" || fail "the reserve was of no use"
    [ "$(field vm pid)" = "$reserve" ] || fail "another one runs than the one in reserve"
}
# not_by_reserve ARGUMENT...
not_by_reserve() {
    local reserve
    reserve=$(waiting)
    vmundo rollback vm "$@"
    [ "$(field vm pid)" != "$reserve" ] || fail "the one in reserve runs"
}

step "to the last checkpoint with RAM, again and again, and to another one without it"
vmundo run --reserve "$work/vm.cfg"
now one
[ -z "$(waiting)" ] || fail "a reserve without a checkpoint to go back to"
vmundo checkpoint vm one --ram
by_reserve one
is one one
now two
wait_until 20 has_reserve
first=$(waiting)
vmundo checkpoint vm two --ram
now three
wait_until 20 eval '[ "$(waiting)" != '"$first"' ] && has_reserve'
by_reserve two
is two two
now four
wait_until 20 has_reserve
not_by_reserve one
is one one
now five
by_reserve one
is one one
wait_until 20 has_reserve
not_by_reserve two
is two two
now six
by_reserve two
is two two
vmundo tree vm
unchanged

step "it has loaded what is removed"
now three
vmundo checkpoint vm three --ram
now four
wait_until 20 has_reserve
first=$(waiting)
vmundo prune vm three
[ ! -d "/proc/$first" ] || fail "what is removed is still in reserve"
by_reserve two
is two two

step "recorded: to any"
wait_until 20 has_reserve
first=$(waiting)
vmundo record vm --every 5s
wait_until 20 eval '[ "$(waiting)" != '"$first"' ] && has_reserve'
by_reserve one
is one one
wait_until 20 has_reserve
by_reserve two
is two two
vmundo record vm --stop
vmundo prune vm --recorded
wait_until 20 has_reserve

step "its domain dies in the moment of the rollback"
for wait in 0 0.2 0.45; do
    by_reserve two
    wait_until 20 has_reserve
    kill -9 "$(field vm pid)"
    sleep $wait
    vmundo rollback vm two
    is two two
done

step "not to what has no RAM, nor where it is to boot"
wait_until 20 has_reserve
now five
by_reserve two
wait_until 20 has_reserve
not_by_reserve --undo
is five
wait_until 20 has_reserve
not_by_reserve one --boot
is one
wait_until 20 has_reserve
not_by_reserve
is zero

step "lost: its QEMU, or its monitor; recover makes another one, once"
wait_until 20 has_reserve
kill -9 "$(waiting)"
not_by_reserve one
is one one
wait_until 20 has_reserve
reserve=$(waiting)
kill -9 "$(awk '{ print $4 }' "/proc/$reserve/stat")"
wait_until 20 eval '[ "$(awk "{ print \$4 }" /proc/'"$reserve"'/stat)" = '"$REAPER_PID"' ]'
not_by_reserve two
is two two
[ ! -d "/proc/$reserve" ] || fail "a reserve without a monitor is left"
wait_until 20 has_reserve
reserve=$(waiting)
kill -9 "$reserve"
vmundo recover
has_reserve || fail "recover has made no reserve"
expect_exit 0 "nothing to recover" vmundo recover
by_reserve two
is two two

step "killed while it is made"
wait_until 20 has_reserve
killed=0
for n in 1 4 9; do
    rc=0
    kill -9 "$(waiting)"
    { timeout 60 strace -qq -e signal=none -e "inject=fsync,fdatasync,clone3,pwrite64,fsetxattr:signal=KILL:when=$n" -o /dev/null \
        "$VMUNDO_LIBEXEC_DIR/vmundo-reserve" "$VMUNDO_STATE_DIR" vm; } >"$work/output" 2>&1 || rc=$?
    [ $rc != 137 ] || killed=$((killed + 1))
    vmundo recover >"$work/output" 2>&1
    has_reserve || fail "killed at $n: recover has made no reserve"
    expect_exit 0 "nothing to recover" vmundo recover
    [ "$(find "$fs/.vmundo" -name '*.ram' | wc -l)" = 4 ] || fail "killed at $n: RAM files $(ls "$fs/.vmundo")"
done
[ $killed -ge 2 ] || fail "it was not killed"

step "killed while it is used: old or new, and whole"
old=0 new=0
for point in pwrite64:4 fdatasync:1 sendmsg:2 sendmsg:4 unlinkat:2; do
    wait_until 20 has_reserve
    now later
    { timeout 60 strace -qq -e signal=none -e "inject=${point%:*}:signal=KILL:when=${point#*:}" -o /dev/null \
        "$VMUNDO" rollback vm two; } >"$work/output" 2>&1 || true
    vmundo recover >"$work/output" 2>&1
    expect_exit 0 "nothing to recover" vmundo recover
    case $(guest_say vm "cat state /memory" | tr '\n' ' ') in
    'later later ') old=$((old + 1)) ;;
    'two two ') new=$((new + 1)) ;;
    *) fail "killed at $point: neither the old nor the new state" ;;
    esac
done
[ $old -ge 1 ] && [ $new -ge 1 ] || fail "$old times the old state, $new times the new one: this tests nothing"
by_reserve two
is two two

step "it ends with its domain"
wait_until 20 has_reserve
guest_tell vm poweroff
wait_state vm off
wait_until 20 eval '[ -z "$(qemus)" ]'
vmundo start vm
is two
wait_until 20 has_reserve
vmundo stop --force vm
[ -z "$(qemus)" ] || fail "a reserve of a domain that was stopped"
[ "$(find "$fs/.vmundo" -name '*.ram' | wc -l)" = 2 ] || fail "RAM files are left: $(ls "$fs/.vmundo")"
vmundo start vm
by_reserve two
is two two
wait_until 20 has_reserve
vmundo drop vm
unchanged
no_traces drop
expect_exit 0 "nothing to recover" vmundo recover
