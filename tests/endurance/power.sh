#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# power.sh TYPE [POINTS]: the power goes, at any moment.
#
# A small guest whose disk goes through QEMU's `blklogwrites` does with vmundo all that it can do (steps.TYPE below), on
# XFS, ext4 (with overlays) or btrfs, and says on that same disk which commands have answered (power-init). Then the disk
# is made anew as it may be after a power cut: at every flush with all that was written up to it, and at points in
# between with some of what was written since: any of it, whole or torn at sectors (power-replay). Each such disk is mounted,
# `vmundo recover` run on it, and what is there compared: what was acknowledged is there, what was not is there as a whole
# or not at all, checkpoints and origins are what they were to the byte, and nothing is left over.
#
# POINTS: how many, spread over the recording; the long form takes 33,400 of each type. POWER_SEED repeats a run.
. "$(dirname "$0")/../integration/functions.sh"
type=$1 points=${2:-400}
[ -z "${VMUNDO_TEST_LONG:-}" ] || points=33400
requires_root
requires qemu-img qemu-io python3 unshare busybox "mkfs.$type"
requires_guest
seed=${POWER_SEED:-$RANDOM}
disk=$work/disk megabytes=320

# ---- the disk, and what is done on it -----------------------------------------------------------------------------------

qcow2() { [ "$type" = ext4 ]; }

# Disks a and b of vm, c of web: all hold pattern 0 at first.
populate() {
    local name
    for name in a b c; do
        if qcow2 && [ $name = b ]; then
            qemu-img convert -O qcow2 "$work/guest/root/patterns/0" "$disk/b.qcow2"
        else
            cp "$work/guest/root/patterns/0" "$disk/$name.img"
        fi
    done
    local b=raw second=b.img
    ! qcow2 || b=qcow2 second=b.qcow2
    cat >"$disk/vm.cfg" <<C
name = "vm"
type = "hvm"
memory = 64
disk = [ 'format=raw,vdev=xvda,access=rw,target=$disk/a.img', 'format=$b,vdev=xvdb,access=rw,target=$disk/$second' ]
C
    cat >"$disk/web.cfg" <<C
name = "web"
type = "hvm"
memory = 64
disk = [ 'format=raw,vdev=xvda,access=rw,target=$disk/c.img' ]
C
}

# One command or one write of the guest per line. What is written without "flushed" is in the page cache alone.
steps() {
    local ram=--ram
    ! qcow2 || ram=''
    cat <<C
vmundo run -H null $disk/vm.cfg
write vm 1 1 flushed
write vm 2 2
vmundo checkpoint vm one $ram
write vm 1 3
write vm 2 4
vmundo checkpoint vm two
write vm 1 5 flushed
vmundo run -H null $disk/web.cfg
write web 1 6
vmundo rollback vm one
write vm 1 7
vmundo rollback vm --undo
vmundo checkpoint web early
write web 1 8
vmundo checkpoint web late
write web 1 9 flushed
vmundo pin web early
vmundo rollback vm two
write vm 2 10
vmundo stop --force vm
vmundo checkpoint vm off
vmundo start vm
vmundo prune vm one
vmundo unpin web early
vmundo prune web --keep-last 1
write web 1 11
vmundo stop --force web
vmundo keep web
C
    qcow2 || cat <<C
write_ram vm 12
vmundo checkpoint vm three --ram
vmundo fork vm@three --name copy
write copy 1 13
vmundo checkpoint copy mine
vmundo record vm --once
write vm 1 14
vmundo record vm --once
vmundo prune vm --recorded
vmundo rollback copy
vmundo drop copy
C
    cat <<C
vmundo rollback vm
write vm 1 15
write vm 2 16
vmundo rollback vm two --forget
write vm 1 17
write vm 2 18
vmundo stop --force vm
vmundo keep vm --to $disk/kept
vmundo run -H null $disk/vm.cfg
write vm 1 19
write vm 2 20
vmundo checkpoint vm last
write vm 2 21
vmundo stop --force vm
vmundo keep vm
vmundo run -H null $disk/vm.cfg
write vm 1 22
vmundo checkpoint vm gone
vmundo drop vm
C
}

make_disk_to_record() {
    local options=()
    case $type in
    xfs) options=(-q -m reflink=1 -d size=300m) ;;
    ext4) options=(-q -F -b 4096) ;;
    btrfs) options=(-q -b 300m) ;;
    esac
    truncate -s ${megabytes}M "$work/base.img"
    "mkfs.$type" "${options[@]}" "$work/base.img" $([ "$type" != ext4 ] || echo 300m) >/dev/null
    mkdir -p "$disk"
    mount -o loop "$work/base.img" "$disk" || skip "cannot mount $type in a loop device here"
    cleanup umount -l "$disk"
    populate
    umount "$disk"
}

record() {
    local n
    mkdir -p "$work/guest/root/patterns"
    for ((n = 0; n < 100; n++)); do
        python3 -c 'import sys; sys.stdout.write(f"{int(sys.argv[1]):08d}" * 2048)' $n >"$work/guest/root/patterns/$n"
    done
    make_disk_to_record
    steps >"$work/guest/root/steps"
    cat >"$work/guest/root/settings" <<C
type=$type options=noatime at=$disk sector=$((megabytes * 2048 - 8))
acknowledge=$VMUNDO_BUILD/tests/endurance/power-acknowledge vmundo=$VMUNDO_BUILD/src/cli/vmundo
C
    "$here/../endurance/power-guest" "$guest" "$VMUNDO_BUILD" "$work/guest"
    truncate -s 512M "$work/looks.img"
    cp --sparse=always "$work/base.img" "$work/recorded.img"
    local node=driver=file,cache.direct=off,discard=ignore
    timeout 900 qemu-system-x86_64 -accel tcg -M q35 -cpu max -m 768 -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$guest/vmlinuz" -initrd "$work/guest/initrd" -append "$guest_cmdline rdinit=/power-init" -serial stdio \
        -blockdev "$node,node-name=recorded-file,filename=$work/recorded.img" \
        -blockdev "$node,node-name=log-file,filename=$work/log" \
        -blockdev "driver=blklogwrites,node-name=logged,file.driver=raw,file.file=recorded-file,log.driver=raw,log.file=log-file" \
        -device virtio-blk-pci,drive=logged,discard=off,write-zeroes=off \
        -blockdev "$node,node-name=looks-file,filename=$work/looks.img" \
        -device virtio-blk-pci,drive=looks-file >"$work/console" 2>&1 </dev/null || true
    grep -q "POWER: done $(wc -l <"$work/guest/root/steps")" "$work/console" || { tail -n 20 "$work/console"; fail "no recording"; }
    mkdir "$work/looks"
    tar -x --warning=no-timestamp -f "$work/looks.img" -C "$work/looks"
}

# ---- replay ---------------------------------------------------------------------------------------------------------------

# A file system in memory that can clone, for the many disks.
make_room() {
    mkdir -p "$work/memory"
    mount -t tmpfs -o size=2G none "$work/memory"
    cleanup umount -l "$work/memory"
    truncate -s 1500M "$work/memory/room.img"
    mkfs.xfs -q -m reflink=1 "$work/memory/room.img"
    mkdir -p "$work/room"
    mount -o loop "$work/memory/room.img" "$work/room"
    cleanup umount -l "$work/room"
}

step "recording on $type"
: >"$work/log"
record
echo "$(wc -l <"$work/guest/root/steps") steps in $SECONDS s, a log of $(($(stat -c %s "$work/log") >> 20)) MiB"
make_room
step "replaying, seed $seed"
workers=$(nproc) pids=()
for ((worker = 0; worker < workers; worker++)); do
    unshare -m --propagation private python3 "$here/../endurance/power-replay" "$work" "$type" "$disk" --points "$points" --seed "$seed" \
        --worker "$worker/$workers" >"$work/out.$worker" 2>&1 &
    pids+=($!)
done
rc=0
for ((worker = 0; worker < workers; worker++)); do
    wait "${pids[worker]}" || rc=1
    cat "$work/out.$worker"
done
[ $rc = 0 ] || { [ -z "${POWER_SAVE:-}" ] || cp -r --sparse=always "$work" "$POWER_SAVE"; fail "something was lost on $type; POWER_SEED=$seed repeats this choice of points on another recording"; }
echo "in $SECONDS s"
