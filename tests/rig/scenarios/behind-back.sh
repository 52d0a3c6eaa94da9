# SPDX-License-Identifier: LGPL-2.1-or-later
# What happens to a domain behind vmundo's back: its guest crashes or goes off, somebody destroys it, its guard or its xl is
# killed. After each, status says what is true, and rollback, start, recover and drop work. A name that Xen has already is
# refused, and when Xen cannot make the domain its reason is passed on and nothing is left.
# limit: 600
new_vg behind 500
lvcreate -q -y -L 32M -n files behind
lvcreate -q -y -L 8M -n disk behind
mkfs.ext4 -q /dev/behind/files
mkdir -p "$W/files"
mount /dev/behind/files "$W/files"
truncate -s 8M "$W/files/vm.img"
sync
idle_cfg bb "file:$W/files/vm.img,xvda,w"
before=$(sum "$W/files/vm.img")
xl_of() { vmundo status --json bb | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -n 1; }
guard_of() { pgrep -f "vmundo-guard $VMUNDO_STATE_DIR bb" || true; }
says() { vmundo status bb | tr '\n' ' ' | grep -qE -- "$1"; }
clean_now() {
    no_traces behind
    same "$(sum "$W/files/vm.img")" "$before" "the origin"
    ! xl list | grep -E '^(bb|bb--new) ' || fail "a domain is left"
    ! losetup --noheadings --list -O BACK-FILE | grep -F "$W/" || fail "a loop device is left"
}

say "destroyed by somebody else"
vmundo run -q --size 16M "$W/bb.cfg"
scribble "$(branch_of bb xvda)" 7 3
branch=$(sum "$(branch_of bb xvda)")
xl destroy bb
until_true 60 says 'off.*destroyed by somebody else'
vmundo start -q bb
says running || fail "$(vmundo status bb)"
same "$(sum "$(branch_of bb xvda)")" "$branch" "the branch after start"
xl destroy bb
vmundo rollback -q bb
says running || fail "$(vmundo status bb)"
same "$(sum "$(branch_of bb xvda)")" "$before" "the branch after rollback"

say "its guard is killed"
guard=$(guard_of)
[ "$guard" ] || fail "it has no guard"
kill -KILL "$guard"
until_true 20 eval '[ -z "$(guard_of)" ]'
says running || fail "$(vmundo status bb)"
vmundo recover
until_true 20 eval '[ "$(guard_of)" ]'
vmundo rollback -q bb
says running || fail "$(vmundo status bb)"

say "its xl is killed"
xl=$(xl_of)
[[ $(readlink "/proc/$xl/exe") == */xl ]] || fail "$xl is not its xl"
kill -KILL "$xl"
until_true 20 says 'running.*process that watched it is gone'
vmundo recover | grep -q 'nothing to recover' || fail "recover has something to do"
vmundo rollback -q bb
says running || fail "$(vmundo status bb)"
kill -KILL "$(xl_of)"
xl destroy bb
until_true 60 says 'off'
vmundo start -q bb
kill -KILL "$(xl_of)"
vmundo drop -q bb
clean_now

say "a real guest crashes, and powers off"
guest_cfg bb "file:$W/files/vm.img,xvda,w"
vmundo run -q --size 16M "$W/bb.cfg"
guest_open bb
guest_ask bb 1 crash >/dev/null || true
until_true 90 says 'crashed.*guest crashed'
vmundo start -q bb
guest_open bb
guest_ask bb 1 off >/dev/null || true
until_true 90 says 'off.*guest powered off'
guest_close bb
vmundo drop -q bb
clean_now

say "a name that Xen has already"
idle_cfg bb 'phy:/dev/behind/disk,xvda,w'
xl create -q "$W/bb.cfg"
idle_cfg bb "file:$W/files/vm.img,xvda,w"
refuses 4 "'bb' is running already, outside vmundo" vmundo run -q --size 16M "$W/bb.cfg"
xl list bb >/dev/null || fail "somebody else's domain is gone"
same "$(count "lvs --noheadings -o lv_name behind" vmundo)" 0 "branches"
xl destroy bb

say "Xen cannot make it"
sed -i 's/^memory.*/memory = 100000/' "$W/bb.cfg"
refuses 1 'xl create: .*memory' vmundo run -q --size 16M "$W/bb.cfg"
clean_now
refuses 3 "no domain" vmundo status bb
idle_cfg bb "file:$W/files/vm.img,xvda,w"
vmundo run -q --size 16M "$W/bb.cfg"
scribble "$(branch_of bb xvda)" 9 3
branch=$(sum "$(branch_of bb xvda)")
mv "$W/idle" "$W/idle.away"
refuses 1 'xl create: .*(kernel|idle)' vmundo rollback -q bb
says running || fail "after a rollback that failed: $(vmundo status bb)"
same "$(sum "$(branch_of bb xvda)")" "$branch" "its branch after a rollback that failed"
mv "$W/idle.away" "$W/idle"
vmundo drop -q bb
clean_now
vmundo recover | grep -q 'nothing to recover' || fail "something was left to recover"
say done
