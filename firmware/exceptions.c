// SPDX-License-Identifier: MIT
// What becomes of a fault. If running Python code caused it, that code gets an
// exception; otherwise the registers are printed and the machine is reset.
//
// An exception is raised where the fault came, on the stack as it is: what lies
// there may still be needed on the way out (a node of nlr_push_jump_callback(),
// and what its owner keeps beside it). A stack that has overflown gets a reserve
// below its end, until the jump has landed and the guard is in place again.

#include <stdbool.h>
#include <stddef.h>

#include "py/gc.h"
#include "py/mphal.h"
#include "py/mpprint.h"
#include "py/runtime.h"

#include "cpu.h"
#include "ctrl_c.h"
#include "exceptions.h"
#include "fault_error.h"
#include "gccollect.h"
#include "gic.h"
#include "linker.h"
#include "mmu.h"
#include "psci.h"
#include "timer.h"
#include "uart.h"
#include "vectors.h"

// Built by vectors.S.
typedef struct {
    uint32_t r[13];
    uint32_t sp;
    uint32_t lr;
    uint32_t pc;
    uint32_t cpsr;
} fault_frame_t;

_Static_assert(offsetof(fault_frame_t, sp) == FAULT_FRAME_SP, "vectors.h");
_Static_assert(offsetof(fault_frame_t, lr) == FAULT_FRAME_LR, "vectors.h");
_Static_assert(offsetof(fault_frame_t, pc) == FAULT_FRAME_PC, "vectors.h");

typedef struct {
    const uint8_t *guard; // one page that is never mapped, then the reserve
    const uint8_t *start;
    const uint8_t *end;
    void *landing; // the return address that stack_landing stands for, or NULL: the reserve is not in use
} stack_area_t;

#define DFSR_WRITE (1u << 11)
#define CPSR_MODE 0x1f

#define PAGE 4096u

// What raising an exception may need below the stack pointer it starts from.
#define RAISE_STACK 4096

// The return address and the stack pointer in nlr_buf_t.regs (py/nlrthumb.c).
#define NLR_REG_LR 0
#define NLR_REG_SP 9

#define CAUSE_MAGIC 0x63617573

// A fault that comes sooner than this after a start is taken to be the fault of what it started.
#define AT_ONCE_US 10000000

static struct {
    uint32_t magic;
    uint32_t cause;
    bool at_once;
} next_start __attribute__((section(".noinit")));

static bool started;
static uint64_t start_us;

uint32_t reset_cause(void) {
    static uint32_t cause;
    if (cause == 0) {
        bool known = next_start.magic == CAUSE_MAGIC;
        cause = known ? next_start.cause : RESET_CAUSE_POWER_ON;
        next_start.at_once = known && cause == RESET_CAUSE_FAULT && next_start.at_once;
        next_start.magic = 0;
    }
    return cause;
}

bool fault_came_at_once(void) {
    return next_start.at_once;
}

_Noreturn void reset_machine(uint32_t cause) {
    next_start.magic = CAUSE_MAGIC;
    next_start.cause = cause;
    next_start.at_once = timer_us() - start_us < AT_ONCE_US;
    psci_system_reset();
}

void faults_reset_from_now_on(void) {
    started = true;
    start_us = timer_us();
}

static uint32_t read_dfsr(void) {
    uint32_t value;
    __asm volatile ("mrc p15, 0, %0, c5, c0, 0" : "=r" (value));
    return value;
}

static uint32_t read_dfar(void) {
    uint32_t value;
    __asm volatile ("mrc p15, 0, %0, c6, c0, 0" : "=r" (value));
    return value;
}

static uint32_t read_ifsr(void) {
    uint32_t value;
    __asm volatile ("mrc p15, 0, %0, c5, c0, 1" : "=r" (value));
    return value;
}

static void fault_print_strn(void *env, const char *str, size_t len) {
    (void)env;
    uart_write(str, len);
}

static const mp_print_t fault_print = { NULL, fault_print_strn };

static _Noreturn void fatal(const fault_frame_t *frame, unsigned kind) {
    static const char *const names[] = {
        "undefined instruction", "prefetch abort", "data abort", "supervisor call",
    };
    static bool again;
    if (again) {
        psci_system_off();
    }
    again = true;
    mp_printf(&fault_print, "\r\nFATAL: %s at 0x%08x", names[kind], (unsigned)frame->pc);
    if (kind == FAULT_DATA) {
        mp_printf(&fault_print, ", %s 0x%08x, status 0x%x",
            read_dfsr() & DFSR_WRITE ? "writing" : "reading", (unsigned)read_dfar(), (unsigned)read_dfsr());
    } else if (kind == FAULT_PREFETCH) {
        mp_printf(&fault_print, ", status 0x%x", (unsigned)read_ifsr());
    }
    mp_printf(&fault_print, "\r\n");
    for (unsigned i = 0; i < 13; i++) {
        mp_printf(&fault_print, "r%-2u 0x%08x%s", i, (unsigned)frame->r[i], i % 4 == 3 ? "\r\n" : "  ");
    }
    mp_printf(&fault_print, "sp  0x%08x  lr  0x%08x  cpsr 0x%08x\r\n",
        (unsigned)frame->sp, (unsigned)frame->lr, (unsigned)frame->cpsr);
    if (!started) {
        mp_printf(&fault_print, "power off\r\n");
        psci_system_off();
    }
    mp_printf(&fault_print, "reset\r\n");
    reset_machine(RESET_CAUSE_FAULT);
}

static stack_area_t stacks[] = {
    { _guard_start, _stack_start, _stack_end, NULL },
    { _irq_guard_start, _irq_stack_start, _irq_stack_end, NULL },
};

// The stack that an address is on, or in the guard of; or NULL.
static stack_area_t *stack_at(uintptr_t address) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(stacks); i++) {
        if (address >= (uintptr_t)stacks[i].guard && address <= (uintptr_t)stacks[i].end) {
            return &stacks[i];
        }
    }
    return NULL;
}

static size_t reserve_size(const stack_area_t *stack) {
    return stack->start - stack->guard - PAGE;
}

// Until the innermost handler is back in control, which is the only way on from here.
static void use_reserve(stack_area_t *stack) {
    nlr_buf_t *handler = MP_STATE_THREAD(nlr_top);
    mmu_map_reserve((uintptr_t)stack->start - reserve_size(stack), (uintptr_t)stack->start);
    MP_STATE_THREAD(stack_limit) += reserve_size(stack);
    stack->landing = handler->regs[NLR_REG_LR];
    handler->regs[NLR_REG_LR] = (void *)stack_landing;
}

// Called by stack_landing in vectors.S.
void *stack_landed(void) {
    stack_area_t *stack = stack_at((uintptr_t)__builtin_frame_address(0));
    void *landing = stack->landing;
    stack->landing = NULL;
    MP_STATE_THREAD(stack_limit) -= reserve_size(stack);
    mmu_unmap_reserve((uintptr_t)stack->start - reserve_size(stack), (uintptr_t)stack->start);
    return landing;
}

static _Noreturn void raise_fault(uint32_t address) {
    nlr_raise(fault_error(address));
}

// Without a collection: finalisers have no place on the reserve.
static _Noreturn void raise_stack_overflow(uint32_t address) {
    (void)address;
    uint16_t automatic = MP_STATE_MEM(gc_auto_collect_enabled);
    MP_STATE_MEM(gc_auto_collect_enabled) = 0;
    mp_obj_t error = mp_obj_new_exception_arg1(&mp_type_RuntimeError,
        MP_OBJ_NEW_QSTR(MP_QSTR_maximum_space_recursion_space_depth_space_exceeded));
    MP_STATE_MEM(gc_auto_collect_enabled) = automatic;
    nlr_raise(error);
}

// Whether C code can be abandoned where it is: it has a handler that is not older
// than the interrupt or the collection which it is part of. (An atomic section has
// none either, but does not fault: see irq_disable().)
static bool can_raise(const fault_frame_t *frame, const stack_area_t *stack) {
    const nlr_buf_t *handler = MP_STATE_THREAD(nlr_top);
    return (frame->cpsr & CPSR_MODE) == MODE_SVC
           && stack != NULL && handler != NULL && stack_at((uintptr_t)handler) == stack
           && (!(MP_STATE_THREAD(gc_lock_depth) & GC_COLLECT_FLAG) || handler != gc_outer_handler());
}

// Where raising starts; or 0, where there is no room for it.
static uintptr_t raise_sp(const fault_frame_t *frame, stack_area_t *stack, bool overflow) {
    if (!overflow) {
        return frame->sp;
    }
    if (stack->landing == NULL) {
        use_reserve(stack);
        return frame->sp;
    }
    // What is called on the way out has used up the reserve. If it has a handler of its own,
    // with nothing below that is still needed, all the stack below that handler is given up.
    const nlr_buf_t *handler = MP_STATE_THREAD(nlr_top);
    uintptr_t sp = (uintptr_t)handler->regs[NLR_REG_SP];
    const nlr_jump_callback_node_t *node = MP_STATE_THREAD(nlr_jump_callback_top);
    bool needed = node != NULL && (const void *)node < (const void *)handler;
    return !needed && sp >= (uintptr_t)stack->guard + PAGE + RAISE_STACK ? sp : 0;
}

static void continue_with(fault_frame_t *frame, void (*function)(uint32_t), uintptr_t sp, uint32_t argument) {
    frame->r[0] = argument;
    frame->sp = sp & ~7u;
    frame->pc = (uintptr_t)function & ~1u;
    frame->cpsr = (frame->cpsr & ~CPSR_IT) | CPSR_T;
}

// Called by vectors.S, which goes on with the frame as it is on return.
void fault_handler(fault_frame_t *frame, unsigned kind) {
    if (kind == FAULT_UNDEFINED && frame->cpsr & CPSR_T) {
        frame->pc += 2;
    }
    stack_area_t *stack = stack_at(frame->sp);
    if (kind != FAULT_DATA || !can_raise(frame, stack)) {
        fatal(frame, kind);
    }
    uint32_t address = read_dfar();
    bool overflow = address >= (uintptr_t)stack->guard && address < (uintptr_t)stack->start;
    uintptr_t sp = raise_sp(frame, stack, overflow);
    if (sp == 0) {
        fatal(frame, kind);
    }
    continue_with(frame, overflow ? raise_stack_overflow : raise_fault, sp, address);
}

// Called by irq_entry in vectors.S. A hard handler is Python, and the stack check
// shall hold for it too.
void irq_handler(interrupted_t *code) {
    size_t limit = MP_STATE_THREAD(stack_limit);
    MP_STATE_THREAD(stack_limit) = _stack_end - _irq_stack_start - MICROPY_STACK_CHECK_MARGIN;
    gic_dispatch();
    MP_STATE_THREAD(stack_limit) = limit;
    ctrl_c_look_at(code);
}
