# SPDX-License-Identifier: LGPL-2.1-or-later
# vmundo is killed at a spread of moments of run, rollback, keep and drop of a real domain with an image in a volume and a
# volume as its disks (at every n-th system call, on LVM without Xen: lvm-killed). xl and lvm go on without it. Then `vmundo recover` must give the old state or the new one whole, the
# origins as one of the two has them, with nothing else left, and a second recover must find nothing to do.
# limit: 1500
POINTS=$(long 1 3)
new_vg xkilled 600
lvcreate -q -y -L 8M -n disk xkilled
lvcreate -q -y -L 32M -n files xkilled
mkfs.ext4 -q /dev/xkilled/files
mkdir -p "$W/files"
mount /dev/xkilled/files "$W/files"
head -c 4M /dev/urandom >"$W/pristine"
cp "$W/pristine" "$W/files/vm.img"
idle_cfg xk "file:$W/files/vm.img,xvda,w" 'phy:/dev/xkilled/disk,xvdb,w'
now() { date +%s%3N; }

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
    begun=$(now)
    "${command[@]}"
    lasts=$(($(now) - begun))
    new=$(state)
    [ "$old" != "$new" ] || fail "$operation changes nothing"
    tear_down
    for ((i = 0; i < POINTS; i++)); do
        at=$((lasts * (2 * i + 1) / (2 * POINTS)))
        say "$operation, which takes $lasts ms: killed after $at"
        set_up "$operation"
        # In the foreground: only vmundo, not what it has started.
        timeout --foreground -s KILL "$((at / 1000)).$(printf %03d $((at % 1000)))" "${command[@]}" >/dev/null 2>&1 || true
        vmundo recover -q || fail "$operation killed after $at ms: recover failed"
        vmundo recover | grep -q "nothing to recover" || fail "$operation killed after $at ms: recover is not finished"
        got=$(state)
        [ "$got" = "$old" ] || [ "$got" = "$new" ] || fail "$operation killed after $at ms:
$got
--- is neither
$old
--- nor
$new"
        tear_down
    done
done
say done
