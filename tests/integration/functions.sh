# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# functions.sh: what the integration tests share. A test begins with
#
#     . "$(dirname "$0")/functions.sh"
#
# and then has: a private directory $work with its own state directory; everything it starts, mounts or attaches is
# undone when it ends, however it ends; it fails at the first command that fails. It says what it needs with
# `requires…`, and is skipped (exit 77) where that is missing. Nothing here uses vmundo's own code to look for what
# vmundo may have left behind.
set -eu -o pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Under the reaper, so that daemons are found and ended: see there.
[ -n "${REAPER_PID:-}" ] || exec python3 "$here/reaper" bash "$0" "$@"

: "${VMUNDO_BUILD:=$here/../../build}"
VMUNDO_BUILD=$(cd "$VMUNDO_BUILD" && pwd)
export VMUNDO=${VMUNDO:-$VMUNDO_BUILD/src/cli/vmundo}
export VMUNDO_LIBEXEC_DIR=${VMUNDO_LIBEXEC_DIR:-$VMUNDO_BUILD/src/monitor}
# At the top of /tmp, not $TMPDIR: real paths of images get long enough.
work=$(mktemp -d /tmp/vmundo-test.XXXXXX)
export VMUNDO_STATE_DIR=$work/state

# ---- ending ---------------------------------------------------------------------------------------------------------

skip() { echo "SKIP: $*"; exit 77; }
fail() { echo "FAIL: $*" >&2; exit 1; }
step() { echo "---- $*"; }

cleanups=()
# cleanup COMMAND...: run it when the test ends; the last one first
cleanup() { cleanups+=("$(printf '%q ' "$@")"); }

# own_loop DEVICE: detached at the end, unless `detach DEVICE` did it before: by then it may be another test's.
declare -A own_loops=()
own_loop() {
    own_loops[$1]=1
    cleanup detach_own "$1"
}
detach() {
    losetup -d "$1"
    unset "own_loops[$1]"
}
detach_own() { [ -z "${own_loops[$1]:-}" ] || detach "$1"; }

run_cleanups() {
    local rc=$? i pid
    trap - EXIT
    set +e
    [ $rc = 0 ] || [ $rc = 77 ] || explain_failure
    # A test that passed has ended what it started; if not, the reaper will say so.
    if [ $rc != 0 ]; then
        for pid in $(processes) $(jobs -p); do
            kill "$pid" 2>/dev/null
        done
    fi
    for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do
        eval "${cleanups[i]}" >/dev/null 2>&1
    done
    rm -rf --one-file-system "$work"
    exit $rc
}
trap run_cleanups EXIT
trap 'exit 143' TERM INT HUP

explain_failure() {
    local log
    echo "---- the state when it failed"
    timeout 20 "$VMUNDO" list 2>&1
    timeout 20 "$VMUNDO" log 2>&1 | tail -n 12
    find "$VMUNDO_STATE_DIR" -type f -name '*.log' 2>/dev/null | while read -r log; do
        echo "---- $log"
        tail -n 15 "$log"
    done
}

# ---- what a test needs ------------------------------------------------------------------------------------------------

# requires PROGRAM...
requires() {
    local program
    for program; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}
requires_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# The kernel and initramfs of the test guest: $guest/vmlinuz, $guest/initrd
requires_guest() {
    requires qemu-system-x86_64
    guest=$("$here/../guest/build-guest" 2>"$work/build-guest") || skip "no test guest: $(tail -n 1 "$work/build-guest")"
}

# ---- file systems, images, configurations -------------------------------------------------------------------------------

# make_fs TYPE [SIZE [DIR]]: mount a new file system in a loop device; sets $fs to where
make_fs() {
    local type=$1 size=${2:-1G}
    requires_root
    requires "mkfs.$type"
    fs=${3:-$work/$type}
    mkdir -p "$fs"
    truncate -s "$size" "$fs.image"
    case $type in
    xfs) mkfs.xfs -q -m reflink=1 "$fs.image" ;;
    *) "mkfs.$type" -q "$fs.image" ;;
    esac
    mount -o loop "$fs.image" "$fs" 2>/dev/null || skip "cannot mount $type in a loop device here"
    cleanup umount -l "$fs"
}

# make_disk IMAGE [SIZE [FILE=CONTENT...]]: an ext4 disk for the guest
make_disk() {
    local image=$1 size=${2:-32M} content
    shift
    [ $# = 0 ] || shift
    rm -rf "$work/content"
    mkdir "$work/content"
    for content; do
        echo "${content#*=}" >"$work/content/${content%%=*}"
    done
    rm -f "$image"
    truncate -s "$size" "$image"
    mkfs.ext4 -q -F -E root_owner=0:0 -d "$work/content" "$image"
}

guest_cmdline="console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests apparmor=0 audit=0 ipv6.disable=1 nokaslr \
norandmaps noreplace-smp tsc=reliable no_timer_check"

# make_config FILE NAME DISK...: an xl.cfg for the test guest. $extra is added to the kernel's command line, $config_tail
# to the file.
make_config() {
    local file=$1 name=$2 disk
    shift 2
    {
        echo "# a domain of the integration tests"
        echo "name = \"$name\""
        echo "type = \"pvh\""
        echo "memory = 128"
        echo "kernel = \"${guest:-/boot}/vmlinuz\""
        echo "ramdisk = \"${guest:-/boot}/initrd\""
        echo "extra = \"$guest_cmdline ${extra:-}\""
        echo "disk = ["
        for disk; do
            echo "    '$disk',"
        done
        echo "]"
        echo "${config_tail:-}"
    } >"$file"
}

# ---- running vmundo ---------------------------------------------------------------------------------------------------

# vmundo ARGUMENT...: never hangs for ever
vmundo() { timeout "${limit:-120}" "$VMUNDO" "$@"; }

# An ordinary user with $work/home, for whom `as_user COMMAND...` runs it. The build directory may lie where only root can
# go, so the programs are copied; $VMUNDO and $VMUNDO_LIBEXEC_DIR are those copies from then on.
user=65534
requires_user() {
    requires_root
    requires setpriv
    local dir
    chmod 755 "$work"
    mkdir "$work/home"
    chown $user:$user "$work/home"
    for dir in cli core monitor; do
        mkdir -p "$work/build/src/$dir"
        find "$VMUNDO_BUILD/src/$dir" -maxdepth 1 ! -type d \( -name vmundo -o -name 'libvmundo.so*' -o -name vmundo-monitor \) \
            -exec cp -P {} "$work/build/src/$dir/" \;
    done
    VMUNDO=$work/build/src/cli/vmundo
    VMUNDO_LIBEXEC_DIR=$work/build/src/monitor
}
as_user() { env -u VMUNDO_STATE_DIR HOME="$work/home" setpriv --reuid=$user --regid=$user --clear-groups "$@"; }

# expect_exit CODES PATTERN COMMAND...: the exit code is that (or one of those: "[15]"), and the output matches the extended regular expression
expect_exit() {
    local want=$1 pattern=$2 rc=0
    shift 2
    "$@" >"$work/output" 2>&1 </dev/null || rc=$?
    # shellcheck disable=SC2053 # a pattern is wanted
    [[ $rc == $want ]] || { cat "$work/output" >&2; fail "exit code $rc instead of $want: $*"; }
    grep -qE -- "$pattern" "$work/output" || { cat "$work/output" >&2; fail "no \"$pattern\" in what this said: $*"; }
}

# with_helpers NAME...: those that stay with a domain ("recorder") in one directory with the monitor, as when they are installed
with_helpers() {
    local name
    export VMUNDO_LIBEXEC_DIR=$work/libexec
    mkdir "$VMUNDO_LIBEXEC_DIR"
    for name in monitor "$@"; do ln -s "$VMUNDO_BUILD/src/$name/vmundo-$name" "$VMUNDO_LIBEXEC_DIR"; done
}

# field NAME FIELD: of `status --json`, as "state" or "disks.0.branch"
field() {
    vmundo status "$1" --json | python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."):
    value = value[int(key)] if isinstance(value, list) else value.get(key)
print(value)' "$2"
}

# wait_until SECONDS COMMAND...: until it succeeds
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "waited in vain for: $*"
        sleep 0.1
    done
}

# recorded: how many moments of vm are
recorded() { field vm recording | sed -n 's/.*; \([0-9]*\) checkpoints$/\1/p'; }

state_is() { [ "$(field "$1" state)" = "$2" ]; }
wait_state() { wait_until "${3:-60}" state_is "$1" "$2"; }

# ---- the guest ----------------------------------------------------------------------------------------------------------

# guest_say NAME COMMAND...: the guest does it; its output and exit code. $say_limit seconds.
guest_say() {
    local name=$1
    shift
    "$here/guest-say" "${say_limit:-90}" "$name" "$*"
}
# guest_tell NAME COMMAND...: without waiting for the end
guest_tell() {
    local name=$1
    shift
    "$here/guest-say" -n "${say_limit:-90}" "$name" "$*"
}
# guest_has NAME FILE TEXT: the file in the guest holds that, or with no TEXT: is not there
guest_has() {
    local seen
    if [ $# = 2 ]; then
        seen=$(guest_say "$1" "[ -e $2 ] && echo there || echo gone") || fail "$1 does not answer: $seen"
        [ "$seen" = gone ] || fail "$2 exists in $1"
        return 0
    fi
    seen=$(guest_say "$1" "cat $2") || fail "no $2 in $1: $seen"
    [ "$seen" = "$3" ] || fail "$2 in $1 holds \"$seen\" instead of \"$3\""
}

# guest_now NAME WHAT: the guest writes that to its disk and its RAM (the root file system)
guest_now() { guest_say "$1" "echo $2 >state; echo $2 >/memory"; }
# guest_is NAME DISK [RAM]: what the guest finds there; without RAM: it has booted, and knows nothing any more
guest_is() {
    guest_has "$1" state "$2"
    if [ $# = 3 ]; then guest_has "$1" /memory "$3"; else guest_has "$1" /memory; fi
}

# ---- proof ----------------------------------------------------------------------------------------------------------------

sum_of() { sha256sum <"$1" | cut -c1-64; }
# remember FILE...: and later `unchanged`: byte for byte, with mode, owner and extended attributes
declare -A remembered
describe() { echo "$(sum_of "$1") $(stat -c '%a %u %g %h %s' "$1") $(getfattr -d -m - "$1" 2>/dev/null | sha256sum)"; }
remember() {
    local file
    for file; do remembered[$file]=$(describe "$file"); done
}
unchanged() {
    local file
    for file in "${!remembered[@]}"; do
        [ "$(describe "$file")" = "${remembered[$file]}" ] || fail "$file has changed"
    done
}

# The processes that commands of this test have left running: they became children of the reaper.
processes() {
    local pid
    # shellcheck disable=SC2013 # words are wanted
    for pid in $(cat /proc/"$REAPER_PID"/task/*/children); do
        [ "$pid" = $$ ] || [ "$(awk '/^State:/ { print $2 }' "/proc/$pid/status" 2>/dev/null || echo Z)" = Z ] || echo "$pid"
    done
}

# ends_soon: within three seconds there is none of them any more
ends_soon() {
    local n
    for ((n = 0; n < 60; n++)); do
        [ -n "$(processes)" ] || return 0
        sleep 0.05
    done
    return 1
}

# named NAME: those of them, and of their children, that are called so; a program's name has 15 letters here
named() {
    local pid all
    all=$(processes)
    for pid in $all $(for pid in $all; do cat "/proc/$pid/task/$pid/children" 2>/dev/null; done); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$1" ] || echo "$pid"
    done
}

# Where traces looks for branches; a test may add to it.
places=("$work")

# What of the machine this test has in use, without vmundo's code: loop devices, mounts, processes, branches, files in the
# state directory beside the database, locks held on them.
traces() {
    local pid
    losetup -n -l -O NAME,BACK-FILE | awk -v work="$work" 'index($0, work) { print "loop", $2 }'
    awk -v work="$work" 'index($0, work) { print "mount", $5 }' /proc/self/mountinfo
    for pid in $(processes); do
        echo "process $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c1-150)"
    done
    find "${places[@]}" -path "$VMUNDO_STATE_DIR" -prune -o -name '*.vmundo*' -printf 'branch %p\n'
    [ -d "$VMUNDO_STATE_DIR" ] || return 0
    find "$VMUNDO_STATE_DIR" -mindepth 1 ! -name 'state.db*' -printf 'state %P\n' | sort
    # Three times: while the kernel tells it, the list may change, and one be missing or there twice.
    awk -v inodes="$(find "$VMUNDO_STATE_DIR" -printf '%i ')" -v device="$(stat -c '%Hd %Ld' "$VMUNDO_STATE_DIR" | xargs printf '%02x:%02x')" '
        BEGIN { n = split(inodes, list, " "); for (i = 1; i <= n; i++) ours[device ":" list[i]] = 1 }
        $6 in ours { print "lock", $2, $4, $6 }' <(cat /proc/locks /proc/locks /proc/locks) | sort -u | cut -d" " -f1-3
}
# baseline: now is how it should be again; no_traces: it is, or becomes so within the moment in which a process that was
# killed or has lost its parent ends
baseline() { vmundo list >/dev/null; traces >"$work/baseline"; }
no_traces() {
    local n
    for ((n = 0; n < 20; n++)); do
        traces >"$work/traces"
        if diff "$work/baseline" "$work/traces" >"$work/difference"; then return; fi
        sleep 0.1
    done
    cat "$work/difference" >&2
    fail "traces left: ${1:-}"
}
