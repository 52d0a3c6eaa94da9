#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# hostile.sh [SECONDS]: root's vmundo, and somebody else who owns the directory of an image, the image, or the configuration. Whatever
# they do, no file of others is changed, read into a branch, opened by QEMU, or given to them. docs/security.md says what is promised.
. "$(dirname "$0")/functions.sh"
requires_root
requires qemu-system-x86_64 qemu-img strace setpriv python3
seconds=${1:-${VMUNDO_TEST_LONG:+300}} seconds=${seconds:-36}
with_helpers guard recorder reserve
ln -s "$VMUNDO_BUILD/src/monitor/vmundo-hook" "$VMUNDO_LIBEXEC_DIR"
chmod 755 "$work"
make_fs xfs
theirs=$fs/theirs secret=$work/secret
mkdir "$theirs" "$secret"
echo "the secret of root" >"$secret/shadow"
truncate -s 1M "$secret/shadow"
chmod 600 "$secret/shadow"
them() { setpriv --reuid=$user --regid=$user --clear-groups "$@"; }

# fresh: their directory with their image
fresh() {
    rm -rf "$theirs"
    mkdir "$theirs"
    truncate -s 1M "$theirs/disk.img"
    echo "content of theirs" | dd of="$theirs/disk.img" conv=notrunc status=none
    chown -R $user:$user "$theirs"
}
# config DISK...: a domain without anything to boot
config() {
    {
        printf 'name = "vm"\ntype = "hvm"\nmemory = 32\ndisk = [\n'
        printf "    '%s',\n" "$@"
        printf ']\n'
    } >"$work/vm.cfg"
}
# refused PATTERN COMMAND...: in one line, without control characters, and nothing is changed
refused() {
    local pattern=$1
    shift
    expect_exit "[15]" "$pattern" vmundo "$@"
    [ "$(grep -vc 'there will be nothing to roll back' "$work/output")" = 1 ] || fail "more than a line: $(cat "$work/output")"
    shown "$work/output"
    unchanged
    no_traces "vmundo $*"
}
# shown FILE: nothing in it moves a terminal's cursor or changes its colours, title or direction of writing
shown() {
    ! grep -aqP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]' "$1" ||
        fail "what a terminal obeys is in: $(cat -v "$1")"
}
qemu_of() { field "${1:-vm}" pid; }
# keeps_out FILE: QEMU does not have it open
keeps_out() {
    ! find "/proc/$(qemu_of)/fd" -lname "$1*" | grep -q . || fail "QEMU has $1 open"
}
fresh
remember "$secret/shadow"
baseline

step "images that pretend to be of another format"
qemu-img create -q -f qcow2 -u -b "$secret/shadow" -F raw "$theirs/disk.img" 1M
config "format=raw,vdev=xvda,access=rw,target=$theirs/disk.img"
vmundo run -H qemu "$work/vm.cfg"
keeps_out "$secret"
cmp -n 1000 "$(field vm disks.0.branch)" "$theirs/disk.img" || fail "a raw image is not taken as it is"
vmundo checkpoint --ram vm one
vmundo rollback vm one
keeps_out "$secret"
vmundo drop vm
no_traces

step "images that are based on what is not theirs, whatever it is called, and whatever protects it"
ln -s "$secret/shadow" "$theirs/link"
for backing in "$secret/shadow" "../../secret/shadow" "$theirs/link" link "json:{\"driver\":\"file\",\"filename\":\"$secret/shadow\"}" \
    "file:$secret/shadow" "nbd:127.0.0.1:1" "fat:rw:$secret" /dev/loop0 /dev/null "$theirs"; do
    qemu-img create -q -f qcow2 -u -b "$backing" -F raw "$theirs/disk.img" 1M
    chown -h $user:$user "$theirs"/*
    for access in rw ro; do
        config "format=qcow2,vdev=xvda,access=$access,target=$theirs/disk.img"
        refused "disk.img" run -H qemu "$work/vm.cfg"
        [ $access = ro ] || refused "disk.img" run -H qemu --unprotected xvda "$work/vm.cfg"
    done
done
qemu-img create -q -f qcow2 -o data_file="$secret/new",data_file_raw=on "$theirs/disk.img" 1M
rm -f "$secret/new"
config "format=qcow2,vdev=xvda,access=rw,target=$theirs/disk.img"
refused "another file" run -H qemu "$work/vm.cfg"
[ ! -e "$secret/new" ] || fail "the data file was made"

step "links to what is not theirs"
fresh
mkdir "$theirs/dir"
mv "$theirs/disk.img" "$theirs/mine.img"
ln -s "$secret/shadow" "$theirs/disk.img"
ln -s "$secret" "$theirs/away"
ln -s disk.img "$theirs/again"
chown -h $user:$user "$theirs"/*
for name in disk.img away/shadow again dir/../disk.img; do
    for access in rw ro; do
        config "format=raw,vdev=xvda,access=$access,target=$theirs/$name"
        refused "link of user $user" run -H qemu "$work/vm.cfg"
        refused "link of user $user" plan "$work/vm.cfg"
        [ $access = ro ] || refused "link of user $user" run -H qemu --unprotected xvda "$work/vm.cfg"
    done
    config "format=raw,vdev=hdc,devtype=cdrom,access=ro,target=$theirs/$name"
    refused "link of user $user" run -H qemu "$work/vm.cfg"
done
rm "$theirs/disk.img"
ln -s mine.img "$theirs/disk.img" # their own is fine
chown -h $user:$user "$theirs/disk.img"
config "format=raw,vdev=xvda,access=rw,target=$theirs/disk.img"
vmundo run -H null "$work/vm.cfg"
vmundo drop vm
no_traces

step "a .vmundo that was there before"
fresh
config "format=raw,vdev=xvda,access=rw,target=$theirs/disk.img"
for how in "mkdir -m 700" "ln -s $secret" "ln -s /" mkfifo touch; do
    # shellcheck disable=SC2086 # words
    them $how "$theirs/.vmundo"
    baseline
    refused "\.vmundo" run -H qemu "$work/vm.cfg"
    rm -rf "$theirs/.vmundo"
done
mkdir -m 777 "$theirs/.vmundo"
baseline
refused "mode 0777" run -H qemu "$work/vm.cfg"
rmdir "$theirs/.vmundo"
baseline

step "configurations that others can write"
config "format=raw,vdev=xvda,access=rw,target=$theirs/disk.img"
for change in "chown $user" "chmod 646" "chgrp $user"; do
    # shellcheck disable=SC2086 # words
    $change "$work/vm.cfg"
    chmod g+w "$work/vm.cfg"
    refused "configuration .*vm.cfg .*(belongs|written)" run -H null "$work/vm.cfg"
    refused "configuration .*vm.cfg .*(belongs|written)" plan "$work/vm.cfg"
    chown 0:0 "$work/vm.cfg"
    chmod 644 "$work/vm.cfg"
done
chown $user "$work/vm.cfg"
SUDO_UID=$user vmundo run -H null "$work/vm.cfg" # who has root's rights from sudo decides anyway
chown 0 "$work/vm.cfg"
vmundo drop vm
no_traces

step "names and texts that a terminal would obey"
config "format=raw,vdev=xvda,access=rw,target=$theirs/disk.img"
odd=$work/$'\e]0;title\a\e[31mred\e[2J\xc2\x9b2J\xe2\x80\xaetxt.'
mkdir "$odd" "$odd"$'\xff'
cp "$work/vm.cfg" "$odd"$'\xff'
refused "not UTF-8" run -H null "$odd"$'\xff/vm.cfg'
mv "$work/vm.cfg" "$odd/vm.cfg"
vmundo run -H null "$odd/vm.cfg"
vmundo checkpoint vm one
for command in list "list --json" "status vm" "status vm --json" "tree vm" "log" "log --json" "diff vm" "plan $odd/vm.cfg" "plan --json $odd/vm.cfg"; do
    # shellcheck disable=SC2086 # words
    IFS=' ' vmundo $command >"$work/output" 2>&1
    shown "$work/output"
done
vmundo drop vm
mv "$odd/vm.cfg" "$work/vm.cfg"
mv "$theirs/disk.img" "$theirs/$(basename "$odd").img"
config "format=raw,vdev=xvda,access=rw,target=$theirs/$(basename "$odd").img"
expect_exit "*" . vmundo run -H null "$work/vm.cfg"
shown "$work/output"
IFS=' ' expect_exit "*" . vmundo drop vm
shown "$work/output"
for command in "run $odd" "status $odd" "checkpoint vm $odd" "run --name $odd x" "--$odd" "$odd"; do
    # shellcheck disable=SC2086 # words
    IFS=' ' expect_exit "[1-5]" . vmundo $command
    shown "$work/output"
done
no_traces

step "numbers"
fresh
config "format=raw,vdev=xvda,access=rw,target=$theirs/disk.img"
sed -i 's/memory = 32/memory = 99999999999999/' "$work/vm.cfg"
refused "memory" run -H qemu "$work/vm.cfg"
# A table of 2^32 entries in a file of 40 GiB that takes no room.
qemu-img create -q -f qcow2 "$theirs/disk.img" 1M
printf '\xff\xff\xff\xff' | dd of="$theirs/disk.img" bs=1 seek=36 conv=notrunc status=none
truncate -s 40G "$theirs/disk.img"
config "format=qcow2,vdev=xvda,access=rw,target=$theirs/disk.img"
begun=$SECONDS
expect_exit "*" . vmundo run -H null -m qcow2 "$work/vm.cfg"
expect_exit "*" . vmundo drop vm
[ $((SECONDS - begun)) -lt 10 ] || fail "an image's header kept us for $((SECONDS - begun)) s"
# And one of 8 EiB.
qemu-img create -q -f qcow2 "$theirs/disk.img" 1M
printf '\x7f\xff\xff\xff\xff\xff\xfe\x00' | dd of="$theirs/disk.img" bs=1 seek=24 conv=notrunc status=none
expect_exit "*" . vmundo plan "$work/vm.cfg"
expect_exit "[15]" "too big|disk.img" vmundo run -H qemu "$work/vm.cfg"
no_traces

# swapping SECONDS HYPERVISOR PAIR...: commands while the owner of the directory swaps these names. Each may fail, but none may harm.
swapping() {
    local length=$1 hypervisor=$2 end pid n=0 ran=0 rc
    shift 2
    config "format=raw,vdev=xvda,access=rw,target=$theirs/disk.img"
    cp "$here/swapper" "$work/swapper" # the source may lie where only root can go
    setpriv --reuid=$user --regid=$user --clear-groups "$work/swapper" "$@" >"$work/swapping" &
    pid=$!
    wait_until 20 test -s "$work/swapping"
    end=$((SECONDS + length))
    while [ $SECONDS -lt $end ]; do
        n=$((n + 1)) rc=0
        vmundo run -H "$hypervisor" "$work/vm.cfg" >>"$work/said" 2>&1 || rc=$?
        case $rc in 0) ran=$((ran + 1)) ;; [1456]) ;; *) fail "exit code $rc: $(tail -n 1 "$work/said")" ;; esac
        look_out
        for command in "checkpoint vm one" "rollback vm" "rollback vm one" "rollback --undo vm" "stop --force vm" "start vm" "drop vm"; do
            rc=0
            # shellcheck disable=SC2086 # words
            vmundo $command >>"$work/said" 2>&1 || rc=$?
            [ $rc -le 6 ] || fail "exit code $rc: $command: $(tail -n 1 "$work/said")"
            look_out
        done
    done
    kill $pid
    wait $pid || true
    echo "$n rounds, $ran times it ran"
    unchanged
    grep -v -e '^vm: ' -e '^vmundo: ' "$work/said" && fail "something else spoke"
    shown "$work/said"
}
# look_out: the victims are in no branch and not open
look_out() {
    local pid
    unchanged
    ! grep -rqs "secret of root" "$fs" || fail "the secret is in $(grep -rls "secret of root" "$fs")"
    for pid in $(processes); do
        ! find "/proc/$pid/fd" -lname "$secret/*" 2>/dev/null | grep -q . || fail "$(tr '\0' ' ' <"/proc/$pid/cmdline") has the secret open"
    done
}
# as_it_was: the swapper is gone; put things right, and end what there is
as_it_was() {
    vmundo recover >/dev/null
    if vmundo status vm >/dev/null 2>&1; then vmundo drop vm; fi
    find "$fs" -name '.vmundo*' -prune -exec rm -rf {} +
    vmundo recover >/dev/null
    no_traces
}

for hypervisor in null qemu; do
    step "swapped meanwhile, $hypervisor: the image and a link"
    fresh
    them ln -s "$secret/shadow" "$theirs/bait"
    swapping $((seconds / 6)) $hypervisor "$theirs/disk.img" "$theirs/bait"
    them sh -c "[ ! -L $theirs/disk.img ] || { mv $theirs/disk.img $theirs/x; mv $theirs/bait $theirs/disk.img; }"
    as_it_was

    step "swapped meanwhile, $hypervisor: a directory above it and a link to one with all the same names"
    mkdir -p "$fs/victim/.vmundo"
    chmod 700 "$fs/victim" "$fs/victim/.vmundo"
    echo "victim" >"$fs/victim/disk.img"
    truncate -s 1M "$fs/victim/disk.img"
    fresh
    mkdir "$theirs/dir"
    mv "$theirs/disk.img" "$theirs/dir/"
    ln -s "$fs/victim" "$theirs/link"
    chown -h $user:$user "$theirs"/*
    # Names that a branch will have, as root's files.
    for generation in 1 2 3 4 5 6; do
        echo "victim" >"$fs/victim/.vmundo/disk.img@vm.$(cat "$VMUNDO_STATE_DIR/id").$generation.clone"
    done
    places=("$work/state" "$theirs")
    remember "$fs"/victim/.vmundo/* "$fs/victim/disk.img"
    outer=$theirs theirs=$theirs/dir
    swapping $((seconds / 6)) $hypervisor "$outer/dir" "$outer/link"
    theirs=$outer
    them sh -c "[ ! -L $theirs/dir ] || { mv $theirs/dir $theirs/x; mv $theirs/link $theirs/dir; mv $theirs/x $theirs/link; }"
    vmundo recover >/dev/null
    if vmundo status vm >/dev/null 2>&1; then vmundo drop vm; fi
    unchanged

    step "swapped meanwhile, $hypervisor: .vmundo and theirs"
    fresh
    them mkdir -m 700 "$theirs/evil"
    for generation in 1 2 3; do
        them ln -s "$secret/shadow" "$theirs/evil/disk.img@vm.$(cat "$VMUNDO_STATE_DIR/id").$generation.clone"
    done
    swapping $((seconds / 6)) $hypervisor "$theirs/.vmundo" "$theirs/evil"
    find "$theirs" -mindepth 1 -maxdepth 1 -type d -user 0 ! -name .vmundo -exec sh -c "rm -rf $theirs/.vmundo; mv {} $theirs/.vmundo" \;
    for file in "$fs"/victim/.vmundo/* "$fs/victim/disk.img"; do unset "remembered[$file]"; done
    rm -rf "$fs/victim"
    as_it_was
    places=("$work")
done

# at_the_worst_moment CODES PATTERN BEFORE AFTER [OPTION...]: when vmundo has made its checks, and QEMU is about to start, their
# owner does BEFORE, and AFTER when QEMU has opened something else. It must not live to use it.
at_the_worst_moment() {
    local codes=$1 pattern=$2 before=$3 after=$4 real
    shift 4
    real=$(command -v qemu-system-x86_64)
    mkdir -p "$work/path"
    cat >"$work/path/qemu-system-x86_64" <<S
#!/bin/bash
cd $theirs
setpriv --reuid=$user --regid=$user --clear-groups sh -c '$before'
[ '$after' = true ] || (exec >&- 2>&- 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
    for n in \$(seq 500); do find /proc/\$\$/fd -lname '*victim*' | grep -q . && break; done
    setpriv --reuid=$user --regid=$user --clear-groups sh -c '$after') &
PATH=$PATH exec $real "\$@"
S
    chmod 755 "$work/path/qemu-system-x86_64"
    PATH=$work/path:$PATH expect_exit "$codes" "$pattern" vmundo run -H qemu "$@" "$work/vm.cfg"
    look_out
    for pid in $(processes); do
        ! find "/proc/$pid/fd" -lname '*victim*' 2>/dev/null | grep -q . || fail "QEMU has what is not its disk"
    done
    sleep 0.5
    unchanged
    them sh -c "cd $theirs; [ ! -L dir ] || { mv dir link; mv x dir; }; [ ! -L dir/disk.img ] || { rm dir/disk.img; mv dir/x dir/disk.img; }"
    vmundo recover >/dev/null
    ! vmundo status vm >/dev/null 2>&1 || vmundo drop vm
    no_traces "$pattern"
}
away="mv dir x && mv link dir"
for place in "$fs/theirs" "$work/theirs"; do # where files are cloned, and where they are not
    step "swapped between vmundo's look and QEMU's, in $place"
    theirs=$place
    fresh
    them mkdir "$theirs/dir"
    mv "$theirs/disk.img" "$theirs/dir/"
    mkdir -p "$place.victim/.vmundo"
    chmod 700 "$place.victim" "$place.victim/.vmundo"
    cp "$theirs/dir/disk.img" "$place.victim/"
    cp "$theirs/dir/disk.img" "$place.victim/.vmundo/disk.img@vm.$(cat "$VMUNDO_STATE_DIR/id").1.clone"
    them ln -s "$place.victim" "$theirs/link"
    remember "$place".victim/.vmundo/* "$place.victim/disk.img"
    places=("$work/state" "$theirs")
    config "format=raw,vdev=xvda,access=rw,target=$theirs/dir/disk.img"
    baseline
    method=(-m reflink)
    [ "$place" = "$fs/theirs" ] || method=(-m qcow2)
    # The disk itself is handed to QEMU open: it does not matter where its path leads.
    at_the_worst_moment "[056]" . "$away" true "${method[@]}"
    # What an overlay shows where it has nothing of its own, QEMU opens by its path.
    [ "${method[1]}" = reflink ] ||
        at_the_worst_moment "[56]" "link of user $user" "cd dir && mv disk.img x && ln -s $secret/shadow disk.img" true "${method[@]}"
    [ "${method[1]}" = reflink ] ||
        at_the_worst_moment 5 "another file|link of user $user" "cd dir && mv disk.img x && ln -s $place.victim/disk.img disk.img" \
            "cd dir && rm disk.img && mv x disk.img" "${method[@]}"
    for file in "${!remembered[@]}"; do [ "$file" = "$secret/shadow" ] || unset "remembered[$file]"; done
    rm -rf "$place.victim" "$place"
    places=("$work")
done
theirs=$fs/theirs

step "no shell is ever run"
# -D: strace stays beside what it follows, and as long as a QEMU that was started lives.
fresh
config "format=raw,vdev=xvda,access=rw,target=$theirs/disk.img"
chmod 755 "$work/secret"
truncate -s 1M "$work/plain.img"
cat >"$work/two.cfg" <<C
name = "two"
type = "hvm"
memory = 32
disk = [ 'format=raw,vdev=xvda,access=rw,target=$work/plain.img' ]
C
commands=("plan $work/vm.cfg" "run -H qemu $work/vm.cfg" "checkpoint --ram --before /bin/true --after /bin/true vm one" "checkpoint vm two"
    "fork --count 2 vm@one" "list" "status vm" "tree vm" "diff vm" "rollback vm one" "rollback --undo vm" "rollback --to -1s vm"
    "pin vm one" "unpin vm one" "prune vm two" "record --every 200ms vm" "record --stop vm" "stop --force vm" "start vm"
    "stop --force vm" "keep --force --to $work/kept vm" "drop vm-1" "drop vm-2"
    "run -H qemu -m qcow2 $work/two.cfg" "checkpoint two one" "rollback two one" "stop --force two" "keep two" "run -H null $work/two.cfg"
    "drop two" "recover" "log" "completion bash" "help" "version")
n=0
for command in "${commands[@]}"; do
    n=$((n + 1))
    # shellcheck disable=SC2086 # words
    timeout 120 strace -f -D -qq --seccomp-bpf -e trace=execve,execveat -o "$work/trace.$n" "$VMUNDO" $command >>"$work/said" 2>&1 ||
        case $command in prune* | "rollback --to"* | keep*) ;; *) fail "$command: $(tail -n 2 "$work/said")" ;; esac
done
cat "$work"/trace.* | grep -oE 'execve(at)?\(.*' | grep -v ENOENT >"$work/execs"
[ "$(wc -l <"$work/execs")" -gt 40 ] || fail "strace has seen too little: $(cat "$work/execs")"
shells='"([^"]*/)?(sh|bash|rbash|dash|zsh|ksh|ash|csh|fish|busybox|env)"'
if grep -nE "^execve\\($shells|, \\[$shells" "$work/execs"; then fail "a shell was run"; fi
echo "programs: $(grep -oE '^execve(at)?\("[^"]*"' "$work/execs" | sed 's/.*"\(.*\)"/\1/; s|.*/||' | sort | uniq -c | awk '{ printf "%s×%s ", $2, $1 }')"
for pid in $(processes); do kill "$pid" 2>/dev/null || true; done
rm -rf "$work/kept"
no_traces "all that was started"
