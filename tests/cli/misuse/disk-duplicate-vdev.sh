#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Two disks with one vdev.
. "$(dirname "$0")/../misuse.sh"
cp "$image" "$work/other.img"
config "$name" "$memory" "disk = [ 'file:$image,xvda,w', 'file:$work/other.img,xvda,w' ]"
run_refused 1 "xvda"
