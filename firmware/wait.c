// SPDX-License-Identifier: MIT
// Sleeping until something happens.
//
// Waits nest: looking for what it waits for, and what it lets the scheduler run, may make a waiter
// call Python that waits itself. MicroPython's own waits carry nothing that says who waits, but the
// place of their frame on the stack does: who waits inside another's wait has the lower one. Hence
// one address says for all of them, at any depth, who has looked since the last event.

#include <stdbool.h>

#include "py/mpstate.h"
#include "py/runtime.h"

#include "cpu.h"
#include "ctrl_c.h"
#include "gic.h"
#include "timer.h"
#include "wait.h"

// Waiters whose frame is here or deeper have looked since the last event. (A new one there began
// after that, and has looked as well.)
static uintptr_t looked;
static uint32_t looked_at; // how many interrupts there had been

static bool has_looked(uintptr_t waiter) {
    return waiter <= looked && looked_at == gic_taken();
}

// Called before it looks, with IRQs masked: what comes from here on counts as after the look.
static void note_look(uintptr_t waiter) {
    if (MP_STATE_VM(sched_state) == MP_SCHED_PENDING) {
        looked = 0; // what is scheduled already may run after the look
    } else if (!has_looked(waiter)) {
        looked = waiter;
        looked_at = gic_taken();
    }
}

__attribute__((noinline, noclone)) void wait_for_event(uint64_t deadline) {
    uintptr_t waiter = (uintptr_t)__builtin_frame_address(0);
    uint32_t state = irq_disable();
    if (state & CPSR_I) {
        if (deadline == TIMER_NEVER) {
            mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("waiting with interrupts off"));
        }
        return;
    }
    irq_restore(state);
    ctrl_c_end_wait();
    irq_disable();
    // With IRQs masked nothing can come between the test and WFI; a pending interrupt ends WFI
    // even so. (QEMU does not sleep in WFE.)
    if (has_looked(waiter) && MP_STATE_VM(sched_state) != MP_SCHED_PENDING) {
        timer_set_alarm(deadline);
        __asm volatile ("dsb\n wfi" : : : "memory");
        timer_clear_alarm();
    }
    irq_restore(state);
    __asm volatile ("isb" : : : "memory"); // where it is taken
    irq_disable();
    note_look(waiter);
    irq_restore(state);
}

void wait_note_event(void) {
    looked = 0;
}
