// SPDX-License-Identifier: MIT
#pragma once

#include <stddef.h>

// Maps flash, devices, device tree and the firmware itself, then turns MMU and
// caches on. Runs before everything else.
void mmu_init(void);

// Maps the RAM behind the firmware, up to size bytes of RAM in all.
void mmu_map_ram(size_t size);

// Makes freshly written machine code visible to instruction fetches.
void mmu_sync_code(const void *code, size_t len);
