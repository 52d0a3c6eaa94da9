# SPDX-License-Identifier: LGPL-2.1-or-later
# vmundo's calls fail, and the programs that it starts (lvm above all) are killed, fail or hang, in commands on a domain whose
# disks are a volume and an image on another one: tests/fault/fault, its world on volume groups (volumes.py there). Classic
# snapshots and thin ones at the same time, each with a group of its own.
# limit: 1500
# some GROUP STORAGE "POINTS OPERATION FAULT..."...: in the short form; the long one has all faults, and more points
some() {
    local group=$1 storage=$2 what
    for what in "${@:3}"; do
        [ -z "$VMUNDO_TEST_LONG" ] || what="48 $(cut -d' ' -f2 <<<"$what")"
        # shellcheck disable=SC2086 # several words
        faults "$storage" null "$group" -m $what || return 1
    done
}
new_vg classicf 300
new_vg thinf 300
classic=('2 rollback spawn-killed EMFILE')
thin=('2 checkpoint spawn-hangs ENOSPC')
if [ "$VMUNDO_TEST_LONG" ]; then
    classic+=('48 run' '48 keep' '48 drop')
    thin+=('48 run' '48 rollback' '48 travel' '48 keep' '48 drop' '48 prune')
fi
some thinf lvm-thin "${thin[@]}" >"$W/thin" 2>&1 &
pid=$!
some classicf lvm "${classic[@]}"
wait "$pid" || { cat "$W/thin"; fail "thin volumes"; }
cat "$W/thin"
say done
