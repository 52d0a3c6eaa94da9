# SPDX-License-Identifier: LGPL-2.1-or-later
# What scenarios are made of. A scenario is a bash script in this directory, run as root in the rig's control domain with
# this file sourced before it, at the same time as others: it has RIG_NAME for a name that is its own, makes what it
# needs from parts of /dev/vdb (new_vg), and cleans up nothing that only it can see, for the rig is thrown away.
# It passes by ending with 0; `fail` ends it, `skip` too. Its first lines may say
#     # by hand: why       it is not run by `make check`
#     # plain              it needs no Xen; so do all that are called lvm-*
#     # limit: 300         seconds it may take, 240 if it does not say
#     # cut: why           it calls cut_here: the power goes, and it is started again with RIG_PHASE one higher
set -eEuo pipefail
shopt -s inherit_errexit
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root
W=/work/$RIG_NAME
mkdir -p "$W"
# As on any host that was not booted by an init as small as the rig's. Xen's hotplug scripts wait for ever without.
for n in 0:stdin 1:stdout 2:stderr; do ln -sfn "/proc/self/fd/${n%:*}" "/dev/${n#*:}"; done
unset n
ln -sfn /proc/self/fd /dev/fd

trap 'echo "line $LINENO of $RIG_NAME: $BASH_COMMAND failed" >&2' ERR

# udev, which is emulated as well, can be late: lvm finds disks without it.
grep -q '^devices' /etc/lvm/lvmlocal.conf 2>/dev/null || echo 'devices { obtain_device_list_from_udev = 0 }' >>/etc/lvm/lvmlocal.conf

# long SHORT LONG: the one, or the other where VMUNDO_TEST_LONG is set
long() { if [ "$VMUNDO_TEST_LONG" ]; then echo "$2"; else echo "$1"; fi; }
say() { echo "[$SECONDS] $*"; }
fail() { echo "FAIL: $*" >&2; exit 1; }
skip() { echo "SKIP: $*"; exit 77; }
same() { [ "$1" = "$2" ] || fail "${3:-value}: expected '$2', got '$1'"; }
# refuses CODE PATTERN COMMAND...: it must exit with CODE and say PATTERN.
refuses() {
    local code=$1 pattern=$2 text rc=0
    shift 2
    text=$("$@" 2>&1) || rc=$?
    echo "    $text"
    [ "$rc" = "$code" ] || fail "$*: expected exit code $code, got $rc"
    grep -qE -- "$pattern" <<<"$text" || fail "$*: does not say '$pattern'"
}
# refuses_and_leaves CODE PATTERN COMMAND...: and what the scenario's function `host` prints is the same afterwards
refuses_and_leaves() {
    local before after
    before=$(host)
    refuses "$@"
    after=$(host)
    same "$after" "$before" "the host after ${*:3}"
}
# tries PATTERN COMMAND...: with --dry-run it says PATTERN, and leaves everything as it is
tries() {
    local pattern=$1 before after text
    shift
    before=$(host)
    text=$("$@" --dry-run)
    echo "    $text"
    grep -qE -- "$pattern" <<<"$text" || fail "$* --dry-run does not say '$pattern'"
    grep -q "nothing was changed" <<<"$text" || fail "$* --dry-run does not say that nothing was changed"
    after=$(host)
    same "$after" "$before" "the host after a dry run of $*"
}
# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1 * ${RIG_PATIENCE:-1}))
    shift
    until "$@"; do [ "$SECONDS" -lt "$end" ] || fail "not in time: $*"; sleep 0.2; done
}

# Power off now. Work in the background goes on until it happens; everything is lost that has not been flushed.
cut_here() { touch "$RIG_JOB/cut"; sleep 600; }

# ---- block devices and volume groups ----------------------------------------------------------------------------------

# Whenever the partition table is written udev reads it anew, if no partition is in use: all of them go and come back, also
# the one that another scenario is just making a volume group on. So the first is in use all the time.
hold_vdb() {
    [ ! -e /run/vdb-is-held ] || return 0
    udevadm settle
    setsid sleep infinity </dev/vdb1 >/dev/null 2>&1 9>&- &
    : >/run/vdb-is-held
}

# new_pv MIB: a partition of /dev/vdb that is this scenario's alone; prints its device. It is the same after a reboot.
new_pv() {
    (
        flock 9
        [ -b /dev/vdb1 ] || printf 'label: gpt\nsize=1MiB\n' | sfdisk -q /dev/vdb
        hold_vdb
        n=$(($(sfdisk -q -l -o Device /dev/vdb | awk '/dev/ {n++} END {print n + 0}') + 1))
        echo "size=${1}MiB" | sfdisk -q --no-reread --no-tell-kernel --append /dev/vdb
        udevadm settle # udev may have added it, if no other partition was in use
        partx -u -n "$n:$n" /dev/vdb # of all, it would delete and add those that are not in use at the moment
        wipefs -q -a "/dev/vdb$n"
        udevadm settle
        echo "/dev/vdb$n"
    ) 9>/run/lock/new_pv
}
# A disk that another scenario's udev or lvm has open for a moment is busy: then once more.
lvcreate() {
    local i
    for ((i = 0; i < 5; i++)); do
        if command lvcreate "$@"; then return; fi
        udevadm settle
        sleep 1
    done
    return 5
}
# new_vg NAME MIB...: a volume group over one new physical volume for each size.
new_vg() {
    local vg=$1 pvs=() size pv
    shift
    for size in "$@"; do
        pv=$(new_pv "$size")
        pvs+=("$pv")
    done
    # udev, or an lvm of another scenario, may have the new device open for a moment.
    local i
    for ((i = 0; i < 20; i++)); do
        if vgcreate -q "$vg" "${pvs[@]}"; then return; fi
        udevadm settle
        sleep 0.5
    done
    fail "no volume group on ${pvs[*]}"
}

# ---- vmundo without a real guest ------------------------------------------------------------------------------------------

# A state directory of the scenario's own.
export VMUNDO_STATE_DIR=$W/state

# plain_cfg NAME DISK...: as guest_cfg, for `vmundo run -H null`, which boots nothing.
plain_cfg() {
    local name=$1 disks='' d
    shift
    for d in "$@"; do disks+="'$d', "; done
    printf 'name = "%s"\ntype = "hvm"\nmemory = 64\ndisk = [ %s]\n' "$name" "$disks" >"$W/$name.cfg"
}
# branch_of NAME VDEV: the path that the domain has this disk at
branch_of() {
    vmundo status --json "$1" | awk -F'"' -v vdev="$2" '$2 == "vdev" {at = $4} $2 == "branch" && at == vdev {print $4; found = 1}
        END {exit !found}'
}

sum() {
    if [ -b "$1" ]; then blockdev --flushbufs "$1"; fi
    md5sum <"$1" | cut -d' ' -f1
}
# scribble FILE BLOCK COUNT: random blocks of 4 KiB there
scribble() { dd if=/dev/urandom of="$1" bs=4k seek="$2" count="$3" conv=notrunc,fsync oflag=direct status=none; }
# differs DOMAIN VDEV OLD NEW MOST [CHECKPOINT...]: vmundo diff says all blocks of 4 KiB that differ, and MOST in all
differs() {
    local f
    for f in "$3" "$4"; do if [ -b "$f" ]; then blockdev --flushbufs "$f"; fi; done
    vmundo diff --json "$1" "${@:6}" | python3 /rig/scenarios/diff-covers "$2" "$3" "$4" 4096 "$5" || fail "vmundo diff $1 ${*:6}"
}
# faults STORAGE HYPERVISOR GROUP ARGUMENT...: tests/fault/fault, in a world on this volume group
faults() {
    mkdir -p "$W/fault"
    pgrep -x dmeventd >/dev/null || dmeventd || true # or lvm starts it, some time, and it looks like something left
    env -u VMUNDO_TEST_LONG -u VMUNDO_STATE_DIR VMUNDO=/usr/local/bin/vmundo VMUNDO_FAULT_LIBEXEC=/usr/local/libexec/vmundo \
        VMUNDO_BUILD=/usr/local/lib/vmundo-test/build VMUNDO_FAULT_WORK="$W/fault" VMUNDO_FAULT_VG="$3" \
        VMUNDO_FAULT_KERNEL="$W/idle" python3 /usr/local/lib/vmundo-test/fault/fault -s "$1" -H "$2" "${@:4}"
}
# count COMMAND PATTERN: lines of its output that match
count() { $1 | grep -c -- "$2" || true; }
# no_traces VG...: of branches in these groups, nothing is left: volumes, devices, mounts, mount points
no_traces() {
    local vg
    for vg in "$@"; do
        same "$(count "lvs --noheadings -o lv_name $vg" vmundo)" 0 "volumes left in $vg"
        same "$(count "dmsetup ls" "^${vg//-/--}-.*vmundo")" 0 "devices left of $vg"
        same "$(count "dmsetup info -c --noheadings -o name,suspended" "^${vg//-/--}-.*:Suspended")" 0 "suspended in $vg"
    done
    same "$(count mount "$VMUNDO_STATE_DIR")" 0 "mounts left"
    same "$(find "$VMUNDO_STATE_DIR/mnt" -mindepth 1 2>/dev/null | wc -l)" 0 "mount points left"
}

# ---- PV guests ----------------------------------------------------------------------------------------------------------

declare -A GUEST_FD=()

# guest_cfg NAME DISK...: writes $W/NAME.cfg; each DISK is one entry of its disk list.
guest_cfg() {
    local name=$1 disks=''
    shift
    for d in "$@"; do disks+="'$d', "; done
    cat >"$W/$name.cfg" <<CFG
# $name, made by $RIG_NAME
name = "$name"
memory = 128
vcpus = 1
kernel = "/boot/guest"
ramdisk = "/boot/guest.gz"
extra = "console=hvc0 quiet panic=-1 norandmaps nokaslr mitigations=off audit=0"
disk = [ $disks]
on_crash = "destroy"
CFG
}
# guest_open NAME: hold its console and wait until it obeys. Once after each start, before anything else reads there.
guest_open() {
    local name=$1 tty fd end=$((SECONDS + 120))
    # Just rebooted, it has none for a moment.
    until tty=$(xenstore-read "/local/domain/$(xl domid "$name")/console/tty" 2>/dev/null); do
        [ "$SECONDS" -lt "$end" ] || fail "guest $name has no console"
        sleep 0.2
    done
    stty -F "$tty" raw -echo
    guest_close "$name"
    exec {fd}<>"$tty"
    GUEST_FD[$name]=$fd
    while [ "$SECONDS" -lt "$end" ]; do
        if guest_ask "$name" 3 sync >/dev/null; then return; fi
    done
    fail "guest $name does not answer"
}
guest_close() {
    local fd=${GUEST_FD[$1]:-}
    [ -z "$fd" ] || exec {fd}>&-
    unset "GUEST_FD[$1]"
}
# guest_begin NAME COMMAND..., and guest_wait NAME SECONDS: what it answers to that, or exit code 1.
declare -A GUEST_TAG=()
guest_begin() {
    GUEST_TAG[$1]=$BASHPID.$RANDOM
    echo "${GUEST_TAG[$1]} ${*:2}" >&"${GUEST_FD[$1]}"
}
guest_wait() {
    local name=$1 seconds=$2 tag=${GUEST_TAG[$1]}
    while IFS= read -r -t "$seconds" line <&"${GUEST_FD[$name]}"; do
        line=${line%$'\r'}
        case $line in
        *"GUEST $tag ok"*) line=${line##*"GUEST $tag ok"} && echo "${line# }" && return ;;
        *"GUEST $tag no"*) echo "${line##*GUEST }" && return 1 ;;
        esac
    done
    echo "no answer"
    return 1
}
# guest_ask NAME SECONDS COMMAND...: both.
guest_ask() {
    guest_begin "$1" "${@:3}"
    guest_wait "$1" "$2"
}
# guest NAME COMMAND...: have it done in the guest (see guest-init); prints what it has to say, if anything.
guest() {
    local text
    text=$(guest_ask "$1" 90 "${@:2}") || fail "guest $*: $text"
    [ -z "$text" ] || echo "$text"
}

# idle_cfg NAME DISK...: as guest_cfg, for a guest that does nothing: it runs at once, takes no time of anybody's, and
# never looks at its disks, which the control domain holds open for it all the same.
idle_cfg() {
    [ -e "$W/idle" ] || idle_kernel "$W/idle"
    guest_cfg "$@"
    sed -i "/^ramdisk/d; s,/boot/guest,$W/idle,; s/^memory.*/memory = 16/" "$W/$1.cfg"
}
# Its kernel: an ELF file with Xen's notes whose one page of code is a loop around "wait for nothing" (SCHEDOP_poll).
idle_kernel() {
    python3 - "$1" <<'PYTHON'
import struct, sys
code = b"\xb8\x1d\0\0\0" b"\xbf\x03\0\0\0" b"\xbe\0\x08\0\0" b"\x0f\x05" b"\xeb\xed"
def note(kind, value): return struct.pack("<III", 4, len(value), kind) + b"Xen\0" + value + b"\0" * (-len(value) % 4)
notes = b"".join([note(6, b"idle\0"), note(8, b"generic\0"), note(5, b"xen-3.0\0"), note(9, b"yes\0"),
                  note(3, struct.pack("<Q", 0)), note(4, struct.pack("<Q", 0)), note(1, struct.pack("<Q", 0))])
header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
load = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, 0, 0, 0x1000, 0x1000, 0x1000)
info = struct.pack("<IIQQQQQQ", 4, 4, 0x200, 0, 0, len(notes), len(notes), 4)
open(sys.argv[1], "wb").write((header + load + info).ljust(0x200, b"\0") + notes.ljust(0xe00, b"\0") + code.ljust(0x1000, b"\0"))
PYTHON
}
