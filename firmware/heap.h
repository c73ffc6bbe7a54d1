// SPDX-License-Identifier: MIT
// Where the garbage collector gets its memory areas from: the RAM behind the
// firmware, handed out in few and large pieces.
#pragma once

#include <stddef.h>

void heap_init(void *start, void *end);
void *heap_alloc(size_t size);
void heap_free(void *piece);

// The largest size that heap_alloc() can satisfy now.
size_t heap_largest(void);
