#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Network devices: on a bridge, by ourselves as root and through QEMU's helper as anyone else; in a network of our own.
if [ "${1:-}" != inside ]; then
    unshare --net --mount true 2>/dev/null || { echo "SKIP: cannot make a network of our own"; exit 77; }
    exec unshare --net --mount "$0" inside
fi
. "$(dirname "$0")/common.sh"
requires qemu-system-x86_64 ip setpriv
requires_root
mount -t sysfs sysfs /sys # which shows the network that it was mounted in
[ -c /dev/net/tun ] || skip "no /dev/net/tun"
ip link add testbr0 type bridge 2>/dev/null || skip "no bridges here"
ip tuntap add testport mode tap
ip link set testport address 02:00:00:00:00:01
ip link set testport master testbr0 up
ip link set testbr0 mtu 1400 up
ports() { ip -o link show master testbr0 | grep -vc testport || true; }
export HYPER_TOOL_NET=bridge

step "two cards on a bridge; the devices go with the domain"
sector_domain t "vif = [ 'bridge=testbr0', 'bridge=testbr0,mac=00:16:3e:01:02:03,model=e1000,vifname=testvif' ]"
boot
wait_said TICK
[ "$(ports)" = 2 ] || fail "$(ports) ports on the bridge"
ip -o link show testvif | grep -q "UP.*mtu 1400.*link/ether fe:" || fail "$(ip -o link show testvif)"
[ "$(cat /sys/class/net/testbr0/address)" = 02:00:00:00:00:01 ] || fail "the bridge took over a device's address"
hyper destroy
nothing_left
[ "$(ports)" = 0 ] || fail "$(ports) ports left on the bridge"

step "no such bridge, no bridge at all, a name that cannot be"
sector_domain t "vif = [ 'bridge=nobr0' ]"
new_instance
expect_exit 1 "there is no bridge nobr0 here" hyper start run "$work/vm.cfg"
sector_domain t "vif = [ '' ]"
expect_exit 1 "no bridge xenbr0 or br0 here" hyper start run "$work/vm.cfg"
sector_domain t "vif = [ 'bridge=testbr0,vifname=far-too-long-a-name' ]"
expect_exit 1 "cannot be the name of a network device" hyper start run "$work/vm.cfg"
nothing_left
[ "$(ports)" = 0 ] || fail "$(ports) ports left on the bridge"

step "br0 is found by itself"
ip link set testbr0 down
ip link set testbr0 name br0
ip link set br0 up
sector_domain t "vif = [ '' ]"
start
[ "$(ip -o link show master br0 | grep -vc testport)" = 1 ] || fail "no port on br0"
hyper destroy

step "someone who is not root asks QEMU's helper, which refuses what it was not told to allow"
helper=/usr/lib/qemu/qemu-bridge-helper
[ -x $helper ] || skip "no bridge helper"
chmod 755 "$work"
chmod 644 "$work"/*
new_instance
chown 65534:65534 "$work/run"
as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
as_user test -x "$tool" -a -x "$VMUNDO_LIBEXEC_DIR/vmundo-monitor" || skip "an ordinary user cannot reach the build"
expect_exit 1 "bridge helper gives no access to br0: .*bridge.conf must say 'allow br0'" \
    as_user "$tool" qemu start "$work/run" "$work/vm.cfg"
nothing_left

step "user networking and none need nothing"
for net in user none; do
    HYPER_TOOL_NET=$net start
    expect_state "paused * watched -"
    hyper destroy
done
nothing_left
