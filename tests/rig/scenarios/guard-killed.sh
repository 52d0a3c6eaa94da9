# SPDX-License-Identifier: LGPL-2.1-or-later
# The guard is killed while it has paused a domain, and while it makes a branch larger. status says that nobody watches;
# recover starts another one, which knows what was paused and lets it run when there is room. So does one in the
# foreground.
# limit: 480
new_vg gkill 1200
lvcreate -qq -y -L 512M -n disk gkill
guest_cfg gone phy:/dev/gkill/disk,xvda,w
vmundo run --size 64M "$W/gone.cfg"
lvcreate -qq -y -l 100%FREE -n hog gkill
guest_open gone

guard_pid() { # found by the lock that it holds: the third column of lslocks' is not ours to parse
    local p
    for p in /proc/[0-9]*; do
        if [[ $(readlink "$p/exe" 2>/dev/null) == */vmundo-guard ]] && grep -qzxF "$VMUNDO_STATE_DIR" "$p/cmdline" 2>/dev/null; then echo "${p#/proc/}"; fi
    done
}
state() { vmundo status --json gone | sed -n '0,/"state"/s/.*"state": "\(.*\)".*/\1/p'; }
is_state() { [ "$(state)" = "$1" ]; }
is_paused() { vmundo status gone | grep -q "no more room"; }
kill_guard() {
    local pid
    pid=$(guard_pid)
    [[ $pid =~ ^[0-9]+$ ]] || fail "guards: '$pid'"
    kill -KILL "$pid"
    until_true 10 eval "! [ -d /proc/$pid ]"
}

say "killed in a pause"
guest_begin gone flood xvda 0 80
until_true 90 is_paused
vmundo status gone
kill_guard
vmundo status gone | grep -q "nobody watches.*vmundo recover" || fail "status does not say that the guard is gone"
is_state paused || fail "it is $(state)"
lvreduce -qq -y -f -L -96M gkill/hog 2>/dev/null # enough for what the guest writes now, and not for what comes below
sleep 4
is_state paused || fail "nobody is there, and it is $(state)"
vmundo recover | tee "$W/said"
grep -q "1" "$W/said" || fail "recover has done nothing"
until_true 60 is_state running
guest_wait gone 90 >/dev/null || fail "the guest was refused; $(vmundo log gone)"
vmundo recover | grep -q "nothing to recover" || fail "recover finds something the second time"
refuses 4 "guarded already" vmundo guard --once gone

say "one in the foreground takes over"
guest_begin gone flood xvda 80 300
until_true 90 is_paused
kill_guard
lvremove -qq -y gkill/hog
vmundo guard gone >"$W/guard" 2>&1 &
foreground=$!
until_true 60 is_state running
guest_wait gone 120 >/dev/null || fail "the guest was refused; $(vmundo log gone)"
kill -TERM "$foreground"
wait "$foreground"
cat "$W/guard"
grep -q "there is room again" "$W/guard" || fail "the guard in the foreground says nothing"
vmundo log gone
vmundo drop gone
no_traces gkill
same "$(guard_pid)" "" "guards left"
say done
