#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Commands that make no sense in the state a domain is in.
. "$(dirname "$0")/../misuse.sh"
requires qemu-img
vmundo run -q -H null "$cfg"
baseline
expect_exit 4 "run" vmundo keep vm
vmundo stop -q --force vm
expect_exit 4 "off|not run" vmundo console vm
vmundo drop -q vm
expect_exit 3 "vm" vmundo drop vm
