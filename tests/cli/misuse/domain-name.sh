#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Names that are none, on the command line.
. "$(dirname "$0")/../misuse.sh"
long=$(printf 'x%.0s' $(seq 64))
for bad in a/b .. . "" $'new\nline' "$long" ../../etc 'sp ace' $'\e[31mred' ä; do
    for command in rollback log; do
        refused "[23]" "name|no domain|no such" $command "$bad"
    done
    refused 2 "name" run -H null --name "$bad" "$cfg"
done
refused 2 "name|option" run -H null --name=-dash "$cfg"
refused "[23]" "name|no domain|no such|dash" status -- -dash
