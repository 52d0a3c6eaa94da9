#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An image of somebody else that names a file as its backing or data file which only we may read: whichever way the disk is
# used, and whatever driver would protect it, root's vmundo must not hand the file to the guest.
. "$(dirname "$0")/../misuse.sh"
[ "$(id -u)" = 0 ] || skip "only root can read what the owner of an image cannot"
secret=$work/secret
truncate -s 1M "$secret"
chmod 600 "$secret"
bad=$work/bad.qcow2
qemu-img create -q -f qcow2 -u -b "$secret" -F raw "$bad" 1M
chown 65534 "$bad"
for mode in rw ro; do
    config "$name" "$memory" "disk = [ 'format=qcow2,vdev=xvda,access=$mode,target=$bad' ]"
    run_refused 5 "secret"
done
config "$name" "$memory" "disk = [ 'format=qcow2,vdev=xvda,access=rw,target=$bad' ]"
refused 5 "secret" run -H null --unprotected xvda "$cfg"
rm "$bad"
qemu-img create -q -f qcow2 -o data_file="$work/data",data_file_raw=on "$bad" 1M
chown 65534 "$bad"
for mode in rw ro; do
    config "$name" "$memory" "disk = [ 'format=qcow2,vdev=xvda,access=$mode,target=$bad' ]"
    run_refused 5 "another file"
done
