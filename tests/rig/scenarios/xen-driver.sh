# SPDX-License-Identifier: LGPL-2.1-or-later
# The xen driver by itself (xen-tool), with real guests: what hyper.h promises, who else may hold what, how a domain can
# end, and what is left when anybody is killed at any time.
# limit: 900

# A guest that can be asked to power off and to reboot. (Archives in an initramfs may follow each other.)
mkdir -p "$W/more/sbin"
printf '#!/bin/busybox sh\necho GUEST asked off >/dev/hvc0\n/bin/busybox poweroff -f\n' >"$W/more/sbin/poweroff"
printf '#!/bin/busybox sh\n/bin/busybox reboot -f\n' >"$W/more/sbin/reboot"
chmod +x "$W/more/sbin"/*
{ zcat /boot/guest.gz; (cd "$W/more" && find . | cpio -o -H newc --quiet); } >"$W/initrd"

new_vg vgxen 1024
lvcreate -q -y -L 64M -n lv vgxen
lvcreate -q -y -L 512M -n files vgxen
mkfs.ext4 -q /dev/vgxen/files
mkdir -p "$W/files"
mount /dev/vgxen/files "$W/files"
for n in 1 2; do truncate -s 32M "$W/files/$n.img" && mkfs.ext4 -q "$W/files/$n.img"; done

# cfg NAME DISK LINE...: $W/NAME.cfg
cfg() {
    guest_cfg "$1" "$2"
    sed -i "s,/boot/guest.gz,$W/initrd,; s,memory = 128,memory = 96," "$W/$1.cfg"
    printf '%s\n' "${@:3}" >>"$W/$1.cfg"
}
D=$W/xd/run.1 E=$W/xd/run.2 # instances of the domain xd
fresh() { local d; for d in "$@"; do rm -rf "$d" && mkdir -p -m 700 "$d"; done; }
state() { xen-tool state "${1:-$D}" | cut -d' ' -f1,3-; }
xl_pid() { xen-tool state "${1:-$D}" | cut -d' ' -f2; }
is() { [ "$(state "${2:-$D}")" = "$1" ]; }
start() { fresh "$D"; xen-tool start "$D" "$W/xd.cfg"; }
boot() { start; xen-tool resume "$D"; guest_open xd; }
exists() { xl list | awk 'NR > 1 {print $1}' | grep -qx -- "$1"; }
# gone: nothing of the domain is left, and the file system of its images can be unmounted at once
gone() {
    local n
    umount "$W/files" || fail "the image is still held"
    mount /dev/vgxen/files "$W/files"
    for n in xd xd--new xd--old; do ! exists "$n" || fail "the domain $n is still there"; done
    # shellcheck disable=SC2009
    ! ps ax | grep -v grep | grep -F "$W/xd/" || fail "processes left"
    ! losetup --noheadings --list -O BACK-FILE | grep -F "$W/" || fail "loop devices left"
    ! xenstore-ls / 2>/dev/null | grep -E '"xd(--new|--old)?"' || fail "left in xenstore"
    ! ls /var/lib/xen/userdata-* 2>/dev/null | xargs -r grep -lE '"xd(--new|--old)?"' || fail "userdata left"
}
destroy() { guest_close xd; xen-tool destroy "$D"; gone; }

say "start, resume, pause, console"
cfg xd "file:$W/files/1.img,xvda,w"
start
same "$(state)" "paused -"
exists xd--new || fail "its name until it is resumed"
xen-tool start "$D" "$W/xd.cfg"
same "$(xl list | grep -c xd)" 1 "domains after starting twice"
sleep 40 | xen-tool cat "$D" >"$W/console" 2>"$W/connected" &
until_true 30 test -s "$W/connected"
refuses 4 'has the console' timeout 10 xen-tool cat "$D" </dev/null
xen-tool resume "$D"
xen-tool resume "$D"
same "$(state)" "running -"
exists xd || fail "its name"
until_true 90 grep -q 'GUEST init ok' "$W/console"
wait
guest_open xd
guest xd mount xvda
guest xd write marker one
same "$(xen-tool in-use "$W/files/1.img")" no "what the loop device shows anyway"
[[ $(readlink "/proc/$(xl_pid)/exe") == */xl ]] || fail "the pid is not xl's"
xen-tool pause "$D"
xen-tool pause "$D"
same "$(state)" "paused -"
refuses 4 'paused' xen-tool shutdown "$D" 1000
! guest_ask xd 2 sync >/dev/null || fail "a paused guest answers"
xen-tool resume "$D"
guest xd sync

say "shut down"
same "$(xen-tool shutdown "$D" 90000)" off
same "$(state)" "off guest powered off"
gone
same "$(xen-tool shutdown "$D" 1000)" off "shut down again"
refuses 4 'off' xen-tool resume "$D"
refuses 4 'off' xen-tool pause "$D"
refuses 4 'off' xen-tool cat "$D"
xen-tool destroy "$D"
same "$(state)" "off -"
xen-tool destroy "$D"

say "reboot: a new domain, the same instance"
boot
same "$(guest xd mount xvda && guest xd read marker)" one "what the guest had written"
before=$(xl domid xd)
xl reboot xd
until_true 90 eval '[ "$(xl domid xd 2>/dev/null || echo $before)" != $before ]'
same "$(state)" "running -"
guest_open xd
xen-tool pause "$D"
same "$(state)" "paused -"
say "destroy, and what does not listen"
xen-tool resume "$D"
destroy
fresh "$D"
xen-tool start "$D" "$W/xd.cfg"
xen-tool resume "$D" # it needs some seconds until it listens
[[ $(xen-tool shutdown "$D" 1) =~ ^(still running|off)$ ]] || fail "shut down in no time" # as quick as it is
destroy

say "ends by itself"
boot
guest_ask xd 1 off >/dev/null || true
until_true 60 is "off guest powered off"
gone
destroy
boot
guest_ask xd 1 crash >/dev/null || true
until_true 60 is "off guest crashed"
gone
destroy
sed -i 's/^on_crash.*/on_crash = "preserve"/' "$W/xd.cfg"
boot
guest_ask xd 1 crash >/dev/null || true
until_true 60 is "paused guest crashed"
same "$(xen-tool shutdown "$D" 1000)" off
gone

say "somebody else destroys it"
boot
xl destroy xd
until_true 60 is "off destroyed by somebody else (xl destroy)"
gone
destroy

say "xl is killed"
boot
kill -KILL "$(xl_pid)"
same "$(state)" "running -"
same "$(xl_pid)" 0 "xl's pid"
guest xd sync
guest_ask xd 1 off >/dev/null || true
until_true 60 is "paused guest powered off" # nobody cleans it up
destroy

say "two at a time"
boot
cfg xe "file:$W/files/2.img,xvda,w"
sed 's/"xe"/"xd"/' "$W/xe.cfg" >"$W/xd2.cfg"
fresh "$E"
xen-tool start "$E" "$W/xd2.cfg"
same "$(state "$E")" "paused -"
same "$(state)" "running -"
guest xd sync
refuses 4 "another domain 'xd'" xen-tool resume "$E"
xen-tool step-aside "$D"
xen-tool step-aside "$D"
same "$(state)" "paused -"
exists xd--old || fail "its name when it has stepped aside"
xen-tool resume "$E"
same "$(state "$E")" "running -"
guest_close xd
xen-tool destroy "$D"
! exists xd--old || fail "it is still there"
same "$(state "$E")" "running -"
exists xd || fail "its name"
say "and where there cannot be two"
for line in 'uuid = "f0000000-0000-4000-8000-000000000001"' 'memory = 100000' 'vncdisplay = 5'; do
    { cat "$W/xd.cfg"; echo "$line"; } >"$W/xd3.cfg"
    fresh "$D"
    xen-tool start "$D" "$W/xd3.cfg"
    same "$(state)" "off -" "$line"
done
xen-tool destroy "$E"
gone
{ cat "$W/xd.cfg"; echo 'uuid = "f0000000-0000-4000-8000-000000000001"'; } >"$W/xd3.cfg"
fresh "$D"
xen-tool start "$D" "$W/xd3.cfg"
same "$(state)" "paused -"
same "$(xl vm-list | awk '$3 == "xd--new" {print $1}')" f0000000-0000-4000-8000-000000000001 "its uuid"
xen-tool destroy "$D"
gone

say "not ours"
xl create -q -p "$W/xd2.cfg"
fresh "$D"
refuses 4 "not started by vmundo" xen-tool start "$D" "$W/xd.cfg"
same "$(state)" "off -"
xen-tool destroy "$D"
exists xd || fail "somebody else's domain was destroyed"
xl destroy xd
gone

say "volumes as disks"
cfg xd 'phy:/dev/vgxen/lv,xvda,w'
start
same "$(xen-tool in-use /dev/vgxen/lv)" "disk xvda of the running domain xd--new"
same "$(xen-tool in-use /dev/dm-0)" "$( [ /dev/dm-0 -ef /dev/vgxen/lv ] && echo "disk xvda of the running domain xd--new" || echo no)"
destroy
lvchange -an vgxen/lv && lvchange -ay vgxen/lv
cfg xd "format=raw,vdev=xvda,access=w,backendtype=qdisk,target=$W/files/1.img"
start
destroy

say "xl refuses"
cfg xd 'phy:/dev/vgxen/nosuch,xvda,w'
fresh "$D"
refuses 1 'xl create: .*nosuch' xen-tool start "$D" "$W/xd.cfg"
same "$(state)" "off -"
cfg xd "file:$W/files/1.img,xvda,w" 'kernel = "/no/such/kernel"'
fresh "$D"
refuses 1 'xl create: .*(kernel|no/such)' xen-tool start "$D" "$W/xd.cfg"
gone
cfg xd "file:$W/files/1.img,xvda,w" 'memory = 100000'
fresh "$D"
refuses 1 'xl create: .*memory' xen-tool start "$D" "$W/xd.cfg"
gone
cfg xd "file:$W/files/1.img,xvda,w"
XEN_TOOL_NET=user refuses 2 'bridge or none' xen-tool check "$D" "$W/xd.cfg"
XEN_TOOL_ACCEL=tcg refuses 2 'QEMU' xen-tool check "$D" "$W/xd.cfg"

say "starting is killed"
fresh "$D"
begun=$EPOCHREALTIME
xen-tool start "$D" "$W/xd.cfg"
took=$(awk "BEGIN {print $EPOCHREALTIME - $begun}")
destroy
for part in $(long "0.2 0.6" "0.02 0.2 0.5 0.8"); do
    fresh "$D"
    timeout -s KILL "$(awk "BEGIN {print $took * $part}")" xen-tool start "$D" "$W/xd.cfg" || true
    say "  after $part of $took s: $(state)"
    destroy
done
say "xl is killed while it creates"
for part in $(long 0.5 "0.3 0.6 0.8"); do
    fresh "$D"
    xen-tool start "$D" "$W/xd.cfg" 2>"$W/said" &
    sleep "$(awk "BEGIN {print $took * $part}")"
    ps -o pid= --ppid $! | xargs -r kill -KILL || true # xl, its child
    wait $! || true
    say "  after $part: $(state), $(cat "$W/said")"
    destroy
done
say "destroying is killed"
for part in $(long "0.05 0.2" "0.02 0.05 0.1 0.2"); do
    start
    timeout -s KILL "$(awk "BEGIN {print $took * $part}")" xen-tool destroy "$D" || true
    destroy
done
say done
