// SPDX-License-Identifier: MIT
// Included before py/vm.c and py/scheduler.c.

void inject_at_jump(void);

#define MICROPY_VM_HOOK_LOOP inject_at_jump();
#define MICROPY_INTERNAL_EVENT_HOOK inject_at_jump()
