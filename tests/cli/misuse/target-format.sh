#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An image that is not what the configuration says it is.
. "$(dirname "$0")/../misuse.sh"
config "$name" "$memory" "disk = [ 'format=qcow2,vdev=xvda,access=rw,target=$image' ]"
run_refused "[15]" "qcow2"
