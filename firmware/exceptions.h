// SPDX-License-Identifier: MIT
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Why the machine was reset last.
enum {
    RESET_CAUSE_POWER_ON = 1,
    RESET_CAUSE_HARD,
    RESET_CAUSE_FAULT,
    RESET_CAUSE_DEEPSLEEP,
    RESET_CAUSE_WATCHDOG,
};

uint32_t reset_cause(void);

// Notes the cause for the next start and resets the machine.
_Noreturn void reset_machine(uint32_t cause);

// Whether the start before this one ended by a fault within seconds.
bool fault_came_at_once(void);

// From here on a fatal fault resets the machine. Before that, in the middle of
// the start-up, it would only happen again: it powers off instead.
void faults_reset_from_now_on(void);

// In vectors.S.
void stack_landing(void);
