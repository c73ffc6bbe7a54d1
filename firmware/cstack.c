// SPDX-License-Identifier: MIT
// py/cstack.c, with a check that can be made to look for more than the stack.

#include "cpu.h"
#include "cstack_look.h"
#include "ctrl_c.h"

#define mp_cstack_check mp_cstack_check_only
#include "py/cstack.c"
#undef mp_cstack_check

// So much less than it is, the limit is negative, whatever else is added to it meanwhile.
#define LOOK ((mp_int_t)1 << 30)

static mp_int_t limit(void) {
    return MP_STATE_THREAD(stack_limit);
}

void cstack_look_at_next_check(void) {
    if (limit() >= 0) {
        MP_STATE_THREAD(stack_limit) -= LOOK;
    }
}

void cstack_look_no_more(void) {
    uint32_t state = irq_disable();
    if (limit() < 0) {
        MP_STATE_THREAD(stack_limit) += LOOK;
    }
    irq_restore(state);
}

// Apart, so that the check stays small enough to be inlined.
__attribute__((noinline, cold)) static void look(void) {
    cstack_look_no_more();
    ctrl_c_raise_if_forced();
    mp_cstack_check_only();
}

void mp_cstack_check(void) {
    if ((mp_int_t)mp_cstack_usage() >= limit()) {
        look();
    }
}
