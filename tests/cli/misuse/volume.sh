#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# vmundo volume, told what makes no sense. What needs LVM is in tests/rig.
. "$(dirname "$0")/../misuse.sh"
refused 2 "volume" volume
refused 2 "'fry' is nothing that 'vmundo volume' can do; it can: create" volume fry
refused 2 "usage: vmundo volume create" volume create
refused 2 "usage: vmundo volume resize" volume resize p/v
refused 2 "one word too many" volume create p/v w
refused 2 "one word too many" volume remove p/v w
refused 2 "one word too many" volume list p q
refused 2 "--size has no meaning for 'vmundo volume resize'" volume resize p/v 1G --size 1G
refused 2 "POOL/NAME" volume create v --size 1G
refused 2 "POOL/NAME" volume create /dev/p/v --size 1G
refused 2 "POOL/NAME" volume remove p/v/w
refused 2 "name of a volume" volume create p/ --size 1G
refused 2 "name of a volume" volume create p/-v --size 1G
refused 2 "name of a volume" volume remove 'p/a b'
refused 2 "in names of branches" volume create p/a.vmundo.b --size 1G
refused 2 "how large" volume create p/v
refused 2 "no size" volume resize p/v large
refused 2 "no file system that is made here" volume create p/v --size 1G --fs ntfs
refused 2 "stripes of its pool" volume create p/v --size 1G --thin --stripes 2
refused 2 "name of a volume group" volume list 'a/b'
