#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Disk specifications that xl does not take either.
. "$(dirname "$0")/../misuse.sh"
for bad in nonsense "file:$image" "format=raw,vdev=xvda,access=maybe,target=$image" \
    "format=frob,vdev=xvda,access=rw,target=$image" "format=raw,access=rw,target=$image"; do
    config "$name" "$memory" "disk = [ '$bad' ]"
    run_refused 1 "disk|vdev|format|access"
done
config "$name" "$memory" "disk = 'file:$image,xvda,w'"
run_refused 1 "disk"
config "$name" "$memory" "disk = [ 'file:,xvda,w' ]"
run_refused 1 "xvda|target|disk"
