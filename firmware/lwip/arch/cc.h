// SPDX-License-Identifier: MIT
// lwIP's view of the compiler. What its own defaults say is not repeated here.
#pragma once

#include <stdint.h>

#define LWIP_PLATFORM_DIAG(x)
#define LWIP_PLATFORM_ASSERT(x)

uint32_t lan_random(void);
#define LWIP_RAND() lan_random()

uint16_t lan_checksum(const void *data, int length);
#define LWIP_CHKSUM lan_checksum
