// SPDX-License-Identifier: MIT
// Included by extmod/modmachine.c.

#include "py/mphal.h"

#include "exceptions.h"
#include "fw_cfg.h"
#include "machine_rtc.h"

#define MICROPY_PY_MACHINE_EXTRA_GLOBALS \
    { MP_ROM_QSTR(MP_QSTR_PWRON_RESET), MP_ROM_INT(RESET_CAUSE_POWER_ON) }, \
    { MP_ROM_QSTR(MP_QSTR_HARD_RESET), MP_ROM_INT(RESET_CAUSE_HARD) }, \
    { MP_ROM_QSTR(MP_QSTR_FAULT_RESET), MP_ROM_INT(RESET_CAUSE_FAULT) }, \
    { MP_ROM_QSTR(MP_QSTR_WDT_RESET), MP_ROM_INT(RESET_CAUSE_WATCHDOG) }, \
    { MP_ROM_QSTR(MP_QSTR_DEEPSLEEP_RESET), MP_ROM_INT(RESET_CAUSE_DEEPSLEEP) }, \
    { MP_ROM_QSTR(MP_QSTR_RTC), MP_ROM_PTR(&machine_rtc_type) }, \
    { MP_ROM_QSTR(MP_QSTR_Timer), MP_ROM_PTR(&machine_timer_type) }, \

static void mp_machine_idle(void) {
    mp_hal_wait_for_event(1);
}

static void mp_machine_reset(void) {
    reset_machine(RESET_CAUSE_HARD);
}

static mp_int_t mp_machine_reset_cause(void) {
    return reset_cause();
}

// The UUID that QEMU was started with, zeros if it was given none.
static mp_obj_t mp_machine_unique_id(void) {
    uint8_t id[16];
    fw_cfg_read(FW_CFG_UUID, id, sizeof(id));
    return mp_obj_new_bytes(id, sizeof(id));
}

// An emulated CPU has no frequency; what counts here at a steady pace is the
// counter of time.ticks_cpu().
static mp_obj_t mp_machine_get_freq(void) {
    return mp_obj_new_int_from_uint(timer_frequency());
}

static void mp_machine_set_freq(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    (void)args;
    mp_raise_NotImplementedError(MP_ERROR_TEXT("the frequency is fixed"));
}

// Until the time is up, which it is at once if it is negative, as in time.sleep_ms(); or, if none
// is given, the next interrupt.
static void mp_machine_lightsleep(size_t n_args, const mp_obj_t *args) {
    if (n_args == 0 || args[0] == mp_const_none) {
        mp_hal_wait_for_event(0); // what came before does not count
        mp_hal_wait_for_event(-1);
    } else {
        mp_hal_delay_ms(MAX(mp_obj_get_int(args[0]), 0));
    }
}

// What wakes the board from this is a reset.
static NORETURN void mp_machine_deepsleep(size_t n_args, const mp_obj_t *args) {
    mp_machine_lightsleep(n_args, args);
    reset_machine(RESET_CAUSE_DEEPSLEEP);
}
