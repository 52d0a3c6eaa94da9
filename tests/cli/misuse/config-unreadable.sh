#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A configuration file that the user may not read.
. "$(dirname "$0")/../misuse.sh"
requires_user
chmod 600 "$cfg"
expect_exit 1 "ermission denied" as_user "$VMUNDO" run -H null "$cfg"
