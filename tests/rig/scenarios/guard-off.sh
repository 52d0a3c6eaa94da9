# SPDX-License-Identifier: LGPL-2.1-or-later
# Without a guard a branch that fills up is lost. What then can be seen: invalid, overflow, and of a thin pool full and
# in need of repair, each told apart from the others in status, list and keep; and rollback makes it good.
# limit: 500
# plain
new_vg goff 900
lvcreate -qq -y -L 192M -n disk goff
lvcreate -qq -y -L 64M --poolmetadatasize 2M -T goff/pool
lvcreate -qq -y -V 192M -T goff/pool -n thin
plain_cfg off phy:/dev/goff/disk,xvda,w
plain_cfg thin phy:/dev/goff/thin,xvda,w
before=$(sum /dev/goff/disk)

# says NAME LOST WORD: what status, list and keep say of it; LOST "": it is not lost
says() {
    vmundo status "$1" | grep -qE "detail.*$2.* is ($3): " || fail "status does not say '$3': $(vmundo status "$1")"
    vmundo list | grep "^$1 " | grep -qE "$2.* is ($3): " || fail "list does not say '$3': $(vmundo list)"
    refuses 5 "cannot be kept: it is ($3): " vmundo keep --stop "$1"
}
fill() { ! timeout 60 dd if=/dev/zero of="$(branch_of "$1" xvda)" bs=1M count="$2" conv=notrunc,fsync oflag=direct status=none || fail "nothing was lost"; }
dm() { local n; n=$(basename "$1"); echo "goff-${n//-/--}"; }

say "invalid"
vmundo run -q --no-guard -H null --size 32M "$W/off.cfg"
fill off 64
dmsetup status "$(dm "$(branch_of off xvda)")" | grep -q Invalid || fail "it is not invalid"
says off LOST invalid
vmundo guard --once off
vmundo log off >"$W/log" && grep -q "lost.*invalid" "$W/log" || fail "log does not say that it is lost"
vmundo stop -q --force off
says off LOST invalid
refuses 1 "invalid" vmundo start off
vmundo rollback -q off
vmundo status off | grep -q " ok " || fail "after the rollback: $(vmundo status off)"
same "$(sum "$(branch_of off xvda)")" "$before" "the branch after the rollback"

say "overflow: of a kernel and an LVM that tell it apart"
dev=$(dm "$(branch_of off xvda)")
dmsetup table "$dev" | sed 's/ P / PO /' | dmsetup load "$dev"
dmsetup suspend --noflush "$dev" && dmsetup resume "$dev"
fill off 64
dmsetup status "$dev" | grep -q Overflow || fail "it is not overflowed: $(dmsetup status "$dev")"
says off LOST overflow
vmundo rollback -q off
vmundo drop -q off
same "$(sum /dev/goff/disk)" "$before" "the origin"

say "a full thin pool: writes wait, and go on when it is larger"
vmundo run -q --no-guard -H null "$W/thin.cfg"
dd if=/dev/zero of="$(branch_of thin xvda)" bs=1M count=80 conv=notrunc,fsync oflag=direct status=none &
writer=$!
is_full() { dmsetup status goff-pool-tpool | grep -q out_of_data_space; }
until_true 60 is_full
says thin '' full
! vmundo list | grep -q LOST || fail "nothing is lost yet"
vmundo guard --once thin
wait "$writer" || fail "the writer was refused although the guard made room"
vmundo status thin | grep -q " ok " || fail "$(vmundo status thin)"
vmundo drop -q thin

say "a thin pool in need of repair"
vmundo run -q --no-guard -H null "$W/thin.cfg"
n=0
while dmsetup message goff-pool-tpool 0 "create_thin $((1000 + n))" 2>/dev/null; do n=$((n + 1)); done
say "$n volumes; $(dmsetup status goff-pool-tpool)"
dmsetup status goff-pool-tpool | grep -q 'needs_check\| ro ' || fail "the pool is well"
says thin LOST 'needs repair|read-only'
say done
