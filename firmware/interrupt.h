// SPDX-License-Identifier: MIT
// board.Interrupt: interrupt lines in Python's hands.
#pragma once

#include "py/obj.h"

extern const mp_obj_type_t interrupt_type;

// Disables every line that Python enabled and forgets its handler.
void interrupt_reset_all(void);
