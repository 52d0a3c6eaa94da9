#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# State directories that cannot be one.
. "$(dirname "$0")/../misuse.sh"
: >"$work/file"
expect_exit 1 "file" vmundo list --state-dir "$work/file"
expect_exit 2 "state directory" vmundo list --state-dir ""
expect_exit 1 "/proc/nothing" vmundo list --state-dir /proc/nothing/here
mkdir -m 777 "$work/open"
expect_exit "[01]" "." vmundo list --state-dir "$work/open"
ln -s "$work/nowhere" "$work/link"
expect_exit 1 "link" vmundo list --state-dir "$work/link"
if [ "$(id -u)" = 0 ]; then
    mkdir "$work/theirs"
    chown 65534 "$work/theirs"
    expect_exit 1 "theirs.*belongs|belongs.*theirs|owner" vmundo list --state-dir "$work/theirs"
    [ -z "$(ls -A "$work/theirs")" ] || fail "wrote into somebody else's directory"
fi
