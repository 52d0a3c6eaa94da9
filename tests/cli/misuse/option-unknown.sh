#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An option that the command does not have.
. "$(dirname "$0")/../misuse.sh"
refused 2 "frobnicate" run --frobnicate "$cfg"
refused 2 "dry-run" list --dry-run
refused 2 "-Z|'Z'" list -Z
