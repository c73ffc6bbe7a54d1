// SPDX-License-Identifier: MIT
// The collector's roots on the C side: callee-saved registers and the stack.

#include "py/gc.h"
#include "py/mpstate.h"
#include "shared/runtime/softtimer.h"

#include "cpu.h"
#include "gccollect.h"
#include "linker.h"

// What a collection may need on the stack, without what finalisers check for themselves.
#define COLLECT_STACK 3072

// Objects may be held by nothing but a register that our callers expect to get
// back. Storing those on the stack makes them roots like the rest of it; the
// upper VFP registers belong to them, as the compiler may keep pointers there.
__attribute__((naked, noinline)) static void collect_from_here(void (*trace)(uintptr_t sp)) {
    __asm volatile (
        "push {r3-r11, lr}  \n"
        "vpush {d8-d15}     \n"
        "mov r1, r0         \n"
        "mov r0, sp         \n"
        "blx r1             \n"
        "vpop {d8-d15}      \n"
        "pop {r3-r11, pc}   \n"
        );
    (void)trace;
}

static void trace_stack(uintptr_t sp) {
    gc_collect_root((void **)sp, ((uintptr_t)MP_STATE_THREAD(stack_top) - sp) / sizeof(void *));
}

static const nlr_buf_t *outer_handler;

const nlr_buf_t *gc_outer_handler(void) {
    return outer_handler;
}

void gc_collect(void) {
    // Not in the middle of another one, as a finaliser is; nor in a hard handler, which may have
    // come in the middle of one or of an allocation.
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    if (MP_STATE_THREAD(gc_lock_depth) & GC_COLLECT_FLAG || sp <= (uintptr_t)_irq_stack_end) {
        return;
    }
    stack_probe(COLLECT_STACK); // once begun it cannot be abandoned
    outer_handler = MP_STATE_THREAD(nlr_top);
    gc_collect_start();
    collect_from_here(trace_stack);
    soft_timer_gc_mark_all();
    gc_collect_end();
    outer_handler = NULL;
}
