#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Too few arguments, and too many.
. "$(dirname "$0")/../misuse.sh"
for command in run drop keep stop start status plan console; do
    refused 2 "$command" $command
    refused 2 "$command" $command one two
done
refused 2 "list" list one
for command in rollback checkpoint; do
    refused 2 "$command" $command
    refused 2 "$command" $command one two three
done
for command in pin unpin; do
    refused 2 "$command" $command one
    refused 2 "$command" $command one two three
done
