// SPDX-License-Identifier: MIT
// A terminal whose bytes a driver in Python carries.
#pragma once

#include <stdbool.h>

#include "py/obj.h"

extern const mp_obj_type_t port_terminal_type;

// Whether the last input came from here.
extern bool port_terminal_asked;

// Sends what the program has printed so far.
void port_terminal_flush(void);

// The driver is gone. What has been typed ahead stays.
void port_terminal_detach(void);
