#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A pool in a file is mounted at every boot by a unit that systemd accepts, and which goes with it.
. "$(dirname "$0")/functions.sh"
requires_root
requires mkfs.xfs systemd-analyze systemd-escape
baseline
export VMUNDO_UNIT_DIR=$work/units
mkdir "$VMUNDO_UNIT_DIR"
pool="$work/a b-c.d%i/fast.pool"
mkdir "${pool%/*}"
units() { (cd "$VMUNDO_UNIT_DIR" && find . -mindepth 1 ! -type d | sort); }

step "made"
expect_exit 0 "would write the unit" vmundo pool create "$pool" --size 400M --dry-run
[ -z "$(units)" ] || fail "a dry run has written: $(units)"
vmundo pool create "$pool" --size 400M
cleanup umount -l "$pool.d"
name=$(systemd-escape --path --suffix=mount "$pool.d")
[ "$(units)" = "./multi-user.target.wants/$name"$'\n'"./$name" ] || fail "units: $(units), wanted $name"
cat "$VMUNDO_UNIT_DIR/$name"
said=$(SYSTEMD_UNIT_PATH=$VMUNDO_UNIT_DIR: systemd-analyze --man=no verify "$VMUNDO_UNIT_DIR/$name" 2>&1 | grep -F "$name" || true)
[ -z "$said" ] || fail "systemd says: $said"

step "what it says is what is mounted"
umount "$pool.d"
unit() { sed -n "s/^$1=//p" "$VMUNDO_UNIT_DIR/$name" | sed 's/%%/%/g'; }
mount -t "$(unit Type)" -o "$(unit Options)" "$(unit What)" "$(unit Where)"
grep -q "not mounted" <<<"$(vmundo pool list)" && fail "vmundo does not see that it is mounted"

step "it goes with the pool"
vmundo pool remove "$pool"
[ -z "$(units)" ] || fail "left: $(units)"
rmdir "$pool.d" 2>/dev/null || true
[ "$(tr -d " \n" <"$VMUNDO_STATE_DIR/pools.json")" = "[]" ] || fail "a pool is remembered"
rm "$VMUNDO_STATE_DIR/pools.json"
no_traces
