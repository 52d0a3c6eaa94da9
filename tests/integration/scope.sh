#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Where systemd manages the system, a domain's QEMU, its monitor and its recorder have scopes of their own, and live on when
# the session ends in which the command was given. A real systemd with its bus runs for this, in namespaces of its own.
. "$(dirname "$0")/functions.sh"
requires_guest
requires busctl dbus-daemon nsenter unshare systemd-run
[ -x /lib/systemd/systemd ] || skip "systemd is not installed"
with_helpers recorder
make_fs xfs 3G
make_disk "$fs/disk.img" 32M
make_config "$work/vm.cfg" vm+1 "file:$fs/disk.img,xvda,w"
baseline

cat >"$work/boot" <<'S'
#!/bin/bash
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /etc/systemd/system
mkdir -p /run/systemd/system/dbus.service.d /run/systemd/system/dbus.socket.d
printf '[Unit]\nDefaultDependencies=no\n' | tee /run/systemd/system/dbus.{service,socket}.d/alone.conf >/dev/null
printf '[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\nAfter=dbus.socket\n' >/run/systemd/system/alone.target
exec env -i PATH="$PATH" container=vmundo /lib/systemd/systemd --system --unit=alone.target --log-target=null --show-status=no
S
chmod +x "$work/boot"
unshare --pid --mount --cgroup --uts --ipc --fork --kill-child "$work/boot" >"$work/systemd.log" 2>&1 &
outside=$!
cleanup kill -9 $outside
manager() { cat "/proc/$outside/task/$outside/children" 2>/dev/null | tr -d ' '; }
inside() { nsenter -t "$(manager)" -m -p -C -u -i -- "$@"; }
up() { [ "$(manager)" ] && inside busctl --quiet --timeout=2 call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.DBus.Peer Ping; }
for _ in $(seq 100); do up 2>/dev/null && break; sleep 0.1; done
up || skip "systemd does not run in namespaces here: $(tail -n 1 "$work/systemd.log")"

# session N COMMAND...: as from a login
session() { inside systemd-run --quiet --scope --collect --unit="session-$1" -- "${@:2}"; }
# logout N: whoever is still in it is killed (KillUserProcesses=yes)
logout() { inside systemctl kill --signal=KILL "session-$1.scope" 2>/dev/null || true; }
group() { inside sed -n 's/^0:://p' "/proc/$1/cgroup"; }
pid() { inside "$VMUNDO" status --json vm+1 | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -n 1; }
monitor_of() { inside awk '/^PPid/ { print $2 }' "/proc/$1/status"; }
units() { inside systemctl list-units --no-legend --plain 'vmundo-*' | awk '{ print $1 }'; }
state() { inside "$VMUNDO" status --json vm+1 | sed -n 's/.*"state": *"\(.*\)".*/\1/p' | head -n 1; }

step "a domain outlives the session that it was started in"
session 1 "$VMUNDO" run -H qemu "$work/vm.cfg"
qemu=$(pid)
unit="vmundo-domain-vm\\x2b1-$qemu.scope"
wait_until 10 eval '[ "$(group $qemu)" = "/machine.slice/$unit" ]'
[ "$(group "$(monitor_of "$qemu")")" = "/machine.slice/$unit" ] || fail "its monitor is in $(group "$(monitor_of "$qemu")")"
logout 1
sleep 0.5
[ "$(state)" = running ] || fail "it has ended with its session: $(inside "$VMUNDO" status vm+1)"

step "so does its recorder"
session 2 "$VMUNDO" record vm+1 --every 1s
wait_until 10 eval 'units | grep -q "^vmundo-recorder-"'
logout 2
sleep 0.5
inside "$VMUNDO" status vm+1 | grep -q "every 1 s" || fail "it is not recorded: $(inside "$VMUNDO" status vm+1)"
inside "$VMUNDO" recover | grep -q "nothing to recover" || fail "the recorder had ended"
inside "$VMUNDO" record vm+1 --stop

step "a monitor of a session that comes later outlives that, too"
inside kill -9 "$(monitor_of "$qemu")"
session 3 "$VMUNDO" recover
monitors() { inside sh -c 'for p in /proc/[0-9]*; do case $(cat $p/comm 2>/dev/null) in vmundo-monitor) echo ${p#/proc/};; esac; done'; }
wait_until 10 eval 'units | grep -q "^vmundo-monitor-"'
logout 3
sleep 0.5
[ "$(monitors)" ] || fail "the monitor has ended with its session"

step "a bus that does not answer is no reason not to run"
inside systemctl stop dbus.socket dbus.service
inside "$VMUNDO" drop vm+1
inside "$VMUNDO" run -H qemu "$work/vm.cfg"
[ "$(state)" = running ] || fail "it does not run"
wait_until 10 grep -q "no scope of its own" "$VMUNDO_STATE_DIR/domains/vm+1/run.1/qemu.log"
inside "$VMUNDO" drop vm+1
inside systemctl start dbus.socket
wait_until 10 eval '[ -z "$(units)" ]'
kill -9 $outside
wait $outside 2>/dev/null || true
wait_until 10 eval '[ -z "$(processes)" ]'
no_traces drop
