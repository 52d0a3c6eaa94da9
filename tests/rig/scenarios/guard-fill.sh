# SPDX-License-Identifier: LGPL-2.1-or-later
# A real guest writes at full speed to a small classic snapshot until it is full, twenty times (five in each of four branches).
# The snapshot is never lost: it is made larger while the volume group has room; when it has none, the guest
# is paused before the end, and told so in status, list and log; it runs on when there is room again, be it from vgextend or from
# an lvremove.
# limit: 900
ROUNDS=$(long 4 12)
new_vg gfill 4000
lvcreate -qq -y -L 3G -n disk gfill
guest_cfg fill phy:/dev/gfill/disk,xvda,w
is_well() {
    local status
    status=$(dmsetup status "gfill-${branch//-/--}")
    [[ $status =~ snapshot\ [0-9]+/ ]] || fail "the snapshot is lost: $status; $(vmundo log fill)"
}
state() { vmundo list --json | sed -n 's/.*"state": "\(.*\)".*/\1/p'; }
is_paused() { is_well; [ "$(state)" = paused ] && vmundo status fill | grep -q "no more room"; }

# room: MiB that are free in the snapshot
room() { is_well; dmsetup status "gfill-${branch//-/--}" | awk '{split($4, a, "/"); print int((a[2] - a[1]) / 2048)}'; }
give() { # 64 MiB, by turns from the hog and from a new physical volume
    if [ $(($1 % 4)) = 1 ]; then
        vgextend -q gfill "$(new_pv 68)" >/dev/null
    else
        lvreduce -qq -y -f -L -64M gfill/hog 2>/dev/null
    fi
}

paused=0
for ((round = 1; round <= ROUNDS; round++)); do
    # Nothing is free but what the snapshot gets: all else is a hog's.
    vmundo run --size 64M "$W/fill.cfg"
    lvcreate -qq -y -l 100%FREE -n hog gfill
    guest_open fill
    branch=$(basename "$(branch_of fill xvda)")
    at=0
    for ((i = 0; i < 5; i++)); do
        # Half of the fills have room from the start, the other half get it when the guest has been paused.
        n=$(($(room) + 16))
        [ $((i % 2)) = 1 ] || give "$i"
        guest_begin fill flood xvda "$at" "$n"
        if [ $((i % 2)) = 1 ]; then
            until_true 60 is_paused
            paused=$((paused + 1))
            vmundo status fill | grep -q "vmundo rollback fill" || fail "status does not say what to do"
            vmundo list | grep -q 'paused.*full' || fail "list does not say that it is full"
            ! guest_wait fill 1 >/dev/null || fail "a paused guest goes on"
            give "$i"
        fi
        guest_wait fill 90 >/dev/null || fail "fill $i: the guest was refused; $(vmundo log fill)"
        at=$((at + n))
        say "round $round, fill $i: $n MiB, $(room) MiB free, $(state)"
    done
    until_true 20 eval '[ "$(state)" = running ]'
    guest fill sync
    vmundo log fill | tail -n 12
    vmundo drop fill
    lvremove -qq -y gfill/hog
    no_traces gfill
done
log=$(vmundo log fill)
for word in paused extended refused resumed; do grep -q " $word " <<<"$log" || fail "log does not say that it was $word"; done
[ "$paused" = $((2 * ROUNDS)) ] || fail "it was paused $paused times"
say done
