// SPDX-License-Identifier: MIT
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu.h"
#include "shared/runtime/interrupt_char.h"
#include "timer.h"

#define MICROPY_BEGIN_ATOMIC_SECTION() irq_disable()
#define MICROPY_END_ATOMIC_SECTION(state) irq_restore(state)

#define MICROPY_INTERNAL_WFE(timeout_ms) mp_hal_wait_for_event(timeout_ms)

// Until the next interrupt; or timeout_ms, if that is not negative.
void mp_hal_wait_for_event(int32_t timeout_ms);

void mp_hal_get_random(size_t n, uint8_t *buf);

static inline mp_uint_t mp_hal_ticks_cpu(void) {
    return timer_ticks();
}
