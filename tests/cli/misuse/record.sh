#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Recording what cannot be recorded, and in ways that make no sense.
. "$(dirname "$0")/../misuse.sh"
requires qemu-img
refused 3 "no domain 'nobody'" record nobody
refused 2 "usage" record
refused 2 "takes a time like" record vm --every soon
refused 2 "takes a time like" record vm --keep 10x
refused 2 "takes a time like" record vm --every -1s
refused 2 "takes a time like" record vm --every 0s
refused 2 "size" record vm --space much
refused 2 "goes alone" record vm --stop --every 1s
refused 2 "exclude each other" record vm --ram --no-ram
vmundo run -q -H null -m qcow2 "$cfg"
baseline
domains=$(vmundo list --json | tr -d ' \n')
refused 5 "cannot be copied again and again" record vm
refused 5 "cannot be copied again and again" record vm --once
vmundo drop -q vm
config "$name" "$memory" "$disk"
vmundo run -q -H null --unprotected xvda "$cfg"
baseline
domains=$(vmundo list --json | tr -d ' \n')
refused 4 "not being recorded" record vm --stop
refused 2 "too often" record vm --every 1ms
refused 2 "make no sense" record vm --every 1h --keep 1m
refused 5 "writes to the origin" record vm
refused 5 "writes to the origin" record vm --once
vmundo drop -q vm
config "$name" "$memory" "$disk"
vmundo run -q -H null -m null "$cfg"
baseline
domains=$(vmundo list --json | tr -d ' \n')
refused 5 "cannot be told" record vm --space 1G
vmundo stop -q --force vm
baseline
domains=$(vmundo list --json | tr -d ' \n')
refused 4 "is off" record vm --once
expect_exit 0 "would record vm every 2 s" vmundo record vm --every 2s --dry-run
vmundo drop -q vm
