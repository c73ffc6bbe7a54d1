// SPDX-License-Identifier: MIT
#pragma once

// Has the next stack check look for a Ctrl-C: where C code checks its stack it may be given up.
// Called with IRQs masked.
void cstack_look_at_next_check(void);
void cstack_look_no_more(void);
