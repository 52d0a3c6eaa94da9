#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A configuration file that is not there, is a directory, or is not a file.
. "$(dirname "$0")/../misuse.sh"
refused 1 "none.cfg.*No such file" run -H null "$work/none.cfg"
refused 1 "none.cfg.*No such file" plan "$work/none.cfg"
mkdir "$work/dir.cfg"
refused 1 "directory" run -H null "$work/dir.cfg"
mkfifo "$work/fifo.cfg"
refused 1 "fifo.cfg" run -H null "$work/fifo.cfg"
refused 1 "/dev/zero" run -H null /dev/zero
refused 2 "no configuration file" run -H null ""
