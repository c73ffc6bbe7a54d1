// SPDX-License-Identifier: MIT
// py/malloc.c, behind the m_malloc() of gc.c, which has most calls of it done with.

#define m_malloc m_malloc_any
#include "py/malloc.c"
