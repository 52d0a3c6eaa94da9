#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An instance from start to end, as it should be: paused first, then running, console, pause, power button.
. "$(dirname "$0")/common.sh"
requires_guest
domain

step "started: all is there, and not one instruction has run"
start
expect_state "paused * watched -"
expect_state "paused * watched -" glance
hyper start run "$work/vm.cfg"
[ "$(processes)" = "$(monitor_pid)" ] || fail "processes: $(processes)" # and QEMU below it
sleep 0.3
[ ! -s "$(console_log)" ] || fail "the guest runs already"
tr '\0' '\n' <"/proc/$(qemu_pid)/cmdline" | grep -qxE "on,obsolete=deny,elevateprivileges=(allow|deny),spawn=deny,resourcecontrol=deny" ||
    fail "no sandbox"
# has PID FIELD VALUE: of /proc/PID/status
has() { [ "$(awk -v field="$2:" '$1 == field {print $2}' "/proc/$1/status")" = "$3" ] || fail "process $1: $2 is not $3"; }
has "$(qemu_pid)" Seccomp 2
has "$(qemu_pid)" NoNewPrivs 1
has "$(qemu_pid)" CapPrm 0000000000000000
has "$(monitor_pid)" NoNewPrivs 1
if [ "$(id -u)" = 0 ]; then
    nobody=$(id -u vmundo-qemu 2>/dev/null || id -u nobody)
    for id in Uid Gid; do [[ $(grep "^$id:" "/proc/$(qemu_pid)/status") != *[[:space:]]0* ]] || fail "QEMU is root"; done
    has "$(qemu_pid)" Uid "$nobody"
    has "$(monitor_pid)" CapEff 0000000000000020 # to end QEMU
fi
[ "$(stat -c %a "$work"/run/*.sock "$work"/run/*.log "$work"/run/*.lock | sort -u)" = 600 ] || fail "open to others"

step "a shell that waits for all output of the command does not wait for the domain"
new_instance other
domain
# shellcheck disable=SC2034 # what matters is that this ends
output=$(timeout 60 "$tool" qemu start "$work/other" "$work/vm.cfg" 2>&1 9>&1) || fail "hangs"
hyper destroy other

step "the console, before the guest runs; one client at a time"
mkfifo "$work/in"
hyper console run <"$work/in" >"$work/out" &
client=$!
exec 8>"$work/in"
wait_until 10 grep -q connected "$work/out"
expect_exit 4 "^4 process [0-9]+ has the console already$" hyper console
exec 8>&-
wait $client
hyper console </dev/null >"$work/out"

step "it runs"
hyper resume
hyper resume
expect_state "running * watched -"
wait_said "GUEST: ready"
wait_is "running * watched -" glance

step "the monitor is small, asleep, and deaf to hang-ups"
rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$(monitor_pid)/status")
echo "monitor: $rss KiB resident"
grep -q libasan "/proc/$(monitor_pid)/maps" || [ "$rss" -lt 5120 ] || fail "the monitor has $rss KiB resident"
kill -HUP "$(monitor_pid)"
kill -TERM "$(monitor_pid)"
kill -INT "$(monitor_pid)"
expect_state "running * watched -"

step "a glance costs little"
us=$(hyper time run 2000)
echo "glance: $us µs"
[ "$us" -lt 2000 ] || fail "a glance takes $us µs"

step "paused and running again"
hyper pause
hyper pause
expect_state "paused * watched -"
expect_exit 4 "paused .*let it run, or use force" hyper shutdown run 1000
hyper resume
expect_state "running * watched -"

step "the power button"
[ "$(hyper shutdown run 60000)" = off ] || fail "does not end"
said "GUEST: power button" || fail "another end than the power button's"
nothing_left
expect_state "off 0 watched guest powered off"
expect_state "off 0 watched guest powered off" glance
[ "$(hyper shutdown run 60000)" = off ] || fail "not off"
expect_exit 4 "the domain is off" hyper resume
expect_exit 4 "the domain is off" hyper pause
expect_exit 4 "the domain is off" hyper console
expect_exit 4 "the domain is off" hyper hold run 1000
expect_exit 4 "the domain is off" hyper rewatch

step "an ended instance can be started again in its directory, and be destroyed, twice"
hyper start run "$work/vm.cfg"
expect_state "paused * watched -"
hyper destroy
nothing_left
hyper destroy
expect_state "off 0 watched -"
