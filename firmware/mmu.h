// SPDX-License-Identifier: MIT
#pragma once

#include <stddef.h>
#include <stdint.h>

// Maps flash, devices, device tree and the firmware itself, then turns MMU and
// caches on. Runs before everything else.
void mmu_init(void);

// Maps the RAM behind the firmware, up to size bytes of RAM in all.
void mmu_map_ram(size_t size);

// Maps 16 MiB of registers, which may lie beyond 4 GiB. Both addresses are multiples of that size.
void mmu_map_window(uintptr_t start, uint64_t physical);

// Maps whole pages below a stack, and takes them away again.
void mmu_map_reserve(uintptr_t start, uintptr_t end);
void mmu_unmap_reserve(uintptr_t start, uintptr_t end);

// Makes freshly written machine code visible to instruction fetches.
void mmu_sync_code(const void *code, size_t len);

// Maps the second flash bank so that it takes commands, and back so that it can only be read.
void mmu_open_rom(void);
void mmu_close_rom(void);
