// SPDX-License-Identifier: MIT
// Random bytes from the entropy device, by way of virtio.urandom().
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// For the random module, which promises nothing: where there is no entropy
// device this is but the time.
uint32_t entropy_seed(void);

// Fills the buffer from the entropy device; false where there is none, or it fails.
bool entropy_read(uint8_t *data, size_t len);
