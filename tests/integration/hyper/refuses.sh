#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every way in which QEMU can fail to start: one clear message, no process left, and the domain is off.
. "$(dirname "$0")/common.sh"
fake_domain
export VMUNDO_START_TIMEOUT_MS=1500

# refused PATTERN: start fails so, and nothing is left
refused() {
    new_instance
    expect_exit 1 "^1 .*$1" hyper start run "$work/vm.cfg"
    nothing_left
    expect_state "off 0 watched -"
    expect_state "off 0 watched -" glance
}
export VMUNDO_QEMU=$fake

step "QEMU is missing, or no program"
VMUNDO_QEMU=$work/nothing refused "cannot run $work/nothing: No such file"
VMUNDO_QEMU=qemu-that-is-not refused "cannot run qemu-that-is-not: not found in PATH: No such file"
VMUNDO_QEMU=$work/vmlinuz refused "cannot run $work/vmlinuz: Permission denied"

step "it refuses, dies, closes: its own last words, made harmless"
VMUNDO_FAKE_QEMU=refuse refused 'fake-qemu failed with status 1: -vmundo: invalid \\x1b\[31moption$'
VMUNDO_FAKE_QEMU=die refused "fake-qemu was killed by signal 11$"
VMUNDO_FAKE_QEMU=close VMUNDO_FAKE_SAYS="oh no" refused "fake-qemu failed with status 3: oh no$"

step "it hangs or talks nonsense: killed when the time is up"
begun=$(date +%s%N)
VMUNDO_FAKE_QEMU=mute refused "does not answer on its QMP socket$"
VMUNDO_FAKE_QEMU=late VMUNDO_FAKE_SAYS="wait for me" refused "does not answer on its QMP socket .fake-qemu said: wait for me.$"
VMUNDO_FAKE_QEMU=garbage refused "not QMP: SSH-2.0-fake"
VMUNDO_FAKE_QEMU=stuck refused "did not answer 'query-status' within [0-9]+ ms"
elapsed=$((($(date +%s%N) - begun) / 1000000))
[ $elapsed -lt 20000 ] || fail "that took $elapsed ms"

step "a slow one is not killed too early"
new_instance
VMUNDO_FAKE_QEMU=late VMUNDO_START_TIMEOUT_MS=20000 hyper start run "$work/vm.cfg"
expect_state "paused * watched -"
hyper destroy
nothing_left

step "the monitor is missing; the console's log cannot be opened; there is no directory"
VMUNDO_LIBEXEC_DIR=$work/nothing refused "cannot run $work/nothing/vmundo-monitor"
new_instance
ln -s /etc/passwd "$work/run/console.log"
expect_exit 1 "cannot open the console log" hyper start run "$work/vm.cfg"
rm -r "$work/run"
expect_exit 1 "cannot open $work/run: No such file" hyper start run "$work/vm.cfg"

step "by hand the monitor does nothing"
expect_exit 2 "not by hand" "$VMUNDO_LIBEXEC_DIR/vmundo-monitor"
expect_exit 2 "not by hand" "$VMUNDO_LIBEXEC_DIR/vmundo-monitor" start vm

step "with the real QEMU: a disk that is not what it is said to be, a kernel that is none"
unset VMUNDO_QEMU
requires qemu-system-x86_64
export VMUNDO_START_TIMEOUT_MS=20000
echo "no qcow2 at all" >"$work/a.qcow2"
fake_domain "disk = [ '$work/a.qcow2,qcow2,xvda,rw' ]"
refused "failed with status 1: .*Image is not in qcow2 format"
fake_domain "disk = [ '$work/missing.img,raw,xvda,rw' ]"
refused "xvda: cannot open .*missing.img: No such file"
fake_domain
refused "failed with status 1: .*(kernel|vmlinuz)"
