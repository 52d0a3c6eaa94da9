#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Drivers and other words that do not exist.
. "$(dirname "$0")/../misuse.sh"
refused 2 "frob" run -H null --method frob "$cfg"
refused 2 "frob" run --hypervisor frob "$cfg"
refused 2 "frob" run --accel frob "$cfg"
refused 2 "frob" run --net frob "$cfg"
refused 2 "frob" completion frob
