#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Values that make no sense.
. "$(dirname "$0")/../misuse.sh"
for line in 'memory = "much"' 'memory = -5' 'memory = 0' 'memory = 99999999999999999999'; do
    config "$name" "$line" "$disk"
    run_refused 1 "memory|vm.cfg:2"
done
for line in 'vcpus = 0' 'vcpus = -1' 'vcpus = "two"' 'vcpus = 1000000'; do
    config "$name" "$memory" "$line" "$disk"
    run_refused 1 "vcpus|vm.cfg:3"
done
config "$name" "$memory" "$disk" 'on_reboot = "dance"'
run_refused 1 "on_reboot.*dance|dance"
