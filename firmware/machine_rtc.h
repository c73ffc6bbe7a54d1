// SPDX-License-Identifier: MIT
#pragma once

#include "py/obj.h"

extern const mp_obj_type_t machine_rtc_type;
