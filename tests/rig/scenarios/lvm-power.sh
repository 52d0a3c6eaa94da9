# SPDX-License-Identifier: LGPL-2.1-or-later
# The power goes in the middle of a merge, of copying an image back, of a rollback and of a run, all at once. After the
# next boot `vmundo recover` finishes or undoes each, and every byte is what it has to be.
# cut: once
# limit: 900
cfg() { plain_cfg "$1" "format=raw,vdev=xvda,access=rw,target=$2"; }
# held PATH CALL N COMMAND...: run it in the background; it stands still for long before its N-th CALL, counting with a
# PATH only those that go there. Not while it has the state database locked: then nobody else could do anything.
held() {
    local path=${1:+-P$1} call=$2 when=enter n=$3
    shift 3
    # shellcheck disable=SC2086 # nothing, or one word
    strace $path -qq -e signal=none -e "trace=$call" -e "inject=$call:delay_$when=900000000:when=$n" -o "$W/held.$RANDOM" "$@" >>"$W/held.out" 2>&1 &
}

if [ "$RIG_PHASE" = 1 ]; then
    # A group each: vmundo runs one lvm at a time on a group, and some are held while they do.
    new_vg power-big 700
    lvcreate -qq -y -L 160M -n big power-big
    for lv in old new; do new_vg "power-$lv" 100 && lvcreate -qq -y -L 16M -n "$lv" "power-$lv"; done
    new_vg power-files 400
    lvcreate -qq -y -L 96M -n files power-files
    mkfs.ext4 -q /dev/power-files/files
    mkdir -p "$W/files"
    mount /dev/power-files/files "$W/files"
    for f in vm other; do head -c 24M /dev/urandom >"$W/files/$f.img"; done
    for lv in big old new; do head -c 16M /dev/urandom | dd of="/dev/power-$lv/$lv" bs=1M iflag=fullblock conv=fsync status=none; done
    sync
    cfg merge /dev/power-big/big
    cfg copy "$W/files/vm.img"
    cfg back /dev/power-old/old
    cfg start /dev/power-new/new
    say "three domains, with changes"
    for d in merge copy back; do vmundo run -q -H null "$W/$d.cfg"; done
    # Enough that its merge takes a while, quickly made.
    yes "$RANDOM" | dd of="$(branch_of merge xvda)" bs=1M count=110 iflag=fullblock oflag=direct conv=fsync status=none || true
    scribble "$(branch_of copy xvda)" 50 1000
    scribble "$(branch_of back xvda)" 5 500
    for f in vm other; do sum "$W/files/$f.img" >"$W/$f.was"; done
    for lv in old new; do sum "/dev/power-$lv/$lv" >"$W/$lv.was"; done
    for d in merge copy back; do sum "$(branch_of "$d" xvda)" >"$W/$d.want"; done
    for d in merge copy; do vmundo stop -q --force "$d"; done
    say "all of them in the middle of something"
    held "$W/files/vm.img" pwrite64 6 vmundo keep -q copy
    held "" "?clone,?clone3,?vfork" 1 vmundo drop -q back
    held "" "?rename,?renameat,?renameat2" 1 vmundo run -q -H null "$W/start.cfg"
    until_true 90 bash -c "dmsetup ls | grep -q 'power--new-new.vmundo.*-cow'"
    until_true 90 bash -c "! cmp -s <(md5sum <$W/files/vm.img | cut -d' ' -f1) $W/vm.was"
    vmundo keep -q merge >>"$W/held.out" 2>&1 &
    until_true 90 bash -c 'dmsetup status power--big-big | grep -q snapshot-merge'
    dmsetup status power--big-big
    sync -f "$W"
    cut_here
fi

say "after the power cut"
dmsetup status
mount /dev/power-files/files "$W/files"
vmundo recover
vmundo recover | grep -q "nothing to recover" || fail "recover is not finished"
same "$(sum /dev/power-big/big)" "$(<"$W/merge.want")" "merged"
same "$(sum "$W/files/vm.img")" "$(<"$W/copy.want")" "copied back"
same "$(sum "$W/files/other.img")" "$(<"$W/other.was")" "the other file"
for lv in old new; do same "$(sum "/dev/power-$lv/$lv")" "$(<"$W/$lv.was")" "origin $lv"; done
vmundo list
for d in $(vmundo list | awk 'NR > 1 {print $1}'); do vmundo drop -q "$d"; done
no_traces power-big power-old power-new power-files
e2fsck -fn /dev/power-files/files >/dev/null 2>&1 || true
say done
