// SPDX-License-Identifier: MIT
// Python that is called in the middle of an operation which nothing else may come into.

#include "py/gc.h"
#include "py/runtime.h"

#include "ctrl_c.h"
#include "guard.h"
#include "handler.h"
#include "timer.h"

// A device that is only slow, as a flush on a busy host, answers within this: what it was asked for
// is done, and lost is nothing. Who does not want to wait for that presses again.
#define PATIENCE_MS 2000

static unsigned depth;

void guard_enter(guard_t *guard) {
    ctrl_c_hold();
    mp_sched_lock();
    guard->collects = MP_STATE_MEM(gc_auto_collect_enabled);
    MP_STATE_MEM(gc_auto_collect_enabled) = 0;
    guard->room = handler_take_room();
    depth++;
}

void guard_leave(const guard_t *guard) {
    depth--;
    handler_give_room_back(guard->room);
    MP_STATE_MEM(gc_auto_collect_enabled) = guard->collects;
    mp_sched_unlock();
    ctrl_c_release();
}

mp_obj_t guard_call(mp_obj_t function, mp_obj_t argument) {
    guard_t guard;
    guard_enter(&guard);
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        guard_leave(&guard);
        nlr_jump(nlr.ret_val);
    }
    mp_obj_t value = mp_call_function_1(function, argument);
    nlr_pop();
    guard_leave(&guard);
    return value;
}

uint64_t guard_wait_ends(void) {
    if (depth == 0 || !ctrl_c_is_kept()) {
        return TIMER_NEVER;
    }
    if (ctrl_c_is_insisted_on()) {
        return ctrl_c_kept_since();
    }
    return ctrl_c_kept_since() + timer_ticks_from_us(PATIENCE_MS * 1000);
}

void guard_check_wait(void) {
    if (timer_ticks() >= guard_wait_ends()) {
        nlr_raise(MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception)));
    }
}
