#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# No command at all: the overview, and exit 2.
. "$(dirname "$0")/../misuse.sh"
expect_exit 2 "vmundo run" vmundo
expect_exit 2 "no command given" vmundo
