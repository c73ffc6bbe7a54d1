// SPDX-License-Identifier: MIT
// The second flash bank. It is read where it lies, at BOARD_ROM_BASE.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What is erased at once.
#define FLASH_BLOCK_SIZE 0x40000

// Whether there is a bank that takes Intel's commands.
bool flash_is_there(void);

// Both take the offset in the bank, and return false where the bank refuses to be written to. What
// is erased is whole blocks; what is programmed, whole words that were erased before.
bool flash_erase(size_t offset, size_t size);
bool flash_program(size_t offset, const void *data, size_t size);
