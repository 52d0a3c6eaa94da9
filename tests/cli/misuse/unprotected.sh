#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A disk to be left unprotected that the domain does not have.
. "$(dirname "$0")/../misuse.sh"
refused 2 "xvdz" run -H null --unprotected xvdz "$cfg"
