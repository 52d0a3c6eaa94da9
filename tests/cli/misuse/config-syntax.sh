#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A syntax error is reported with its line.
. "$(dirname "$0")/../misuse.sh"
config "$name" "$memory" "disk = [ 'x'" "oops oops"
run_refused 1 "vm.cfg:[34]"
config "$name" "$memory" "vcpus = = 3" "$disk"
run_refused 1 "vm.cfg:3"
printf 'name = "vm"\0\n' >"$cfg"
run_refused 1 "NUL|zero"
