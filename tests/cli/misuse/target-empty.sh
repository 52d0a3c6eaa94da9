#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An image of zero length.
. "$(dirname "$0")/../misuse.sh"
: >"$work/empty.img"
config "$name" "$memory" "disk = [ 'file:$work/empty.img,xvda,w' ]"
run_refused 1 "empty.img.*(empty|zero)"
