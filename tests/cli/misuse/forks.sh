#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fork of what is not there, with names and numbers that are none; keep --to where there
# is something, or no place.
. "$(dirname "$0")/../misuse.sh"
refused 2 "usage: vmundo fork" fork
refused 2 "one word too many" fork one two
refused 3 "no domain 'vm'" fork vm
refused 3 "no domain 'vm'" fork vm@one
refused 2 "bad name '../x'" fork ../x
refused 2 "bad name 'a/b'" fork vm --name a/b
refused 2 "too many" fork vm --count 1001
refused 2 "count takes a number" fork vm --count many
refused 2 "has no option" fork vm --method qcow2
vmundo run -q -H null -m qcow2 "$cfg"
domains=$(vmundo list --json | tr -d ' \n')
baseline
refused 3 "no checkpoint 'one'" fork vm@one
refused 4 "is running" keep vm --to "$work/new"
vmundo stop -q vm
domains=$(vmundo list --json | tr -d ' \n')
baseline
refused 4 "$work already" keep vm --to "$work"
refused 2 "not the name of a new directory" keep vm --to ..
refused 2 "not the name of a new directory" keep vm --to ""
refused 1 "No such file" keep vm --to "$work/none/new"
vmundo fork -q vm --count 10
[ "$(vmundo list | awk 'NR > 1 { print $1 }' | tail -n 3 | xargs)" = "vm-8 vm-9 vm-10" ] || fail "$(vmundo list)"
for n in {1..10}; do vmundo drop -q vm-$n; done
vmundo drop -q vm
