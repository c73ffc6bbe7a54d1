// SPDX-License-Identifier: MIT
// Ctrl-C on its way from the console to the program.

#include <stdint.h>

#include "py/mphal.h"
#include "py/runtime.h"

#include "ctrl_c.h"

static unsigned holds;
static volatile bool kept;

void ctrl_c_pressed(void) {
    if (holds != 0) {
        kept = true;
    } else {
        mp_sched_keyboard_interrupt();
    }
}

void ctrl_c_hold(void) {
    uint32_t state = irq_disable();
    holds++;
    if (MP_STATE_THREAD(mp_pending_exception) == MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception))) {
        MP_STATE_THREAD(mp_pending_exception) = MP_OBJ_NULL;
        kept = true;
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
