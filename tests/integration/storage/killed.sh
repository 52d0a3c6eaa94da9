#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# killed.sh FILESYSTEM METHOD [linked|power]: each callback is killed anywhere, and called again.
#
# Create, keep and remove are begun, and strace kills whoever comes to one of the system calls that change something, each
# in its turn: the driver or a qemu-img of its. Called again, each must come to the end that it comes to undisturbed: branch
# and origin byte for byte, attributes, and not a file more. linked: the image has a second hard link, which takes another
# way to keep.
#
# power: and in the moment of the kill the power goes too. What the file system has sent to its device by then is in the
# file behind the loop device; a copy of that is mounted in its place. And what a callback has answered with success must
# be there after a power cut in the next moment.
. "$(dirname "$0")/common.sh"
fstype=$1 method=$2 variant=${3:-}
requires strace qemu-img qemu-io setfacl
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 # there is no looking for leaks under strace
calls="openat,openat2,creat,write,pwrite64,pwritev,ftruncate,fallocate,renameat,renameat2,rename,unlinkat,unlink,mkdirat,\
mkdir,rmdir,linkat,ioctl,fsync,fdatasync,copy_file_range,fsetxattr,fremovexattr,fchmod,fchown,clone,clone3,vfork,wait4"
set_of_calls="?${calls//,/,?}"
make_fs "$fstype"
mkdir "$fs/images" "$work/pristine"
image=$fs/images/disk.img
dd if=/dev/urandom of="$work/pristine/old" bs=64k count=16 status=none
truncate -s 4M "$work/pristine/old"
cp "$work/pristine/old" "$work/pristine/new"
write raw "$work/pristine/new" 0x5a 512k 128k

set_up() {
    rm -rf "${fs:?}/images"
    mkdir "$fs/images"
    cp --reflink=never "$work/pristine/old" "$image"
    chown 1000:1001 "$image"
    chmod 640 "$image"
    setfacl -m u:1234:r "$image"
    setfattr -n user.note -v mine "$image"
    [ "$variant" != linked ] || ln "$image" "$fs/images/link"
    sync -f "$fs"
}
change() {
    case $branch in
    *.qcow2) write qcow2 "$branch" 0x5a 512k 128k ;;
    *) write raw "$branch" 0x5a 512k 128k ;;
    esac
}

# content FORMAT FILE: old, new or other
content() {
    local name
    for name in old new; do
        if [ "$1" = raw ]; then
            cmp -s "$work/pristine/$name" "$2" || continue
        else
            qemu-img compare -q -U -f raw -F "$1" "$work/pristine/$name" "$2" 2>/dev/null || continue
        fi
        echo $name
        return
    done
    echo other
}
# All that there is in the directory, and what it is
look() {
    (cd "$fs/images" && find . | sort)
    echo "image $(content raw "$image")"
    attributes "$image"
    if [ -e "$branch" ]; then
        case $branch in
        *.qcow2) echo "branch $(content qcow2 "$branch")" ;;
        *) echo "branch $(content raw "$branch")" ;;
        esac
        stat -c '%a %u %g' "$branch"
    fi
}

# before VERB: everything that comes before it
before() {
    set_up
    new "$image" raw "$method"
    [ "$1" != create ] || return 0
    drive create "$state"
    change
    [ "$1" != drop ] || return 0
    [ "$1" != remove ] || drive keep "$state" 2>/dev/null
}
# again VERB: the same once more; where it was create, once more after that too
again() {
    drive "$1" "$state" 2>"$work/output" || { cat "$work/output" >&2; fail "$1, called again, failed"; }
}

power_cut() {
    [ "$variant" = power ] || return 0
    cp --sparse=always "$fs.image" "$work/cut.image"
    umount "$fs"
    mv "$work/cut.image" "$fs.image"
    mount -o loop "$fs.image" "$fs"
}

# points VERB: run it undisturbed, and list "CALL N" for every N-th CALL of a process that changes something: strace counts
# every system call by itself, and every process too. Opening for reading and asking a device change nothing.
points() {
    rm -f "$work"/trace.*
    strace -ff -qq -e signal=none -e "trace=$set_of_calls" -o "$work/trace" "$drive" "$1" "$state" >/dev/null 2>&1
    awk '{ call = $1; sub(/\(.*/, "", call); n = ++count[FILENAME, call] }
        /^openat2?\(/ && !/O_CREAT|O_TRUNC|O_WRONLY|O_RDWR/ { next }
        /^ioctl\(/ && /FS_IOC_GETFLAGS|FSGETXATTR|FIEMAP|_GET|TCGETS|BLK/ { next }
        { print call, n }' "$work"/trace.* | sort -u
}
# killed_at CALL N VERB: the exit code
killed_at() {
    local rc=0
    { timeout 120 strace -f -qq -e signal=none -e "trace=$1" -e "inject=$1:signal=KILL:when=$2" -o /dev/null \
        "$drive" "$3" "$state"; } >/dev/null 2>&1 || rc=$?
    echo $rc
}

for verb in create keep remove drop; do
    callback=${verb/drop/remove}
    before $verb
    points $callback >"$work/points"
    look >"$work/want"
    power_cut
    look >"$work/now"
    diff "$work/want" "$work/now" || fail "$verb answered with success, but did not survive a power cut"
    missed=0
    while read -r call n; do
        # qemu-img's threads share its calls in another way each time: an n-th of one thread may be missing the next time.
        for try in 1 2 3 none; do
            [ $try != none ] || missed=$((missed + 1))
            before $verb
            sync -f "$fs"
            [ "$(killed_at "$call" "$n" $callback)" = 0 ] || break
        done
        power_cut
        again $callback
        look >"$work/now"
        diff "$work/want" "$work/now" || fail "$verb killed at $call $n, then called again, comes to another end"
        again $callback
        look >"$work/now"
        diff "$work/want" "$work/now" || fail "$verb killed at $call $n, then called twice, comes to another end"
    done <"$work/points"
    echo "$method on $fstype ${variant}: $verb killed at $(wc -l <"$work/points") points"
    [ $((missed * 4)) -le "$(wc -l <"$work/points")" ] || fail "$missed points were not met"
    [ "$(wc -l <"$work/points")" -ge 4 ] || fail "too few points: this tests nothing"
done

# What was killed in create and is then given up leaves nothing.
before create
points create >"$work/points"
while read -r call n; do
    before create
    killed_at "$call" "$n" create >/dev/null
    power_cut
    drive remove "$state"
    nothing_left "$fs/images"
done <"$work/points"
