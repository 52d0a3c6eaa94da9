#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU, its monitor, the command that holds the guest: each killed, alone and together. The guest's ticks on its console
# tell whether it runs.
. "$(dirname "$0")/common.sh"
requires qemu-system-x86_64 python3

ticks() { grep -c TICK "$(console_log)" || true; }
runs() {
    local before
    before=$(ticks)
    wait_until 20 eval '[ "$(ticks)" -gt '"$before"' ]'
}
stands_still() {
    local before
    sleep 0.2
    before=$(ticks)
    sleep 0.8
    [ "$(ticks)" = "$before" ] || fail "the guest runs"
}
kill_monitor() {
    local pid
    pid=$(monitor_pid)
    kill -9 "$pid"
    wait_until 10 gone "$pid"
}
gone() { ! kill -0 "$1" 2>/dev/null; }

step "QEMU is killed"
sector_domain t
boot
runs
kill -9 "$(qemu_pid)"
wait_is "off 0 watched qemu-system-x86_64 was killed by signal 9"
nothing_left
boot
kill -TERM "$(qemu_pid)"
wait_is "off 0 watched QEMU was ended by a signal"
nothing_left

step "the monitor is killed: the guest runs on, unwatched, and a new monitor takes over"
boot
runs
monitor=$(monitor_pid)
kill_monitor
expect_state "running * unwatched -"
expect_state "running * unwatched -" glance
runs
hyper pause
expect_state "paused * unwatched -"
hyper rewatch
[ "$(monitor_pid)" != "$monitor" ] || fail "no new monitor"
expect_state "paused * watched -"
expect_state "paused * watched -" glance
hyper rewatch
hyper resume
runs
step "and watches as well as the first one"
echo | hyper hold run 5000 >"$work/held"
grep -q "in time" "$work/held" || fail "cannot hold: $(cat "$work/held")"
[ "$(hyper shutdown run 60000)" = off ] || fail "does not end"
expect_state "off 0 watched guest powered off"
nothing_left

step "start of one whose monitor was killed: watched again"
boot
kill_monitor
hyper start run "$work/vm.cfg"
expect_state "running * watched -"
kill -9 "$(qemu_pid)"
wait_is "off 0 watched qemu-system-x86_64 ended without a word"
nothing_left

step "the monitor is killed and the guest ends: nobody saw how"
sector_domain p
start
kill_monitor
hyper resume
wait_is "off 0 watched ended together with its monitor*"
nothing_left
sector_domain c 'on_crash = "preserve"'
start
kill_monitor
hyper resume
wait_is "paused * unwatched guest crashed"
hyper rewatch
expect_state "paused * watched guest crashed"
hyper destroy
nothing_left
sector_domain t
boot
kill -9 "$(monitor_pid)" "$(qemu_pid)"
wait_is "off 0 watched ended together with its monitor*"
hyper destroy
nothing_left

step "destroy when the files that say who lives are gone, or lie"
boot
rm "$work/run/qemu.pid"
hyper destroy
nothing_left
boot
sleep 1000 &
innocent=$!
cleanup kill $innocent
echo "{\"pid\":$innocent,\"start\":1,\"since\":1}" >"$work/run/qemu.pid"
kill_monitor
hyper destroy
kill -0 $innocent || fail "destroy killed a stranger"
kill $innocent
wait $innocent || true
nothing_left

step "a guest is held, and let go in time"
boot
runs
mkfifo "$work/in"
hold() { # MS
    # The client must not see our end of the pipe as its own.
    "$tool" qemu hold "$work/run" "$1" <"$work/in" >"$work/held" 2>&1 8>&- &
    client=$!
    exec 8>"$work/in"
    wait_until 10 grep -q "^held" "$work/held"
}
let_go() {
    echo >&8
    exec 8>&-
    wait $client
}
hold 60000
expect_state "paused * watched -"
stands_still
expect_exit 4 "another command holds the guest" hyper hold run 1000
let_go
grep -q "^in time" "$work/held" || fail "$(cat "$work/held")"
runs

step "held for too long: it runs by itself, and the holder learns it"
hold 500
wait_is "running * watched -"
let_go
grep -q "^too late" "$work/held" || fail "$(cat "$work/held")"
runs

step "somebody else lets it run: the holder learns that too"
hold 60000
hyper resume
let_go
grep -q "^too late" "$work/held" || fail "$(cat "$work/held")"
runs

step "the command that holds it is killed: it runs"
hold 60000
kill -9 $client
{ wait $client; } 2>/dev/null || true
exec 8>&-
runs

step "the monitor is killed as well: it runs as soon as there is a new one"
hold 60000
kill -9 "$(monitor_pid)" $client
{ wait $client; } 2>/dev/null || true
exec 8>&-
expect_state "paused * unwatched -"
stands_still
hyper rewatch
runs
expect_state "running * watched -"

step "a guest that was paused before is not let run"
hyper pause
hold 60000
let_go
grep -q "^in time" "$work/held" || fail "$(cat "$work/held")"
expect_state "paused * watched -"
stands_still

step "QEMU hangs: nobody waits for ever, the state is what can be known, and it can be ended"
hyper resume
kill -STOP "$(qemu_pid)"
begun=$SECONDS
for ((i = 0; i < 30; i++)); do
    hyper state >"$work/state.$i" &
    states[i]=$!
done
wait "${states[@]}"
for ((i = 0; i < 30; i++)); do
    grep -q "^running" "$work/state.$i" || fail "$(cat "$work/state.$i")"
done
expect_exit 1 "(does|did) not answer" hyper resume
expect_exit 1 "did not answer" hyper hold run 1000
[ $((SECONDS - begun)) -lt 30 ] || fail "that took $((SECONDS - begun)) s"
hyper destroy
nothing_left
sector_domain t
boot

step "nonsense on the control socket"
python3 - "$work/run/control.sock" <<'P'
import json, os, socket, sys
os.chdir(os.path.dirname(sys.argv[1]))
def ask(*lines):
    s = socket.socket(socket.AF_UNIX)
    s.connect("control.sock")
    s.settimeout(10)
    try:
        for line in lines:
            s.sendall(line)
        return s.recv(4096)
    except (ConnectionResetError, BrokenPipeError):
        return b""
for line in b"\n", b"hello\n", b"[]\n", b"{}\n", b'{"hold": "x"}\n', b'{"hold": 0}\n', b'{"hold": 999999999}\n':
    answer = json.loads(ask(line))
    assert "error" in answer, (line, answer)
assert ask(b"x" * 10000) == b""
crowd = []
for i in range(20):
    s = socket.socket(socket.AF_UNIX)
    s.connect("control.sock")
    crowd.append(s)
for s in crowd[:13]:
    s.close()
assert json.loads(ask(b'{"release": true}\n')) == {"ok": True, "held": False}
P
expect_state "running * watched -"
hyper destroy
nothing_left
