#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A storage driver that cannot serve this disk: refused, with the reason.
. "$(dirname "$0")/../misuse.sh"
mkdir "$work/tmpfs"
mount -t tmpfs none "$work/tmpfs" 2>/dev/null || skip "cannot mount a tmpfs here"
cleanup umount "$work/tmpfs"
baseline
cp "$image" "$work/tmpfs/data.img"
config "$name" "$memory" "disk = [ 'file:$work/tmpfs/data.img,xvda,w' ]"
refused 5 "reflink.*tmpfs|tmpfs" run -H null --method reflink "$cfg"
