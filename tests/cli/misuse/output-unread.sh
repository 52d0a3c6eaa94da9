#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Nobody reads the output any more: no complaint, and the end that other programs come to.
. "$(dirname "$0")/../misuse.sh"
{
    sleep 0.3
    rc=0
    vmundo help >&3 2>"$work/said" || rc=$?
    echo "$rc" >"$work/rc"
} 3>&1 >/dev/null | :
[ "$(<"$work/rc")" = 141 ] || fail "exit code $(<"$work/rc")"
[ ! -s "$work/said" ] || fail "it complains: $(<"$work/said")"
