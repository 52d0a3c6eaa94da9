# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# common.sh: what the storage tests share: the drive program, and looking at files.
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
drive=$VMUNDO_BUILD/tests/integration/storage/drive
mkdir -p "$VMUNDO_STATE_DIR"

drive() { timeout 120 "$drive" "$@"; }

# new IMAGE FORMAT [METHOD [DOMAIN]]: name a branch; sets $state, $driver and $branch
new() {
    local domain=${4:-web}
    state=$work/$domain.json
    drive new "$state" "$1" "$2" "${3:--}" "$domain" 1 "$VMUNDO_STATE_DIR" >"$work/named" || return
    read -r driver branch <"$work/named"
}
# make IMAGE FORMAT [METHOD [DOMAIN]]: and create it
make() {
    new "$@"
    drive preflight "$state" || return
    drive create "$state"
}
# keep: check, keep, remove
keep() {
    drive keep_check "$state"
    drive keep "$state" 2>/dev/null
    drive remove "$state"
}

# write FORMAT IMAGE BYTE OFFSET LENGTH
write() { qemu-io -f "$1" -c "write -q -P $3 $4 $5" "$2"; }
# holds FORMAT IMAGE BYTE OFFSET LENGTH
holds() { qemu-io -r -U -f "$1" -c "read -q -P $3 $4 $5" "$2" 2>&1 | grep -q . && fail "$2 does not hold $3 at $4" || true; }

# All that belongs to a file but its content and times
attributes() {
    stat -c '%F %a %u %g %h' "$1"
    getfattr -d -m - -e hex "$1" 2>/dev/null | tail -n +2 | sort
    getfacl -cpn "$1"
    lsattr -d "$1" 2>/dev/null | cut -d' ' -f1
}
blocks() { stat -c %b "$1"; }
nothing_left() { [ ! -e "$1/.vmundo" ] || fail "$1/.vmundo is left: $(ls -A "$1/.vmundo")"; }
expect() { [ "$1" = "$2" ] || fail "\"$1\" instead of \"$2\"${3:+: $3}"; }
