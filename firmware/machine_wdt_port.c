// SPDX-License-Identifier: MIT
// Included by extmod/machine_wdt.c. The machine has no watchdog: a timer's interrupt stands in for
// it. It gets through to everything but code with interrupts disabled, and a hard handler.

#include "shared/runtime/softtimer.h"

#include "exceptions.h"

// As on other boards there is one, and nothing stops it, a soft reset neither.
typedef struct _machine_wdt_obj_t {
    mp_obj_base_t base;
    bool running;
    uint32_t timeout_ms;
    soft_timer_entry_t timer;
} machine_wdt_obj_t;

// The longest time that a soft timer can wait.
#define LONGEST_TIMEOUT 0x3fffffff

static machine_wdt_obj_t machine_wdt = { .base = { &machine_wdt_type } };

static void machine_wdt_expired(soft_timer_entry_t *timer) {
    (void)timer;
    reset_machine(RESET_CAUSE_WATCHDOG);
}

static void mp_machine_wdt_feed(machine_wdt_obj_t *self) {
    soft_timer_reinsert(&self->timer, self->timeout_ms);
}

#if WDT_ID_IS_OBJECT
typedef mp_obj_t wdt_id_t;
#define ONLY_WDT MP_OBJ_NEW_SMALL_INT(0)
#else
typedef mp_int_t wdt_id_t;
#define ONLY_WDT 0
#endif

static machine_wdt_obj_t *mp_machine_wdt_make_new_instance(wdt_id_t id, mp_int_t timeout_ms) {
    if (id != ONLY_WDT) {
        mp_raise_ValueError(MP_ERROR_TEXT("WDT doesn't exist"));
    }
    if (timeout_ms < 1 || timeout_ms > LONGEST_TIMEOUT) {
        mp_raise_ValueError(MP_ERROR_TEXT("timeout out of range"));
    }
    machine_wdt_obj_t *self = &machine_wdt;
    if (!self->running) {
        self->running = true;
        soft_timer_static_init(&self->timer, SOFT_TIMER_MODE_ONE_SHOT, 0, machine_wdt_expired);
    }
    self->timeout_ms = timeout_ms;
    mp_machine_wdt_feed(self);
    return self;
}
