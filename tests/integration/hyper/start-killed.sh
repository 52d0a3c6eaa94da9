#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The command, the monitor, or QEMU is killed at any system call of a start: afterwards destroy leaves nothing, twice, and
# a new start in the same directory works.
. "$(dirname "$0")/common.sh"
requires strace python3
fake_domain
export VMUNDO_QEMU=$fake VMUNDO_START_TIMEOUT_MS=20000
calls=openat,unlink,unlinkat,rename,renameat,write,pwrite64,bind,listen,connect,clone,clone3,vfork,fork,execve,pipe2,fcntl,flock,sendto,recvfrom,poll,wait4,waitid

destroy_and_check() {
    hyper destroy
    nothing_left
    hyper destroy
    expect_state "off 0 watched -"
    if [ $((n % 7)) = 0 ]; then
        hyper start run "$work/vm.cfg"
        expect_state "paused * watched -"
        hyper destroy
        nothing_left
    fi
}

# In a build with sanitizers: looking for leaks does not work under strace.
export ASAN_OPTIONS=detect_leaks=0

step "the command"
killed=0
for ((n = 1; n < 500; n++)); do
    new_instance
    rc=0
    { timeout 60 strace -q -o /dev/null -e trace=$calls -e inject=$calls:signal=KILL:when=$n \
        "$tool" qemu start "$work/run" "$work/vm.cfg"; } 2>/dev/null || rc=$?
    [ $rc != 0 ] || break
    killed=$((killed + 1))
    destroy_and_check
done
hyper destroy
echo "killed $killed times"
[ $killed -gt 20 ] || fail "only $killed kills"

step "the monitor, and what becomes of it: QEMU before its exec"
export VMUNDO_TEST_MONITOR=$VMUNDO_LIBEXEC_DIR/vmundo-monitor VMUNDO_TEST_CALLS=$calls
mkdir "$work/libexec"
ln -s "$tests/killed-monitor" "$work/libexec/vmundo-monitor"
killed=0 fine=0
for ((n = 1; n <= 200 && fine < 3; n += n < 50 ? 1 : 5)); do
    new_instance
    rc=0
    VMUNDO_TEST_KILL=$n VMUNDO_LIBEXEC_DIR=$work/libexec hyper start run "$work/vm.cfg" 2>/dev/null || rc=$?
    if [ $rc = 0 ]; then fine=$((fine + 1)); else killed=$((killed + 1)) fine=0; fi
    destroy_and_check
done
echo "killed $killed times"
[ $killed -gt 20 ] || fail "only $killed kills"
