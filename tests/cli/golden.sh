#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What vmundo prints, as text and as JSON, is compared with the files in golden/, after paths, times and numbers that
# differ from run to run have been replaced. VMUNDO_GOLDEN=update writes the files anew: look at the difference before you
# commit it.
. "$(dirname "$0")/../integration/functions.sh"
requires qemu-img python3
golden=$(cd "$(dirname "$0")" && pwd)/golden
different=0

normalise() {
    sed -E -e "s|$work|WORK|g" -e 's/\([0-9.]+ m?s\)/(TIME)/' -e 's/^ *[0-9.]+ ms  /TIME  /' \
        -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}/DATE/g' -e 's/\.[0-9a-f]{8}\././g' \
        -e 's/("(created|started|begun|ended|used|ms)": )[1-9][0-9.]*/\1N/' -e 's/ +[0-9]+s( |$)/  AGE\1/' \
        -e 's/(qcow2 +)[0-9.]+[BKMG] /\1SIZE /' -e 's/^(used: +).*/\1SIZE/' -e 's/process [0-9]+/process PID/' -e 's/ free [0-9.]+[BKMGT]?/ free SIZE/'
}

# shows NAME ARGUMENT...: its output is golden/NAME.txt
shows() {
    local file=$golden/$1.txt rc=0
    shift
    {
        echo "\$ vmundo $*"
        vmundo "$@" 2>"$work/errors" || rc=$?
        sed 's/^/2> /' "$work/errors"
        echo "exit $rc"
    } </dev/null | normalise >"$work/seen"
    if [ "${VMUNDO_GOLDEN:-}" = update ]; then
        mkdir -p "$golden"
        cp "$work/seen" "$file"
    elif ! diff -u "$file" "$work/seen"; then
        different=$((different + 1))
    fi
}

# both NAME ARGUMENT...: as text and as JSON, which must be JSON
both() {
    local name=$1
    shift
    shows "$name" "$@"
    shows "$name-json" "$@" --json
    if vmundo "$@" --json 2>/dev/null >"$work/json"; then
        python3 -m json.tool "$work/json" >/dev/null || fail "not JSON: vmundo $* --json"
    fi
}

shows help help
for command in run rollback drop keep stop start record tree list status plan log console recover pool volume; do
    shows "help-$command" "$command" --help
done

# Neither file system matters, so that the images can lie anywhere: overlays and copies.
truncate -s 1M "$work/a.img"
qemu-img create -q -f qcow2 "$work/b.qcow2" 2M
: >"$work/cd.iso"
truncate -s 64K "$work/cd.iso"
cat >"$work/vm.cfg" <<C
name = "web"
memory = 64
vcpus = 1
disk = [ 'format=raw,vdev=xvda,access=rw,target=$work/a.img', 'format=qcow2,vdev=xvdb,access=rw,target=$work/b.qcow2',
         'format=raw,vdev=hdc,access=ro,devtype=cdrom,target=$work/cd.iso' ]
vnc = 1
C
null() { local name=$1 what=$2; shift 2; "$name" "$what" "$@" -H null -m qcow2 "$work/vm.cfg"; }

both list-empty list
both log-empty log
null both plan plan
null both run-dry run --dry-run
[ ! -d "$work/.vmundo" ] || fail "a dry run touched something"
null shows run run
both list-running list
both status-running status web
both rollback-dry rollback --dry-run web
both stop-dry stop --dry-run web
both drop-dry drop --dry-run web
shows keep-running keep web
shows keep-running-json keep web --json
shows rollback rollback web
shows stop stop --force web
both list-off list
both status-off status web
both keep-dry keep --dry-run web
shows start start web
shows stop-again stop --force web --json
shows keep keep web
both log log
shows recover recover
both unknown status nobody
both usage list --frobnicate
[ $different = 0 ] || fail "$different outputs differ from what stands in $golden"
