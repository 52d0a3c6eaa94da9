# SPDX-License-Identifier: LGPL-2.1-or-later
# `vmundo volume` and `vmundo pool` of volume groups, disturbed as in lvm-faults: what was begun is done, undone, or done when
# the command is given once more, as its message says; and nothing else in the group or on the disks has changed.
# limit: 1500
new_vg poolf 200
VMUNDO_FAULT_PVS="$(new_pv 100) $(new_pv 100)"
export VMUNDO_FAULT_PVS
for operation in volume-create volume-resize volume-remove group-create group-grow group-remove; do
    faults lvm null poolf -m "$(long 2 48)" $operation
done
say done
