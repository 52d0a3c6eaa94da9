#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU is not installed.
. "$(dirname "$0")/../misuse.sh"
mkdir "$work/bin"
for program in qemu-img timeout; do
    [ ! -x "/usr/bin/$program" ] || ln -s "/usr/bin/$program" "$work/bin/"
done
remember "$image" "$cfg"
path=$PATH
PATH=$work/bin
rc=0
vmundo run -H qemu "$cfg" >"$work/output" 2>&1 || rc=$?
PATH=$path
[ $rc = 1 ] || fail "exit code $rc: $(cat "$work/output")"
grep -q "qemu-system" "$work/output" || fail "the message does not name what is missing: $(cat "$work/output")"
unchanged
no_traces run
