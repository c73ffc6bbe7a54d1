// SPDX-License-Identifier: MIT
// The few instructions that C has no words for.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CPSR_I (1u << 7)
#define CPSR_T (1u << 5)
#define CPSR_IT 0x0600fc00u

// Raises RuntimeError unless there are so many bytes left on the stack, by running into its
// guard (exceptions.c).
static inline void stack_probe(size_t size) {
    uint32_t unused;
    __asm volatile ("sub %0, sp, %1\n ldr %0, [%0]" : "=&r" (unused) : "Ir" (size) : "memory");
}

// What an atomic section may need on the stack: it cannot be abandoned half-way.
#define ATOMIC_STACK 512

static inline uint32_t irq_disable(void) {
    uint32_t cpsr;
    stack_probe(ATOMIC_STACK);
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
