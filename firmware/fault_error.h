// SPDX-License-Identifier: MIT
#pragma once

#include <stdint.h>

#include "py/obj.h"

// OSError(EFAULT, '0x…'), whatever memory there is.
mp_obj_t fault_error(uint32_t address);
