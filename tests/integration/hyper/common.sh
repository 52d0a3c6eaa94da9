# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# common.sh: what the tests of the qemu driver share, on top of ../functions.sh. They call the driver through hyper-tool,
# without the engine: an instance is just a directory.
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tool=$VMUNDO_BUILD/tests/integration/hyper/hyper-tool
fake=$tests/fake-qemu

# hyper ACTION [INSTANCE [ARGUMENT]]: never hangs for ever
hyper() {
    local action=$1
    shift
    timeout "${limit:-60}" "$tool" qemu "$action" "$work/${1:-run}" "${@:2}"
}

# new_instance [NAME]: its directory, as core would make it
new_instance() {
    rm -rf "$work/${1:-run}"
    mkdir -m 700 "$work/${1:-run}"
}

# domain LINE...: $work/vm.cfg, a domain without disks that boots the test guest; $extra for the kernel
domain() {
    {
        echo 'name = "vm"'
        echo 'type = "pvh"'
        echo 'memory = 128'
        echo "kernel = \"${guest:-$work}/vmlinuz\""
        echo "ramdisk = \"${guest:-$work}/initrd\""
        echo "extra = \"$guest_cmdline ${extra:-}\""
        printf '%s\n' "$@"
    } >"$work/vm.cfg"
}
# fake_domain LINE...: one that needs no guest, for programs that only pretend to be QEMU
fake_domain() {
    : >"$work/vmlinuz"
    : >"$work/initrd"
    domain "$@"
}

# sector IMAGE ACTION: a bootable disk of one sector, see sector.S
sector() {
    requires gcc
    [ -e "$work/sector" ] || gcc -m32 -nostdlib -static -Wl,-Ttext=0x7c00,--oformat=binary,--build-id=none \
        -o "$work/sector" "$tests/sector.S" 2>"$work/gcc" || fail "$(cat "$work/gcc")"
    cp "$work/sector" "$1"
    truncate -s 1M "$1" # SeaBIOS does not boot from less on virtio-blk
    printf %s "$2" | dd of="$1" bs=1 seek=440 conv=notrunc status=none
}

# sector_domain ACTION LINE...: $work/vm.cfg, a guest of one sector that boots in 0.1 s
sector_domain() {
    sector "$work/sector.img" "$1"
    shift
    {
        echo 'name = "vm"'
        echo 'type = "hvm"'
        echo 'memory = 32'
        echo "disk = [ '$work/sector.img,raw,xvda,rw' ]"
        printf '%s\n' "$@"
    } >"$work/vm.cfg"
}

# start [INSTANCE]: as rollback does, in two steps
start() {
    new_instance "$@"
    hyper start "${1:-run}" "$work/vm.cfg"
}
boot() {
    start "$@"
    hyper resume "$@"
}

console_log() { echo "$work/${1:-run}/console.log"; }
# said PATTERN [TIMES]: the guest has said that
said() { [ "$(grep -c -- "$1" "$(console_log)")" -ge "${2:-1}" ]; }
wait_said() { wait_until 120 said "$@"; }

# number FILE KEY: from a JSON file of the instance
number() { sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p" "$work/run/$1"; }
qemu_pid() { number qemu.pid pid; }
monitor_pid() { number monitor.lock pid; }

# is PATTERN [glance]: the state
is() {
    got=$(hyper "${2:-state}")
    # shellcheck disable=SC2053 # a pattern is wanted
    [[ $got == $1 ]]
}
expect_state() { is "$@" || fail "the state is \"$got\", not \"$1\""; }
# wait_is PATTERN [glance]
wait_is() {
    local end=$((SECONDS + 60))
    until is "$@"; do
        [ $SECONDS -lt $end ] || fail "the state stays \"$got\", not \"$1\""
        sleep 0.05
    done
}

# nothing_left: no process of this instance; and neither QEMU nor the monitor was found faulty by a sanitizer. What a kill
# has left half begun (QEMU before its exec) ends by itself, in a moment.
nothing_left() {
    ends_soon || fail "left: $(for pid in $(processes); do echo "$pid $(tr '\0' ' ' <"/proc/$pid/cmdline")"; done)"
    ! grep -sE "Sanitizer|runtime error" "$work"/*/qemu.log || fail "the monitor is faulty"
}
