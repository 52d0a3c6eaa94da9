#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Numbers and times that are none.
. "$(dirname "$0")/../misuse.sh"
for bad in "" -1 x 1x 99999999999999999999 NaN; do
    refused 2 "timeout|seconds|number" stop --timeout "$bad" vm
    refused 2 "lines|number" log --lines "$bad"
done
