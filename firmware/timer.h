// SPDX-License-Identifier: MIT
// Time since power-on, and waiting for it to pass.
#pragma once

#include <stdint.h>

#define TIMER_NEVER UINT64_MAX

void timer_init(void);

// The counter as it is, 62.5 MHz on this machine.
uint64_t timer_ticks(void);
uint32_t timer_frequency(void);
uint64_t timer_us(void);
uint64_t timer_ticks_from_us(uint64_t us);

// In so many ms from now; never, if that is negative.
uint64_t timer_deadline_ms(int32_t ms);

// Sleeps until an interrupt or the deadline (in ticks), or returns at once when
// an interrupt came since the last call, or the scheduler has work: whoever waits
// for something runs the scheduler and checks for it, calls this, and does both
// again, and misses nothing in between.
void timer_wait(uint64_t deadline);

// Every interrupt calls this.
void timer_note_event(void);
