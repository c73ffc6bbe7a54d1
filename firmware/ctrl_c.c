// SPDX-License-Identifier: MIT
// Ctrl-C on its way from the console to the program.

#include <stdint.h>

#include "py/mphal.h"
#include "py/runtime.h"

#include "ctrl_c.h"
#include "timer.h"

static unsigned holds;
static volatile bool kept;
static uint64_t kept_since;

static void keep(void) {
    if (!kept) {
        kept = true;
        kept_since = timer_ticks();
    }
}

void ctrl_c_pressed(void) {
    if (holds != 0) {
        keep();
    } else {
        mp_sched_keyboard_interrupt();
    }
}

void ctrl_c_hold(void) {
    uint32_t state = irq_disable();
    holds++;
    if (MP_STATE_THREAD(mp_pending_exception) == MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception))) {
        MP_STATE_THREAD(mp_pending_exception) = MP_OBJ_NULL;
        keep();
    }
    irq_restore(state);
}

void ctrl_c_release(void) {
    uint32_t state = irq_disable();
    holds--;
    if (holds == 0 && kept) {
        kept = false;
        mp_sched_keyboard_interrupt();
    }
    irq_restore(state);
}

bool ctrl_c_is_kept(void) {
    return kept;
}

uint64_t ctrl_c_kept_since(void) {
    return kept_since;
}
