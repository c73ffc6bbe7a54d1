// SPDX-License-Identifier: MIT
// Ctrl-C on its way from the console to the program.

#include <stdint.h>

#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"

#include "ctrl_c.h"
#include "timer.h"

// MicroPython's own, under its name in mpconfigport.h.
void mp_sched_keyboard_interrupt_at_once(void);

static unsigned handlers; // that are running, one inside another
static unsigned holds; // since the innermost of them began
static volatile bool kept;
static uint64_t kept_since;

static void keep(void) {
    if (!kept) {
        kept = true;
        kept_since = timer_ticks();
    }
}

static void keep_pending(void) {
    if (MP_STATE_THREAD(mp_pending_exception) == MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception))) {
        MP_STATE_THREAD(mp_pending_exception) = MP_OBJ_NULL;
        keep();
    }
}

static void release_kept(void) {
    if (holds == 0 && handlers == 0 && kept) {
        kept = false;
        mp_sched_keyboard_interrupt_at_once();
    }
}

void ctrl_c_pressed(void) {
    uint32_t state = irq_disable();
    keep();
    release_kept();
    irq_restore(state);
}

// What os.dupterm() calls.
void mp_sched_keyboard_interrupt(void) {
    ctrl_c_pressed();
}

void ctrl_c_hold(void) {
    uint32_t state = irq_disable();
    holds++;
    keep_pending();
    irq_restore(state);
}

void ctrl_c_release(void) {
    uint32_t state = irq_disable();
    holds--;
    release_kept();
    irq_restore(state);
}

unsigned ctrl_c_enter_handler(void) {
    uint32_t state = irq_disable();
    unsigned outer = holds;
    holds = 0;
    handlers++;
    keep_pending();
    irq_restore(state);
    return outer;
}

void ctrl_c_leave_handler(unsigned outer) {
    uint32_t state = irq_disable();
    holds = outer;
    handlers--;
    release_kept();
    irq_restore(state);
}

bool ctrl_c_is_kept(void) {
    return kept;
}

uint64_t ctrl_c_kept_since(void) {
    return kept_since;
}

// Whether a jump from here harms nobody but the code that runs.
static bool may_raise(void) {
    return holds == 0 && !(MP_STATE_THREAD(gc_lock_depth) & GC_COLLECT_FLAG);
}

void ctrl_c_end_wait(void) {
    if (kept && may_raise()) {
        nlr_raise(MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception)));
    }
}
