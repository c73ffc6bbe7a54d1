// SPDX-License-Identifier: MIT
// The ARM generic timer: virtual counter and virtual timer.

#include "cpu.h"
#include "gic.h"
#include "mpconfigboard.h"
#include "timer.h"

#define CNTV_ENABLE 1

static uint32_t frequency;
static uint64_t us_a_tick, ms_a_tick; // in 2^-64

static void set_control(uint32_t value) {
    __asm volatile ("mcr p15, 0, %0, c14, c3, 1\n isb" : : "r" (value) : "memory");
}

static void set_deadline(uint64_t ticks) {
    __asm volatile ("mcrr p15, 3, %Q0, %R0, c14" : : "r" (ticks) : "memory");
}

// The alarm ends WFI by being pending, with IRQs masked; it is seldom taken.
static void timer_interrupt(uint32_t intid) {
    (void)intid;
    set_control(0);
}

// So many a second, in 2^-64 a tick, rounded up.
static uint64_t reciprocal(uint32_t a_second) {
    uint64_t high = (uint64_t)a_second << 32;
    return (high / frequency << 32) + (high % frequency << 32) / frequency + 1;
}

// The upper half of a product of 128 bits.
static uint64_t multiply(uint64_t a, uint64_t b) {
    uint64_t low = (a & 0xffffffff) * (b & 0xffffffff);
    uint64_t middle = (a >> 32) * (b & 0xffffffff) + (low >> 32);
    uint64_t other = (a & 0xffffffff) * (b >> 32) + (middle & 0xffffffff);
    return (a >> 32) * (b >> 32) + (middle >> 32) + (other >> 32);
}

void timer_init(void) {
    __asm volatile ("mrc p15, 0, %0, c14, c0, 0" : "=r" (frequency));
    us_a_tick = reciprocal(1000000);
    ms_a_tick = reciprocal(1000);
    gic_enable(BOARD_VTIMER_INTID, timer_interrupt);
}

uint64_t timer_ticks(void) {
    uint64_t ticks;
    // The barrier keeps the counter from being read ahead of program order.
    __asm volatile ("isb\n mrrc p15, 1, %Q0, %R0, c14" : "=r" (ticks) : : "memory");
    return ticks;
}

uint32_t timer_frequency(void) {
    return frequency;
}

uint64_t timer_us(void) {
    return multiply(timer_ticks(), us_a_tick);
}

uint32_t timer_ms(void) {
    return multiply(timer_ticks(), ms_a_tick);
}

uint64_t timer_ticks_from_us(uint64_t us) {
    return us / 1000000 * frequency + us % 1000000 * frequency / 1000000;
}

uint64_t timer_deadline_ms(int32_t ms) {
    return ms < 0 ? TIMER_NEVER : timer_ticks() + timer_ticks_from_us((uint64_t)ms * 1000);
}

void timer_set_alarm(uint64_t deadline) {
    if (deadline != TIMER_NEVER) {
        set_deadline(deadline);
        set_control(CNTV_ENABLE);
    }
}

void timer_clear_alarm(void) {
    set_control(0);
}
