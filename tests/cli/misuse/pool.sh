#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# vmundo pool, told what makes no sense, or of files that are there. What needs LVM is in tests/rig.
. "$(dirname "$0")/../misuse.sh"
refused 2 "pool" pool
refused 2 "'fry' is nothing that 'vmundo pool' can do; it can: create" pool fry
refused 2 "usage: vmundo pool create" pool create
refused 2 "one word too many" pool list one
refused 2 "one word too many" pool remove one two
refused 2 "one word too many" pool mount one two
refused 2 "--thin has no meaning for 'vmundo pool remove'" pool remove --thin p
refused 2 "--wipe has no meaning" pool list --wipe
refused 2 "name of a volume group" pool create -- '-p' /dev/null
refused 2 "name of a volume group" pool create 'a b' /dev/null
refused 2 "needs devices" pool create p
refused 2 "either devices or --file" pool create p /dev/null --file "$work/p" --size 1G
refused 2 "needs --size" pool create p --file "$work/p"
refused 2 "--size goes with --file" pool create p /dev/null --size 1G
refused 2 "--stripes goes with --thin" pool create p /dev/null /dev/null --stripes 2
refused 2 "more stripes" pool create p --file "$work/p" --size 1G --thin --stripes 2
refused 2 "--mount is for an XFS pool" pool create p /dev/null --mount "$work/m"
refused 2 "no size" pool create p --file "$work/p" --size lots
refused 2 "needs --size" pool create "$work/p"
refused 2 "are for a volume group" pool create "$work/p" --size 1G --thin
refused 2 "are for a volume group" pool create "$work/p" /dev/null --size 1G
refused 2 "--wipe is for a device" pool create "$work/p" --size 1G --wipe
refused 2 "not the path of a file" pool create "$work/" --size 1G
refused 3 "no directory" pool create "$work/nowhere/p" --size 1G
refused 4 "there is a file" pool create "$image" --size 1G
refused 3 "no pool that is known here" pool remove "$work/p"
refused 3 "no pool that is known here" pool grow "$work/p" --size 2G
refused 3 "there is no" pool mount "$work/p"
refused 5 "is no pool" pool mount "$image"
refused 3 "no pool 'p' in a file" pool mount p
refused 2 "a path, with a '/' in it: ./p" pool import p "$image"
[ ! -e "$work/p" ] && [ ! -e "$work/p.d" ] || fail "something was made"

# A list of pools that is damaged says what to do.
vmundo list -q
echo '[{' >"$VMUNDO_STATE_DIR/pools.json"
baseline
refused 1 "pools.json is damaged: remove it" pool mount
echo '{}' >"$VMUNDO_STATE_DIR/pools.json"
refused 1 "pools.json is damaged: remove it" pool mount
rm "$VMUNDO_STATE_DIR/pools.json"
baseline

# A dry run makes nothing.
requires mkfs.xfs
before=$(ls "$work")
vmundo pool create "$work/p" --size 1G --dry-run >"$work/output"
grep -q "would make the file $work/p of 1 GiB" "$work/output" || fail "$(cat "$work/output")"
rm "$work/output"
[ "$(ls "$work" | grep -v output)" = "$(grep -v output <<<"$before")" ] || fail "a dry run made something"
