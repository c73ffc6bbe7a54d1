// SPDX-License-Identifier: MIT
// The addresses that the board's linker script defines.
#pragma once

#include <stdint.h>

extern uint8_t _image_start[], _text_end[], _rodata_end[];
extern uint8_t _irq_guard_start[], _irq_stack_start[], _irq_stack_end[];
extern uint8_t _guard_start[], _stack_start[], _stack_end[];
extern uint8_t _dma_start[], _dma_end[], _heap_start[];
