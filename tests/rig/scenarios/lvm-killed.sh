# SPDX-License-Identifier: LGPL-2.1-or-later
# vmundo is killed at a spread of points of run, rollback, keep and drop of a domain on LVM branches: a disk, and images
# in a volume that another domain uses too. lvm goes on without it. Then `vmundo recover` must give the old or the new
# state whole, and leave nothing else behind.
# limit: 1500
POINTS=$(long 5 60)
new_vg killed 1200
lvcreate -qq -y -L 8M -n disk killed
lvcreate -qq -y -L 32M -n files killed
mkfs.ext4 -q /dev/killed/files
mkdir -p "$W/files"
mount /dev/killed/files "$W/files"
head -c 4M /dev/urandom >"$W/files/vm.img"
head -c 4M /dev/urandom >"$W/files/other.img"
head -c 8M /dev/urandom >"$W/pristine"
cp "$W/files/vm.img" "$W/pristine.img"
other=$(sum "$W/files/other.img")
plain_cfg vm "format=raw,vdev=xvda,access=rw,target=/dev/killed/disk" "format=raw,vdev=xvdb,access=rw,target=$W/files/vm.img"
calls='?openat,?clone,?clone3,?vfork,?wait4,?fsync,?fdatasync,?pwrite64,?write,?mount,?umount2,?mkdirat,?rmdir,?unlinkat,?renameat2,?flock,?ioctl,?fsmount'

restore() {
    dd if="$W/pristine" of=/dev/killed/disk bs=1M conv=fsync oflag=direct status=none
    cmp -s "$W/pristine.img" "$W/files/vm.img" || dd if="$W/pristine.img" of="$W/files/vm.img" bs=1M conv=notrunc,fsync status=none
}
# state: what the domain is and what its disks hold, with the origins' contents
state() {
    local json disk
    json=$(vmundo status --json vm 2>/dev/null) || json=''
    grep -E '"(state|generation|health)"' <<<"$json" || true
    for disk in /dev/killed/disk "$W/files/vm.img" $(sed -n 's/.*"branch": "\(.*\)".*/\1/p' <<<"$json"); do sum "$disk"; done
}
set_up() {
    restore
    [ "$1" != run ] || return 0
    vmundo run -q -H null "$W/vm.cfg"
    vmundo status --json vm | sed -n 's/.*"branch": "\(.*\)".*/\1/p' | while read -r disk; do scribble_same "$disk" 300; done
    [ "$1" != keep ] || vmundo stop -q --force vm
}
# The same change each time, so that states can be compared.
scribble_same() { dd if="$W/pristine" of="$1" bs=4k skip=1000 seek="$2" count=50 conv=notrunc,fsync oflag=direct status=none; }
tear_down() {
    if [ -d "$VMUNDO_STATE_DIR/domains/vm" ]; then vmundo drop -q vm; fi
    no_traces killed
}

for operation in run rollback keep drop; do
    command=(vmundo "$operation" -q vm)
    [ "$operation" != run ] || command=(vmundo run -q -H null "$W/vm.cfg")
    set_up "$operation"
    old=$(state)
    strace -qq -e signal=none -e "trace=$calls" -o "$W/calls" "${command[@]}"
    new=$(state)
    [ "$old" != "$new" ] || fail "$operation changes nothing"
    tear_down
    n=$(wc -l <"$W/calls")
    [ "$n" -gt 30 ] || fail "$operation: only $n system calls were seen"
    say "$operation: $n points"
    for ((i = 0; i < POINTS; i++)); do
        line=$(((n - 1) * (2 * i + 1) / (2 * POINTS) + 1))
        # strace counts each call by its own name.
        name=$(sed -n "${line}s/(.*//p" "$W/calls")
        nth=$(head -n "$line" "$W/calls" | grep -c "^$name(")
        set_up "$operation"
        strace -qq -e signal=none -e "trace=$name" -e "inject=$name:signal=KILL:when=$nth" -o "$W/killed" "${command[@]}" >/dev/null 2>&1 || true
        vmundo recover -q || fail "$operation killed at $name $nth: recover failed"
        [ "$((i % 3))" != 0 ] || vmundo recover | grep -q "nothing to recover" || fail "$operation killed at $name $nth: recover is not finished"
        got=$(state)
        [ "$got" = "$old" ] || [ "$got" = "$new" ] || fail "$operation killed at $name $nth:
$got
--- is neither
$old
--- nor
$new"
        same "$(sum "$W/files/other.img")" "$other" "the other file"
        tear_down
    done
done
say done
