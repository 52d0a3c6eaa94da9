#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A command that does not exist.
. "$(dirname "$0")/../misuse.sh"
refused 2 "frobnicate" frobnicate
refused 2 "frobnicate" help frobnicate
