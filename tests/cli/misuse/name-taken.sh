#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A name that another domain has.
. "$(dirname "$0")/../misuse.sh"
requires qemu-img
cp "$image" "$work/second.img"
vmundo run -q -H null "$cfg"
baseline
expect_exit 4 "vm" vmundo run -H null "$cfg"
sed "s|$image|$work/second.img|" "$cfg" >"$work/second.cfg"
expect_exit 4 "vm" vmundo run -H null "$work/second.cfg"
no_traces "run with a name that is taken"
vmundo run -q -H null -N other "$work/second.cfg"
vmundo drop -q other
vmundo drop -q vm
