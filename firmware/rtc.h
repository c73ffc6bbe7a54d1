// SPDX-License-Identifier: MIT
#pragma once

#include <stdint.h>

// Nanoseconds since 1970. The first call waits until the clock's next second begins.
uint64_t rtc_time_ns(void);

// Whole seconds since 1970, at once (unless the clock was set).
uint32_t rtc_time_s(void);

void rtc_set(uint64_t ns);
