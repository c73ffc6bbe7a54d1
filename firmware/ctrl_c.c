// SPDX-License-Identifier: MIT
// Ctrl-C on its way from the console to the program.
//
// It is raised at a jump of bytecode, or where C code waits. Code that comes to neither has to be
// cut, once someone insists. Native code can be anywhere: it keeps nothing that an exception may
// not drop. C code of the interpreter cannot: a list that is about to get its new items, say, has
// lost the old ones already. But where it checks its stack it is prepared for an exception.

#include <stdint.h>

#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/runtime/softtimer.h"

#include "cpu.h"
#include "cstack_look.h"
#include "ctrl_c.h"
#include "linker.h"
#include "timer.h"

// MicroPython's own, under its name in mpconfigport.h.
void mp_sched_keyboard_interrupt_at_once(void);

static unsigned handlers; // that are running, one inside another
static unsigned holds; // since the innermost of them began
static volatile bool kept;
static uint64_t kept_since;
static bool insisted; // another has come while one was kept

// What comes sooner after the first belongs to it: tools send two at a time.
#define APART_US 200000

#define INSISTING 3 // times
#define INSISTING_US 2000000 // within

static unsigned presses;
static uint64_t first_press;
static volatile bool forced; // to be raised wherever that harms nothing
static soft_timer_entry_t occasion;

static bool is_pending(void) {
    return MP_STATE_THREAD(mp_pending_exception) == MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception));
}

// An interrupt each millisecond, to see where the program is.
static void come_again(soft_timer_entry_t *entry) {
    if (!forced) {
        entry->mode = SOFT_TIMER_MODE_ONE_SHOT;
    }
}

static void force(void) {
    forced = true;
    soft_timer_remove(&occasion);
    soft_timer_static_init(&occasion, SOFT_TIMER_MODE_PERIODIC, 1, come_again);
    soft_timer_insert(&occasion, 1);
}

static void count_press(void) {
    uint64_t now = timer_ticks();
    if (!(kept || is_pending()) || now - first_press > timer_ticks_from_us(INSISTING_US)) {
        presses = 0;
        first_press = now;
    }
    presses++;
    if (presses >= INSISTING && !forced) {
        force();
    }
}

static void keep(void) {
    uint64_t now = timer_ticks();
    if (!kept) {
        kept = true;
        kept_since = now;
        insisted = false;
    } else if (now - kept_since > timer_ticks_from_us(APART_US)) {
        insisted = true;
    }
}

static void keep_pending(void) {
    if (is_pending()) {
        MP_STATE_THREAD(mp_pending_exception) = MP_OBJ_NULL;
        keep();
    }
}

static void release_kept(void) {
    if (holds == 0 && handlers == 0 && kept) {
        kept = false;
        mp_sched_keyboard_interrupt_at_once();
    }
}

void ctrl_c_pressed(void) {
    uint32_t state = irq_disable();
    count_press();
    keep();
    release_kept();
    irq_restore(state);
}

// What os.dupterm() calls.
void mp_sched_keyboard_interrupt(void) {
    ctrl_c_pressed();
}

void ctrl_c_hold(void) {
    uint32_t state = irq_disable();
    holds++;
    keep_pending();
    irq_restore(state);
}

void ctrl_c_release(void) {
    uint32_t state = irq_disable();
    holds--;
    release_kept();
    irq_restore(state);
}

unsigned ctrl_c_enter_handler(void) {
    uint32_t state = irq_disable();
    unsigned outer = holds;
    holds = 0;
    handlers++;
    keep_pending();
    irq_restore(state);
    return outer;
}

void ctrl_c_leave_handler(unsigned outer) {
    uint32_t state = irq_disable();
    holds = outer;
    handlers--;
    release_kept();
    irq_restore(state);
}

bool ctrl_c_is_kept(void) {
    return kept;
}

uint64_t ctrl_c_kept_since(void) {
    return kept_since;
}

bool ctrl_c_is_insisted_on(void) {
    return kept && insisted;
}

// Whether a jump from here harms nobody but the code that runs.
static bool may_raise(void) {
    return holds == 0 && !(MP_STATE_THREAD(gc_lock_depth) & GC_COLLECT_FLAG);
}

void ctrl_c_end_wait(void) {
    if (kept && may_raise()) {
        nlr_raise(MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception)));
    }
}

static _Noreturn void raise_now(void) {
    uint32_t state = irq_disable();
    forced = false;
    presses = 0;
    if (is_pending()) {
        MP_STATE_THREAD(mp_pending_exception) = MP_OBJ_NULL;
    }
    cstack_look_no_more();
    irq_restore(state);
    nlr_raise(MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception)));
}

void ctrl_c_raise_if_forced(void) {
    if (forced && (kept || is_pending()) && may_raise()) {
        raise_now();
    }
}

static bool is_native(uint32_t pc) {
    return pc >= (uintptr_t)_heap_start;
}

void ctrl_c_look_at(interrupted_t *code) {
    if (!forced) {
        return;
    }
    if (!kept && !is_pending()) {
        forced = false;
    } else if (may_raise()) {
        if (is_native(code->pc)) {
            code->sp &= ~7u;
            code->pc = (uintptr_t)raise_now & ~1u;
            code->cpsr = (code->cpsr & ~CPSR_IT) | CPSR_T;
        } else {
            cstack_look_at_next_check();
        }
    }
}
