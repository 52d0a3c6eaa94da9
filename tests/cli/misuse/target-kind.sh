#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A target that is no image: a directory, a FIFO, a socket, a terminal.
. "$(dirname "$0")/../misuse.sh"
mkdir "$work/dir.img"
config "$name" "$memory" "disk = [ 'file:$work/dir.img,xvda,w' ]"
run_refused 1 "dir.img.*directory"
mkfifo "$work/fifo.img"
config "$name" "$memory" "disk = [ 'file:$work/fifo.img,xvda,w' ]"
run_refused 1 "fifo.img.*(FIFO|pipe)"
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$work/sock.img"
config "$name" "$memory" "disk = [ 'file:$work/sock.img,xvda,w' ]"
run_refused 1 "sock.img.*socket"
config "$name" "$memory" "disk = [ 'phy:/dev/null,xvda,w' ]"
run_refused 1 "/dev/null.*(character|block device)"
