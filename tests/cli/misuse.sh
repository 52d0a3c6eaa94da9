# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2154
# misuse.sh: what the tests in misuse/ share. Each of them does one thing wrong and asks for one clear message, the right
# exit code, and nothing changed. Neither root nor a hypervisor is needed.
. "$(dirname "${BASH_SOURCE[0]}")/../integration/functions.sh"
image=$work/data.img
cfg=$work/vm.cfg
truncate -s 1M "$image"
printf 'content' | dd of="$image" conv=notrunc status=none

# config LINE...: write $cfg with these lines
config() { printf '%s\n' "$@" >"$cfg"; }
name='name = "vm"'
memory='memory = 64'
disk="disk = [ 'format=raw,vdev=xvda,access=rw,target=$image' ]"
config "$name" "$memory" "$disk"
baseline

# refused CODES PATTERN ARGUMENT...: vmundo with these arguments says one line that matches, and touches nothing
refused() {
    local codes=$1 pattern=$2 lines
    shift 2
    remember "$image" "$cfg"
    expect_exit "$codes" "$pattern" vmundo "$@"
    lines=$(wc -l <"$work/output")
    [ "$lines" = 1 ] || { cat "$work/output"; fail "$lines lines instead of one: vmundo $*"; }
    grep -q '^vmundo: ' "$work/output" || fail "the message does not say who speaks"
    ! grep -qP '[\x00-\x09\x0b-\x1f\x7f]' "$work/output" || fail "control characters in the message"
    unchanged
    no_traces "vmundo $*"
    [ "$(vmundo list --json | tr -d ' \n')" = "${domains:-[]}" ] || fail "the list of domains has changed"
}
run_refused() { refused "$1" "$2" run -H null "$cfg"; }
