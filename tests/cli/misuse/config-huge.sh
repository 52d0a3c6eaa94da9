#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A configuration file that is far too large.
. "$(dirname "$0")/../misuse.sh"
head -c 2000000 /dev/zero | tr '\0' '#' >>"$cfg"
run_refused 1 "large|big"
