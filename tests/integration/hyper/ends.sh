#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# on_poweroff, on_reboot, on_crash: what the guest does, and what comes of it.
. "$(dirname "$0")/common.sh"
requires qemu-system-x86_64

# ends poweroff|reboot|crash LINE...: a guest that does so as soon as it is up
ends() {
    sector_domain "${1:0:1}" "${@:2}"
    boot
}

step "destroy: power-off, reboot, crash"
ends poweroff 'on_poweroff = "destroy"'
wait_is "off 0 watched guest powered off"
nothing_left
ends reboot 'on_reboot = "destroy"'
wait_is "off 0 watched guest rebooted"
nothing_left
ends crash 'on_crash = "destroy"'
wait_is "off 0 watched guest crashed"
nothing_left

step "restart: power-off, reboot, crash; the same process boots again"
for what in poweroff reboot crash; do
    ends $what "on_$what = \"restart\""
    pid=$(qemu_pid)
    wait_said "BOOT ${what:0:1}" 5
    [ "$(qemu_pid)" = "$pid" ] || fail "another process"
    expect_state "[pr][au]* watched *" # between two of its lives it is paused for a moment
    hyper destroy
    nothing_left
done

step "preserve: power-off, reboot, crash; it stays for whoever wants to look"
ends poweroff 'on_poweroff = "preserve"'
wait_is "paused * watched guest powered off"
expect_exit 1 "QEMU refused 'cont'" hyper resume
[ "$(hyper shutdown run 1000)" = off ] || fail "a guest that has powered off is not off"
nothing_left
ends reboot 'on_reboot = "preserve"'
wait_is "paused * watched guest powered off"
hyper destroy
ends crash 'on_crash = "preserve"'
wait_is "paused * watched guest crashed"
[ "$(hyper shutdown run 1000)" = off ] || fail "a guest that has crashed is not off"
nothing_left

step "power-off pauses QEMU only for the sake of another action: it ends nevertheless"
ends poweroff 'on_poweroff = "destroy"' 'on_reboot = "preserve"'
wait_is "off 0 watched guest powered off"
ends crash 'on_poweroff = "preserve"' 'on_crash = "destroy"'
wait_is "off 0 watched guest crashed"

step "a shutdown that was asked for ends the domain, whatever on_poweroff says"
sector_domain t 'on_poweroff = "restart"'
boot
wait_said TICK
[ "$(hyper shutdown run 60000)" = off ] || fail "still running"
said BUTTON || fail "another end than the power button's"
wait_is "off 0 watched guest powered off"
nothing_left

step "a real Linux that crashes, and is restarted"
requires_guest
extra="vmtest=panic"
domain 'on_crash = "restart"'
boot
wait_said "GUEST: panic" 2
hyper destroy
nothing_left
