#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Standard streams that are closed are no danger to files that are opened next.
. "$(dirname "$0")/../misuse.sh"
requires qemu-img
remember "$image" "$cfg"
vmundo run -H null "$cfg" <&- >&- 2>&- || true
vmundo list <&- 2>&- | grep -q vm || fail "no domain"
vmundo rollback vm >&- 2>&- || true
vmundo drop vm <&- >&- 2>&-  || true
vmundo status vm >/dev/null 2>&1 && fail "drop did nothing"
unchanged
no_traces drop
