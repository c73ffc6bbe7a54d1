// SPDX-License-Identifier: MIT
#pragma once

#include <stdint.h>

// Nanoseconds since 1970.
uint64_t rtc_time_ns(void);
