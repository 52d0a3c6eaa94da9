#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sizes that are none.
. "$(dirname "$0")/../misuse.sh"
for bad in "" 0 -1 -5G x 12X 1.2.3G 99999999999G 9223372036854775808 18446744073709551616 "6 G" 6GG NaN 1e5 0x10 inf; do
    refused 2 "size" run -H null --size "$bad" "$cfg"
done
