// SPDX-License-Identifier: MIT
// What machine.Timer runs on: the ARM generic timer's physical timer. (The
// virtual one wakes whoever waits, see timer.c; both count the same ticks.)

#include "py/runtime.h"
#include "shared/runtime/softtimer.h"

#include "gic.h"
#include "mpconfigboard.h"
#include "timer.h"

#define CNTP_ENABLE 1

static void set_control(uint32_t value) {
    __asm volatile ("mcr p15, 0, %0, c14, c2, 1\n isb" : : "r" (value) : "memory");
}

static void set_deadline(uint64_t ticks) {
    __asm volatile ("mcrr p15, 2, %Q0, %R0, c14" : : "r" (ticks) : "memory");
}

static void soft_timer_interrupt(uint32_t intid) {
    (void)intid;
    set_control(0);
    soft_timer_handler();
}

void soft_timer_init(void) {
    gic_enable(BOARD_PTIMER_INTID, soft_timer_interrupt);
    // In secure state the same registers are another timer's.
    gic_enable(BOARD_PTIMER_SECURE_INTID, soft_timer_interrupt);
}

uint32_t soft_timer_get_ms(void) {
    return timer_us() / 1000;
}

void soft_timer_schedule_at_ms(uint32_t ticks_ms) {
    uint64_t now = timer_us() / 1000;
    int32_t left = soft_timer_ticks_diff(ticks_ms, now);
    set_deadline(timer_ticks_from_us((now + MAX(left, 0)) * 1000));
    set_control(CNTP_ENABLE);
}
