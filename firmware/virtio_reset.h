// SPDX-License-Identifier: MIT
#pragma once

// Resets every virtio device, so that none writes into memory any more.
void virtio_reset_all(void);
