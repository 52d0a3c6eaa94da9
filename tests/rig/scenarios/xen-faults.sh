# SPDX-License-Identifier: LGPL-2.1-or-later
# As lvm-faults, with a real domain of Xen's on classic snapshots: xl and what it starts are killed, fail and hang as well.
# What is left of Xen's is looked for, too: domains, and what serves their disks. Few points, since a domain takes seconds.
# limit: 1500
new_vg xenf 300
idle_kernel "$W/idle"
while read -r what; do
    # shellcheck disable=SC2086 # several words
    faults lvm xen xenf -m $what
done < <(if [ "$VMUNDO_TEST_LONG" ]; then printf '24 %s\n' run rollback keep drop; else
    printf '%s\n' '3 -c xl run spawn-fails spawn-killed spawn-hangs'
fi)
say done
