// SPDX-License-Identifier: MIT
#pragma once

#include <stdint.h>

// Nanoseconds since 1970.
uint64_t rtc_time_ns(void);

// Sets the clock, to the whole second.
void rtc_set(uint32_t seconds);
