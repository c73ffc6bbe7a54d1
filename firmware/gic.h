// SPDX-License-Identifier: MIT
#pragma once

#include <stdint.h>

typedef void (*gic_handler_t)(uint32_t intid);

void gic_init(void);

// Routes an interrupt to a handler, which runs with IRQs masked.
void gic_enable(uint32_t intid, gic_handler_t handler);
void gic_disable(uint32_t intid);
