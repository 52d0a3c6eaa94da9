# SPDX-License-Identifier: LGPL-2.1-or-later
# A real guest writes at full speed to a small classic snapshot, twenty times over. The snapshot is never lost: it is made
# larger while the volume group has room; when it has none, the guest is paused before the end, and told so in status,
# list and log; it runs on when there is room again, be it from vgextend or from an lvremove.
# limit: 600
FILLS=${FILLS:-20}
new_vg gfill 4000
lvcreate -qq -y -L 3G -n disk gfill
quick_guest_cfg fill phy:/dev/gfill/disk,xvda,w
# Nothing is free but what the snapshot gets: all else is a hog's.
vmundo run --size 64M "$W/fill.cfg"
lvcreate -qq -y -l 100%FREE -n hog gfill
guest_open fill

branch=$(basename "$(branch_of fill xvda)")
is_well() {
    local status
    status=$(dmsetup status "gfill-${branch//-/--}")
    [[ $status =~ snapshot\ [0-9]+/ ]] || fail "the snapshot is lost: $status; $(vmundo log fill)"
}
state() { vmundo list --json | sed -n 's/.*"state": "\(.*\)".*/\1/p'; }
is_paused() { is_well; [ "$(state)" = paused ] && vmundo status fill | grep -q "no more room"; }

give() { # 96 MiB, by turns from the hog and from a new physical volume
    if [ $(($1 % 4)) = 1 ]; then
        vgextend -q gfill "$(new_pv 100)" >/dev/null
    else
        lvreduce -qq -y -f -L -96M gfill/hog
    fi
}

paused=0 at=0
for ((i = 0; i < FILLS; i++)); do
    # Half of the fills have room from the start, the other half get it when the guest has been paused.
    [ $((i % 2)) = 1 ] || give "$i"
    guest_begin fill raw xvda $((at * 1024)) 48 "fill$i"
    if [ $((i % 2)) = 1 ]; then
        until_true 60 is_paused
        paused=$((paused + 1))
        vmundo status fill | grep -q "vmundo rollback fill" || fail "status does not say what to do"
        vmundo list | grep -q 'paused.*full' || fail "list does not say that it is full"
        vmundo log fill | grep -q 'paused' || fail "log does not say that it is paused"
        ! guest_wait fill 1 >/dev/null || fail "a paused guest goes on"
        give "$i"
    fi
    guest_wait fill 90 >/dev/null || fail "fill $i: the guest was refused; $(vmundo log fill)"
    is_well
    at=$((at + 48))
    say "fill $i: $(dmsetup status "gfill-${branch//-/--}") $(state)"
done
until_true 20 eval '[ "$(state)" = running ]'
for ((i = 0; i < FILLS; i++)); do same "$(guest fill rawread xvda $((i * 48 * 1024 + 7)) | cut -c1-5)" "$(yes "fill$i" | dd bs=1k skip=7 count=1 status=none | head -n 1 | cut -c1-5)" "what fill $i wrote"; done
vmundo log fill
[ "$paused" = $((FILLS / 2)) ] || fail "it was paused $paused times"
vmundo log fill | grep -q 'resumed' || fail "log does not say that it was resumed"
vmundo drop fill
no_traces gfill
say done
