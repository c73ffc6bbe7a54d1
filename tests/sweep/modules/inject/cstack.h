// SPDX-License-Identifier: MIT
// Included before the port's cstack.c, which renames by macros itself: the assembler's name is ours.

void mp_cstack_check(void) __asm__ ("inner_cstack_check");
