// SPDX-License-Identifier: MIT
// Included by extmod/modos.c.

#include "py/ringbuf.h"

#if !URANDOM_ASKS_HAL
// In entropy.c.
MP_DECLARE_CONST_FUN_OBJ_1(mp_os_urandom_obj);
#endif

// In mphalport.c.
extern ringbuf_t stdin_ringbuf;
