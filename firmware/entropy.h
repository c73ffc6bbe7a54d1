// SPDX-License-Identifier: MIT
// Random bytes from the entropy device, by way of virtio.urandom().
#pragma once

#include <stdint.h>

// For the random module, which promises nothing: where there is no entropy
// device this is but the time.
uint32_t entropy_seed(void);
