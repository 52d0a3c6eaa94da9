/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sector.S: a guest of one sector. The firmware loads it to 0x7c00; it says "BOOT X" on the first serial port, where X is
 * its byte 440, which also says what it does:
 *     p  powers off         r  reboots         c  crashes (tells pvpanic)
 *     anything else         says "TICK" about nine times a second, and powers off when the power button is pressed
 * The ports are those of QEMU's "pc" with SeaBIOS: PIIX4's power management at 0x600, reset control at 0xcf9, pvpanic at
 * 0x505.
 */
        .code16
        .set    action, 440
start:  xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $start, %sp
        movw    $boot, %si
        call    say
        movb    start + action, %al
        call    put
        movw    $newline, %si
        call    say

        movb    start + action, %al
        cmpb    $'p', %al
        je      poweroff
        cmpb    $'r', %al
        je      reboot
        cmpb    $'c', %al
        je      crash

        movw    $0x602, %dx             /* enable the power button's event */
        movw    $0x100, %ax
        outw    %ax, %dx
        sti
ticks:  movw    $tick, %si
        call    say
        hlt                             /* the timer comes 18 times a second */
        hlt
        movw    $0x600, %dx             /* has it been pressed? */
        inw     %dx, %ax
        testb   $1, %ah
        jz      ticks
        movw    $button, %si
        call    say

poweroff:
        movw    $0x604, %dx
        movw    $0x2000, %ax
        outw    %ax, %dx
        jmp     stop
reboot: movw    $0xcf9, %dx
        movb    $6, %al
        outb    %al, %dx
        jmp     stop
crash:  movw    $0x505, %dx
        movb    $1, %al
        outb    %al, %dx
stop:   cli
        hlt
        jmp     stop

say:    lodsb
        testb   %al, %al
        jz      done
        call    put
        jmp     say
put:    movw    $0x3f8, %dx
        outb    %al, %dx
done:   ret

boot:   .asciz  "BOOT "
tick:   .asciz  "TICK\n"
button: .ascii  "BUTTON"
newline: .asciz "\n"

        .org    action
        .byte   't'
        .org    510
        .word   0xaa55
