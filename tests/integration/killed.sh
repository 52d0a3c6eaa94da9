#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# killed.sh OPERATION [HYPERVISOR [SPREAD]]: vmundo is killed anywhere.
#
# A domain has two disks: a raw image on XFS (reflink) and a qcow2 image on ext4 (overlay). One undisturbed run of the
# operation (run, rollback, keep, drop; on two raw images on XFS: checkpoint, travel to one, undo, prune, fork of one, keepto: keep
# with --to, record one and let an older one go) is traced; then, for every n-th system call in it that changes something, the same
# operation is begun anew and vmundo is killed by strace just before that call. Then `vmundo recover` must give exactly
# the old or exactly the new state: the domain, both branches and both origins byte for byte, no other file, mount, loop
# device, process or lock; and a second `recover` must find nothing to do. SPREAD: only that many of the points.
#
# What strace does not follow (qemu-img, the hypervisor) lives on when vmundo is killed; KILL_CHILDREN=1 follows it, so
# that a child is killed at its own n-th call as well.
. "$(dirname "$0")/functions.sh"
operation=$1 hypervisor=${2:-null} spread=${3:-0}
requires strace qemu-img qemu-io
[ "$hypervisor" = null ] || requires qemu-system-x86_64
case ${ASAN_OPTIONS:-} in ?*) export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" ;; esac

calls="openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,rename,renameat,renameat2,unlink,\
unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,ioctl,fsync,fdatasync,sync_file_range,copy_file_range,sendfile,\
splice,setxattr,fsetxattr,lsetxattr,removexattr,fremovexattr,fchmod,fchmodat,chmod,fchown,fchownat,chown,lchown,utimensat,\
mount,umount2,mknod,mknodat,flock,kill,pidfd_send_signal,clone,clone3,vfork,fork,wait4,waitid,bind,connect,sendmsg,sendto"

# strace -e trace can be told a call that this machine does not have with a leading "?".
set_of_calls="?${calls//,/,?}"

# Those of the calls in a trace that change something, as "CALL N LINE": it is the N-th of its name (so strace counts), in
# that line. Opening a file for reading and asking a device change nothing.
changing_calls() {
    awk '{ name = substr($0, 1, index($0, "(") - 1); n[name]++ }
        /^openat\(/ && !/O_CREAT|O_TRUNC|O_WRONLY|O_RDWR|O_TMPFILE/ { next }
        /^ioctl\(/ && /TC|TIOC|FIEMAP|FS_IOC_GETFLAGS|BLKGET|_GET/ { next }
        { print name, n[name], NR }' "$1"
}

# ---- the world before, and what it may be after -------------------------------------------------------------------------

make_fs xfs
make_fs ext4
places=("$work/xfs" "$work/ext4")
raw=$work/xfs/raw.img qcow2=$work/ext4/data.qcow2
pristine=$work/pristine
mkdir "$pristine"
dd if=/dev/urandom of="$pristine/raw.img" bs=1M count=3 status=none
truncate -s 4M "$pristine/raw.img"
cp "$pristine/raw.img" "$pristine/changed.img"
dd if=/dev/urandom of="$pristine/noise" bs=64k count=2 status=none
dd if="$pristine/noise" of="$pristine/changed.img" bs=64k seek=20 conv=notrunc status=none
qemu-img convert -O qcow2 "$pristine/raw.img" "$pristine/data.qcow2"
config_tail='serial = "pty"'
# Nothing to boot is enough: the guest is not what is tested here.
cat >"$work/vm.cfg" <<C
name = "vm"
type = "hvm"
memory = 64
disk = [ 'format=raw,vdev=xvda,access=rw,target=$raw', 'format=qcow2,vdev=xvdb,access=rw,target=$qcow2' ]
C
vmundo list >/dev/null

# A running QEMU's RAM goes along.
time='' ram=()
case $operation in
checkpoint | travel | undo | prune | fork | keepto | record)
    time=1
    [ "$hypervisor" = null ] || ram=(--ram)
    ;;
esac
# Overlays cannot be copied: two raw images, then.
case $operation in
fork | record)
    qcow2=$work/xfs/second.img
    cp "$pristine/raw.img" "$pristine/second.img"
    sed -i "s|format=qcow2,vdev=xvdb,access=rw,target=.*'|format=raw,vdev=xvdb,access=rw,target=$qcow2'|" "$work/vm.cfg"
    ;;
esac

restore_origins() {
    local file
    for file in "$raw" "$qcow2"; do
        cmp -s "$pristine/${file##*/}" "$file" || cp "$pristine/${file##*/}" "$file"
    done
}

# The domain, changed on both disks, as the operation wants to find it
set_up() {
    local branch
    restore_origins
    [ "$operation" != run ] || return 0
    vmundo run -q -H "$hypervisor" "$work/vm.cfg"
    case $operation in
    travel | fork) vmundo checkpoint -q vm cp "${ram[@]}" ;;
    prune)
        vmundo checkpoint -q vm cp "${ram[@]}"
        vmundo checkpoint -q vm child
        ;;
    record)
        vmundo record -q vm --once
        vmundo checkpoint -q vm child
        sleep 0.1
        ;;
    esac
    if [ "$time" ] && [ "$hypervisor" != null ]; then # its branches are locked, and a stop would lose its RAM
        [ "$operation" != undo ] || vmundo rollback -q vm
        return 0
    fi
    # The branches of a running domain are locked by QEMU, not by the null hypervisor.
    [ "$hypervisor" = null ] || vmundo stop -q --force vm
    for branch in "$work"/xfs/.vmundo/*.1.clone "$(find "$work/ext4/.vmundo" -name '*.qcow2' | sort -V | tail -n 1)"; do
        [ -e "$branch" ] || continue
        case $branch in
        "$work/xfs"*) dd if="$pristine/noise" of="$branch" bs=64k seek=20 conv=notrunc status=none ;;
        *) qemu-io -f qcow2 -c "write -q -s $pristine/noise 1280k 128k" "$branch" ;;
        esac
    done
    [ "$operation" != undo ] || vmundo rollback -q vm
    if [ "$operation" = keep ] || [ "$operation" = keepto ]; then
        [ "$hypervisor" != null ] || vmundo stop -q --force vm
    elif [ "$hypervisor" != null ]; then
        vmundo start -q vm
    fi
}

# look NAME: traces and contents, with what may differ between two equal states made equal
look() {
    local file branch
    {
        # What the driver notes of a save, or of disks that moved on, is of no meaning once that is undone.
        traces | grep -vE '/run[.][0-9]*/[.]*(saved.json|moved)' | sed -E 's/run\.[0-9]+/run.N/; s/^process .*(qemu-system|vmundo-monitor).*/process \1/'
        vmundo list | awk 'NR > 1 { print "domain", $1, $2, $3 }'
        [ ! "$time" ] || vmundo tree vm --all --json 2>/dev/null | grep -v '"created\|"since"\|"used"' || true
        for file in "$raw" "$qcow2" "$work"/*/.vmundo/* "$work"/xfs/kept*/*; do
            [ -f "$file" ] || continue
            branch=${file#"$work/"}
            case $file in
            *ext4*) content_of qcow2 "$file" ;;
            *) content_of raw "$file" ;;
            esac | sed "s|^|$branch: |"
        done
    } >"$work/look.$1"
}

# content_of FORMAT FILE: pristine, changed, or neither
content_of() {
    local image
    for image in raw changed; do
        case $1 in
        raw) cmp -s "$pristine/$image.img" "$2" || continue ;;
        *) qemu-img compare -q -U -f raw -F "$1" "$pristine/$image.img" "$2" 2>/dev/null || continue ;;
        esac
        echo "$image"
        return
    done
    echo "other content"
}

tear_down() {
    local name
    for name in vm vm-1; do
        if vmundo status $name >/dev/null 2>&1; then
            vmundo drop -q $name
        fi
    done
    rm -rf "$work/xfs/kept"
}

command_line=("$operation" vm)
case $operation in
run) command_line=(run -H "$hypervisor" "$work/vm.cfg") ;;
checkpoint) command_line=(checkpoint vm cp "${ram[@]}") ;;
travel) command_line=(rollback vm cp) ;;
undo) command_line=(rollback vm --undo) ;;
prune) command_line=(prune vm cp) ;;
fork) command_line=(fork vm@cp) ;;
keepto) command_line=(keep vm --to "$work/xfs/kept") ;;
record) command_line=(record vm --once --every 100ms --keep 100ms) ;;
esac
baseline

# ---- once undisturbed -----------------------------------------------------------------------------------------------------

set_up
look old
if ! strace -qq -e signal=none -e "trace=$set_of_calls" -o "$work/calls" "$VMUNDO" "${command_line[@]}" >"$work/output" 2>&1; then
    cat "$work/output"
    fail "$operation does not work under strace"
fi
look new
! cmp -s "$work/look.old" "$work/look.new" || fail "$operation changes nothing"
tear_down
restore_origins
no_traces "$operation, undisturbed"
mapfile -t points < <(changing_calls "$work/calls")
[ ${#points[@]} -ge 10 ] || fail "only ${#points[@]} system calls were seen: this test tests nothing"
step=1
[ "$spread" = 0 ] || [ ${#points[@]} -le "$spread" ] || step=$((${#points[@]} / spread))

# ---- and killed anywhere ------------------------------------------------------------------------------------------------------


# broken LINE WHY
broken() {
    cat "$work/output"
    for state in old new now; do
        echo "---- $state"
        cat "$work/look.$state"
    done
    fail "$operation, killed before $(sed -n "${1}p" "$work/calls" | cut -c1-100): $2"
}

# went_on: the old state, but that the guest was already on a new overlay, which rests on the old one
went_on() {
    local base
    [ "$operation" = checkpoint ] || return 1
    base=$(sed -nE 's|^(ext4/.vmundo/.*)[.]gone: .*|\1|p' "$work/look.now")
    [ "$(wc -w <<<"$base")" = 1 ] || return 1
    grep -vF "$base" "$work/look.now" | sed -E 's/[.][0-9]+[.]qcow2/.N.qcow2/' >"$work/look.went"
    sed -E 's/[.][0-9]+[.]qcow2/.N.qcow2/' "$work/look.old" | diff -q - "$work/look.went" >/dev/null
}

# check LINE EXIT: old or new, and nothing more to recover. Counts which.
old=0 new=0 moved=0
check() {
    vmundo recover >"$work/output" 2>&1 || { look now; broken "$1" "recover failed with $?"; }
    look now
    if cmp -s "$work/look.now" "$work/look.new"; then
        new=$((new + 1))
    elif [ "$2" = 0 ]; then
        broken "$1" "it had answered with success, but this is not the new state"
    elif cmp -s "$work/look.now" "$work/look.old"; then
        old=$((old + 1))
    elif went_on; then
        moved=$((moved + 1))
    else
        broken "$1" "neither the old nor the new state"
    fi
    vmundo recover >"$work/output" 2>&1 || broken "$1" "the second recover failed"
    grep -q "nothing to recover" "$work/output" || broken "$1" "the second recover found something to do"
}

children=()
[ -z "${KILL_CHILDREN:-}" ] || children=(-f)
count=0 missed=0
for ((i = 0; i < ${#points[@]}; i += step)); do
    read -r call n line <<<"${points[i]}"
    set_up
    rc=0
    # Killing prints a line of the shell's; the process substitution keeps it away.
    { timeout 120 strace "${children[@]}" -qq -e signal=none -e "trace=$set_of_calls" \
        -e "inject=$call:signal=KILL:when=$n" -o /dev/null "$VMUNDO" "${command_line[@]}"; } >"$work/output" 2>&1 || rc=$?
    [ $rc = 137 ] || missed=$((missed + 1))
    check "$line" $rc
    count=$((count + 1))
    tear_down
    restore_origins
    no_traces "$operation, killed before $call $n"
done
echo "$operation with the $hypervisor hypervisor: killed at $((count - missed)) of ${#points[@]} points," \
    "$old times the old state (and $moved times on a new overlay), $new times the new one"
# Where a child was killed instead, vmundo itself may have ended in order.
[ -n "${KILL_CHILDREN:-}" ] || [ $missed -le $(((count + 19) / 20)) ] || fail "vmundo was not killed $missed times"
if [ $old = 0 ] || [ $new = 0 ]; then
    fail "all kills gave the same state: this test tests nothing"
fi
