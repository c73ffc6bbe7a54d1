// SPDX-License-Identifier: MIT
// Included before the port's gc.c, which renames by macros itself: the assembler's names are ours.

#include <stdbool.h>
#include <stddef.h>

void *gc_alloc(size_t n_bytes, unsigned int alloc_flags) __asm__ ("inner_gc_alloc");
void *gc_realloc(void *ptr, size_t n_bytes, bool allow_move) __asm__ ("inner_gc_realloc");
void *m_malloc(size_t n_bytes) __asm__ ("inner_m_malloc");
