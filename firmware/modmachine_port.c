// SPDX-License-Identifier: MIT
// Included by extmod/modmachine.c.

#include "py/mphal.h"

#include "exceptions.h"

#define MICROPY_PY_MACHINE_EXTRA_GLOBALS \
    { MP_ROM_QSTR(MP_QSTR_PWRON_RESET), MP_ROM_INT(RESET_CAUSE_POWER_ON) }, \
    { MP_ROM_QSTR(MP_QSTR_HARD_RESET), MP_ROM_INT(RESET_CAUSE_HARD) }, \
    { MP_ROM_QSTR(MP_QSTR_FAULT_RESET), MP_ROM_INT(RESET_CAUSE_FAULT) }, \

static void mp_machine_idle(void) {
    mp_hal_wait_for_event(1);
}

static void mp_machine_reset(void) {
    reset_machine(RESET_CAUSE_HARD);
}

static mp_int_t mp_machine_reset_cause(void) {
    return reset_cause();
}
