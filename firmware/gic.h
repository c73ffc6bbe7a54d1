// SPDX-License-Identifier: MIT
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Below are the software-generated ones; 32 and up are shared by all CPUs.
#define GIC_PPI_FIRST 16
#define GIC_SPI_FIRST 32
#define GIC_INTID_COUNT 288

typedef void (*gic_handler_t)(uint32_t intid);

void gic_init(void);

// Runs the handler of the interrupt that is signalled. Called with IRQs masked.
void gic_dispatch(void);

// Routes an interrupt to a handler, which runs with IRQs masked.
void gic_enable(uint32_t intid, gic_handler_t handler);
void gic_disable(uint32_t intid);

// The handler of an enabled interrupt, or NULL.
gic_handler_t gic_handler(uint32_t intid);

// A masked interrupt keeps its handler, and what it becomes pending for.
void gic_mask(uint32_t intid);
void gic_unmask(uint32_t intid);

// How many interrupts were taken so far.
uint32_t gic_taken(void);

// As if it had fired.
void gic_set_pending(uint32_t intid);

// Triggered by the rising edge, or else by the level. To be set while disabled.
void gic_set_edge(uint32_t intid, bool edge);
