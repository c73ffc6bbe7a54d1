// SPDX-License-Identifier: MIT
// Time since power-on.
#pragma once

#include <stdint.h>

#define TIMER_NEVER UINT64_MAX

void timer_init(void);

// The counter as it is, 62.5 MHz on this machine.
uint64_t timer_ticks(void);
uint32_t timer_frequency(void);
uint64_t timer_us(void);
uint32_t timer_ms(void);
uint64_t timer_ticks_from_us(uint64_t us);

// In so many ms from now; never, if that is negative.
uint64_t timer_deadline_ms(int32_t ms);

// Ends a WFI at a deadline, given in ticks; to be cleared after it.
void timer_set_alarm(uint64_t deadline);
void timer_clear_alarm(void);
