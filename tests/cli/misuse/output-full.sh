#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The output cannot be written: exit 1.
. "$(dirname "$0")/../misuse.sh"
rc=0
vmundo list --json >/dev/full 2>"$work/output" || rc=$?
[ $rc = 1 ] || fail "exit code $rc"
grep -q "cannot write" "$work/output" || fail "no message"
rc=0
vmundo help >/dev/full 2>/dev/null || rc=$?
[ $rc = 1 ] || fail "exit code $rc of help"
