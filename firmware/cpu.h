// SPDX-License-Identifier: MIT
// The few instructions that C has no words for.
#pragma once

#include <stdint.h>

#define CPSR_I (1u << 7)
#define CPSR_T (1u << 5)
#define CPSR_IT 0x0600fc00u

static inline uint32_t irq_disable(void) {
    uint32_t cpsr;
    __asm volatile ("mrs %0, cpsr\n cpsid i" : "=r" (cpsr) : : "memory");
    return cpsr & CPSR_I;
}

static inline void irq_restore(uint32_t state) {
    if (!(state & CPSR_I)) {
        __asm volatile ("cpsie i" : : : "memory");
    }
}

static inline uint32_t mmio_read(uintptr_t address) {
    return *(volatile uint32_t *)address;
}

static inline void mmio_write(uintptr_t address, uint32_t value) {
    *(volatile uint32_t *)address = value;
}
