#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A target that is not there, or a link to nowhere, or to itself.
. "$(dirname "$0")/../misuse.sh"
config "$name" "$memory" "disk = [ 'file:$work/none.img,xvda,w' ]"
run_refused 1 "none.img.*(No such file|not exist|missing)"
ln -s "$work/none.img" "$work/dangling.img"
config "$name" "$memory" "disk = [ 'file:$work/dangling.img,xvda,w' ]"
run_refused 1 "dangling.img"
ln -s loop.img "$work/loop.img"
config "$name" "$memory" "disk = [ 'file:$work/loop.img,xvda,w' ]"
run_refused 1 "loop.img.*(links|loop)"
