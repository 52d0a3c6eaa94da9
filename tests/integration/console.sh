#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The console through tmux: ^] leaves it, a second client is refused, and a terminal that is closed leaves the domain
# running.
. "$(dirname "$0")/functions.sh"
requires tmux
requires_guest
make_fs xfs
make_disk "$fs/data.img" 32M state=known
make_config "$work/vm.cfg" vm "file:$fs/data.img,xvda,w"
baseline

screen() { tmux -S "$work/tmux" -f /dev/null "$@"; }
shows() { screen capture-pane -p -t t | grep -qE -- "$1"; }
cleanup screen kill-server

step "run -c shows the boot and takes what is typed"
screen new-session -d -s t -x 120 -y 40 "bash --norc"
screen send-keys -t t "PS1='prompt-''ready '" Enter
wait_until 10 shows "prompt-ready"
screen send-keys -t t "stty -a | head -n 1 >$work/tty-before; clear" Enter
screen send-keys -t t "$VMUNDO run -c $work/vm.cfg" Enter
wait_until 60 shows "GUEST: ready"
screen send-keys -t t "echo typed >state; cat state" Enter
wait_until 20 shows "^typed"

step "one client at a time"
expect_exit 4 "console" vmundo console vm

step "^] leaves; the terminal is as before and the guest runs"
screen send-keys -t t C-]
wait_until 10 shows "prompt-ready *$"
screen send-keys -t t "clear; stty -a | tr ';' '\n' | grep -c -- '-icanon\|-echo '" Enter
wait_until 10 shows "^0$"
state_is vm running || fail "left running"
guest_has vm state typed

step "console again, and the terminal is closed"
screen send-keys -t t "$VMUNDO console vm" Enter
screen send-keys -t t "" Enter
wait_until 20 shows "GUEST: ready"
screen kill-server
wait_until 10 eval '[ "$(processes | wc -l)" -le 2 ]'
state_is vm running || fail "running after the terminal was closed"
guest_has vm state typed

step "a terminal closed during rollback -c: the domain runs, nothing is half done"
screen new-session -d -s t -x 120 -y 40 "$VMUNDO rollback -c vm"
wait_until 60 shows "GUEST: ready"
screen kill-server
guest_has vm state known
expect_exit 0 "nothing to recover" vmundo recover

step "the guest's end ends the console"
screen new-session -d -s t -x 120 -y 40 "bash --norc"
screen send-keys -t t "$VMUNDO console vm; echo left-''it" Enter
sleep 1
screen send-keys -t t "poweroff" Enter
wait_until 30 shows "left-it"
screen kill-server
wait_state vm off
expect_exit 4 "off|not running" vmundo console vm
vmundo drop vm
no_traces drop
