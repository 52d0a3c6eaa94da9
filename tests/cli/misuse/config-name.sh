#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Names that are none, in the configuration.
. "$(dirname "$0")/../misuse.sh"
long=$(printf 'x%.0s' $(seq 64))
for bad in a/b .. -dash "" "$long" 'sp ace' .hidden; do
    config "name = \"$bad\"" "$memory" "$disk"
    run_refused 1 "name"
done
config "$memory" "$disk"
run_refused 1 "name"
config 'name = [ "a", "b" ]' "$memory" "$disk"
run_refused 1 "name"
