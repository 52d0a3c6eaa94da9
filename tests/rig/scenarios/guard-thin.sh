# SPDX-License-Identifier: LGPL-2.1-or-later
# A thin pool fills up under a real guest: first its data, then its metadata. It is extended while the volume group has
# room; when it has none the guest is paused in time, and runs on when there is room. The pool never is out of space.
# limit: 480
new_vg gthin 400
lvcreate -qq -y -L 160M --poolmetadatasize 2M -T gthin/pool
lvcreate -qq -y -V 2G -T gthin/pool -n disk
lvcreate -qq -y -l 100%FREE -n hog gthin
lvreduce -qq -y -f -L -96M gthin/hog
guest_cfg thin phy:/dev/gthin/disk,xvda,w
vmundo run "$W/thin.cfg"
guest_open thin

is_well() { dmsetup status gthin-pool-tpool | grep -q ' rw ' || fail "$(dmsetup status gthin-pool-tpool); $(vmundo log thin)"; }
is_paused() { is_well; vmundo status thin | grep -q "no more room"; }
is_running() { is_well; vmundo status --json thin | grep -q '"state": "running"'; }
logged() { is_well; vmundo log thin >"$W/log" && grep -q " $1 " "$W/log"; }

say "data: 256 MiB into 160, with 64 to be had: the rest is for metadata"
guest_begin thin flood xvda 0 256
until_true 120 is_paused
logged extended || fail "it was not extended while there was room"
vmundo list | grep -q 'paused.*thin data\|paused.*full' || fail "list does not say why it is paused"
! guest_wait thin 1 >/dev/null || fail "a paused guest goes on"
say "room from vgextend"
vgextend -q gthin "$(new_pv 300)" >/dev/null
guest_wait thin 120 >/dev/null || fail "the guest was refused; $(vmundo log thin)"
until_true 30 is_running

say "metadata: by empty volumes that only the kernel knows of"
n=0
percent() { dmsetup status gthin-pool-tpool | awk '{split($5, a, "/"); print int(100 * a[1] / a[2])}'; }
total() { dmsetup status gthin-pool-tpool | awk '{split($5, a, "/"); print a[2]}'; }
more() { n=$((n + 1)); dmsetup message gthin-pool-tpool 0 "create_thin $((1000 + n))"; }
before=$(total)
until [ "$(percent)" -ge 72 ] || [ "$(total)" -gt "$before" ]; do for ((k = 0; k < 20; k++)); do more; done; done
extended() { is_well; [ "$(total)" -gt "$before" ]; }
for ((k = 0; k < 90; k++)); do if extended; then break; fi; sleep 1; done
extended || fail "not extended: $(vmundo status thin; vmundo log thin; lvs -a gthin)"
say "from $before to $(total) blocks"
guest thin flood xvda 300 1
vmundo log thin
is_well
vmundo drop thin
no_traces gthin
say done
