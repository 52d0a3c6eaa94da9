# SPDX-License-Identifier: LGPL-2.1-or-later
# vmundo is killed at a spread of points of run, rollback, keep and drop of a real domain with an image in a volume and a
# volume as its disks. xl and lvm go on without it. Then `vmundo recover` must give the old state or the new one whole, the
# origins as one of the two has them, with nothing else left, and a second recover must find nothing to do.
# limit: 1500
POINTS=${POINTS:-2}
new_vg xkilled 600
lvcreate -q -y -L 8M -n disk xkilled
lvcreate -q -y -L 32M -n files xkilled
mkfs.ext4 -q /dev/xkilled/files
mkdir -p "$W/files"
mount /dev/xkilled/files "$W/files"
head -c 4M /dev/urandom >"$W/pristine"
cp "$W/pristine" "$W/files/vm.img"
idle_cfg xk "file:$W/files/vm.img,xvda,w" 'phy:/dev/xkilled/disk,xvdb,w'
calls='?openat,?clone,?clone3,?vfork,?wait4,?fsync,?fdatasync,?pwrite64,?write,?mount,?umount2,?mkdirat,?rmdir,?unlinkat,?renameat2,?flock,?ioctl'

restore() {
    cmp -s -n 4194304 "$W/pristine" /dev/xkilled/disk || dd if="$W/pristine" of=/dev/xkilled/disk bs=1M conv=fsync oflag=direct status=none
    cmp -s "$W/pristine" "$W/files/vm.img" || dd if="$W/pristine" of="$W/files/vm.img" bs=1M conv=notrunc,fsync status=none
}
# The same change each time, so that states can be compared.
change() { dd if="$W/pristine" of="$1" bs=4k skip=500 seek=100 count=20 conv=notrunc,fsync oflag=direct status=none; }
domains() { xl list | grep -oE '^xk[^ ]*' || true; }
# What the domain is, what its disks and their origins hold, and which domains Xen has
state() {
    local json disk
    json=$(vmundo status --json xk 2>/dev/null) || json=''
    grep -E '"(state|generation|health)"' <<<"$json" || true
    for disk in /dev/xkilled/disk "$W/files/vm.img" $(sed -n 's/.*"branch": "\(.*\)".*/\1/p' <<<"$json"); do sum "$disk"; done
    domains
}
set_up() {
    restore
    [ "$1" != run ] || return 0
    vmundo run -q --size 12M "$W/xk.cfg"
    change "$(branch_of xk xvda)"
    change "$(branch_of xk xvdb)"
    [ "$1" != keep ] || vmundo stop -q --force xk
}
tear_down() {
    if [ -d "$VMUNDO_STATE_DIR/domains/xk" ]; then vmundo drop -q xk; fi
    no_traces xkilled
    same "$(domains)" "" "domains left"
    ! losetup --noheadings --list -O BACK-FILE | grep -F "$W/" || fail "loop devices left"
    until_true 30 eval '! pgrep -f "$VMUNDO_STATE_DIR" >/dev/null' # the guard looks now and then
}

for operation in run rollback keep drop; do
    command=(vmundo "$operation" -q xk)
    [ "$operation" != run ] || command=(vmundo run -q --size 12M "$W/xk.cfg")
    set_up "$operation"
    old=$(state)
    strace -qq -e signal=none -e "trace=$calls" -o "$W/calls" "${command[@]}"
    new=$(state)
    [ "$old" != "$new" ] || fail "$operation changes nothing"
    tear_down
    n=$(wc -l <"$W/calls")
    [ "$n" -gt 30 ] || fail "$operation: only $n system calls were seen"
    for ((i = 0; i < POINTS; i++)); do
        line=$(((n - 1) * (2 * i + 1) / (2 * POINTS) + 1))
        # strace counts each call by its own name.
        name=$(sed -n "${line}s/(.*//p" "$W/calls")
        nth=$(head -n "$line" "$W/calls" | grep -c "^$name(")
        say "$operation: killed at $line of $n, $name $nth"
        set_up "$operation"
        strace -qq -e signal=none -e "trace=$name" -e "inject=$name:signal=KILL:when=$nth" -o "$W/killed" "${command[@]}" >/dev/null 2>&1 || true
        vmundo recover -q || fail "$operation killed at $name $nth: recover failed"
        vmundo recover | grep -q "nothing to recover" || fail "$operation killed at $name $nth: recover is not finished"
        got=$(state)
        [ "$got" = "$old" ] || [ "$got" = "$new" ] || fail "$operation killed at $name $nth:
$got
--- is neither
$old
--- nor
$new"
        tear_down
    done
done
say done
