// SPDX-License-Identifier: MIT
// shared/runtime/pyexec.c, which gives the console back when a program has ended.

#include "py/mphal.h"
#include "py/mpprint.h"
#include "shared/runtime/interrupt_char.h"

#include "cpu.h"

// Nobody could type machine.enable_irq().
static void interrupts_on(void) {
    bool were_off = irq_disable() & CPSR_I;
    irq_restore(0);
    if (were_off) {
        mp_printf(&mp_plat_print, "The program left interrupts off; they are on again.\n");
    }
}

static void set_interrupt_char(int c) {
    mp_hal_set_interrupt_char(c);
    if (c == -1) { // the program has ended
        interrupts_on();
    }
}

#define mp_hal_set_interrupt_char set_interrupt_char
#include "shared/runtime/pyexec.c"
