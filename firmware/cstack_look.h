// SPDX-License-Identifier: MIT
#pragma once

// Has the next stack check look for a Ctrl-C: where C code checks its stack it may be given up.
// Called with IRQs masked.
void cstack_look_at_next_check(void);
void cstack_look_no_more(void);

// What mp_cstack_check() asks, where not to call it is worth it: if not, it is called.
#ifndef CSTACK_HAS_ROOM
#define CSTACK_HAS_ROOM() \
    ((char *)MP_STATE_THREAD(stack_top) - (char *)__builtin_frame_address(0) < (mp_int_t)MP_STATE_THREAD(stack_limit))
#endif
