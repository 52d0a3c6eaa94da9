#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Two disks with one target, by whatever name.
. "$(dirname "$0")/../misuse.sh"
config "$name" "$memory" "disk = [ 'file:$image,xvda,w', 'file:$image,xvdb,w' ]"
run_refused 1 "xvd[ab].*xvd[ab]|$image"
ln -s "$image" "$work/link.img"
config "$name" "$memory" "disk = [ 'file:$image,xvda,w', 'file:$work/link.img,xvdb,w' ]"
run_refused "[15]" "xvd[ab].*xvd[ab]|$image"
rm "$work/link.img"
ln "$image" "$work/hard.img"
config "$name" "$memory" "disk = [ 'file:$image,xvda,w', 'file:$work/hard.img,xvdb,w' ]"
run_refused "[15]" "xvd[ab].*xvd[ab]|$image"
