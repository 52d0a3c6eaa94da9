#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An option without its argument, or with one it does not take.
. "$(dirname "$0")/../misuse.sh"
refused 2 "name" run "$cfg" --name
refused 2 "json" list --json=yes
