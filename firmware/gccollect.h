// SPDX-License-Identifier: MIT
#pragma once

#include "py/nlr.h"

// The innermost exception handler when the collection that is under way began: only what has a
// newer one, a finaliser, can be abandoned.
const nlr_buf_t *gc_outer_handler(void);
