// SPDX-License-Identifier: MIT
// Included before the port's vm.c and py/scheduler.c.

void inject_at_jump(void);

#define MICROPY_VM_HOOK_LOOP inject_at_jump();

// Each call is to ask mp_cstack_check().
#define CSTACK_HAS_ROOM() false

#include "py/mphal.h"

// The port's own, in its words.
static inline void event_hook(void) {
    MICROPY_INTERNAL_EVENT_HOOK;
}

#undef MICROPY_INTERNAL_EVENT_HOOK
#define MICROPY_INTERNAL_EVENT_HOOK (inject_at_jump(), event_hook())
