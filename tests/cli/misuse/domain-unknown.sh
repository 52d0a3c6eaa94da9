#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A domain that does not exist: exit 3, for every command.
. "$(dirname "$0")/../misuse.sh"
for command in rollback drop keep stop start status console; do
    refused 3 "nobody" $command nobody
done
