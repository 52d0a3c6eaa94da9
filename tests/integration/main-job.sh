#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# main-job.sh FS: run, damage, rollback, proof, keep, fresh run, drop, on a raw image in that file system.
. "$(dirname "$0")/functions.sh"
requires_guest
make_fs "$1"
image=$fs/data.img
case $1 in
ext4) driver=qcow2 ;;
*) driver=reflink ;;
esac
make_disk "$image" 64M state=known precious=data
chmod 640 "$image"
chown 1234:2345 "$image"
make_config "$work/vm.cfg" vm "file:$image,xvda,w"
config_sum=$(sum_of "$work/vm.cfg")
baseline
remember "$image"

step "run"
vmundo run "$work/vm.cfg"
[ "$(field vm disks.0.driver)" = $driver ] || fail "driver $(field vm disks.0.driver) instead of $driver"
branch=$(field vm disks.0.branch)
[ "$(stat -c '%a %u' "$(dirname "$branch")")" = "700 0" ] || fail "$(dirname "$branch") is open to others"
guest_has vm state known
guest_say vm "echo changed >state; rm precious; fill noise 8"
guest_has vm state changed
unchanged
[ "$(stat -c %b "$branch")" -gt 0 ] || fail "the branch is empty"

step "rollback"
vmundo rollback vm
guest_has vm state known
guest_has vm precious data
guest_has vm noise
[ -e "$branch" ] || fail "the old branch is gone: this cannot be undone"
unchanged

step "keep"
guest_say vm "echo kept >state; rm precious; fill noise 8"
expect_exit 4 "runs|running" vmundo keep vm
sum=$(guest_say vm sum)
vmundo keep --stop vm
[ "$(stat -c '%a %u %g' "$image")" = "640 1234 2345" ] || fail "owner or mode of the image: $(stat -c '%a %u %g' "$image")"
expect_exit 3 "vm" vmundo status vm
no_traces keep

step "a fresh run has what was kept"
remember "$image"
vmundo run "$work/vm.cfg"
[ "$(guest_say vm sum)" = "$sum" ] || fail "not what was kept"
guest_has vm state kept
vmundo drop vm
unchanged
no_traces drop
[ "$(sum_of "$work/vm.cfg")" = "$config_sum" ] || fail "the configuration was changed"
expect_exit 0 "nothing to recover" vmundo recover
