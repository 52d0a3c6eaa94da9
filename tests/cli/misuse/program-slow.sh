#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A program that does not end for a long time: what is waited for is said, on standard error, but not with --quiet.
. "$(dirname "$0")/../misuse.sh"
requires qemu-img
mkdir "$work/bin"
{
    echo '#!/bin/sh'
    echo 'sleep 12'
    echo "exec $(command -v qemu-img) \"\$@\""
} >"$work/bin/qemu-img"
chmod +x "$work/bin/qemu-img"
PATH=$work/bin:$PATH vmundo run -H null --method qcow2 "$cfg" >"$work/said" 2>"$work/complaint" &
first=$!
sed 's/"vm"/"other"/' "$cfg" >"$work/other.cfg"
truncate -s 1M "$work/other.img"
sed -i "s/data.img/other.img/" "$work/other.cfg"
PATH=$work/bin:$PATH vmundo run -q -H null --method qcow2 "$work/other.cfg" >"$work/quiet" 2>&1 || fail "$(cat "$work/quiet")"
wait $first || fail "$(cat "$work/complaint")"
grep -qE '^vmundo: still waiting for qemu-img \(pid [0-9]+\), for 5 s$' "$work/complaint" || fail "says: $(cat "$work/complaint")"
[ "$(wc -l <"$work/complaint")" = 1 ] || fail "says it $(wc -l <"$work/complaint") times"
[ ! -s "$work/quiet" ] || fail "says: $(cat "$work/quiet")"
vmundo drop -q vm
vmundo drop -q other
no_traces
