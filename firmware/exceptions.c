// SPDX-License-Identifier: MIT
// What becomes of a fault. If running Python code caused it, that code gets an
// exception; otherwise the registers are printed and the machine is reset.

#include <stdbool.h>
#include <stddef.h>

#include "py/gc.h"
#include "py/mphal.h"
#include "py/mpprint.h"
#include "py/runtime.h"

#include "cpu.h"
#include "exceptions.h"
#include "fault_error.h"
#include "linker.h"
#include "psci.h"
#include "uart.h"

enum { FAULT_UNDEFINED, FAULT_PREFETCH, FAULT_DATA, FAULT_SVC };

// Built by vectors.S.
typedef struct {
    uint32_t r[13];
    uint32_t sp;
    uint32_t lr;
    uint32_t pc;
    uint32_t cpsr;
} fault_frame_t;

#define DFSR_WRITE (1u << 11)
#define CPSR_MODE 0x1f
#define MODE_SVC 0x13

// What raising an exception may need below the stack pointer it starts from.
#define RAISE_STACK 4096

// Index of the stack pointer in nlr_buf_t.regs (py/nlrthumb.c).
#define NLR_REG_SP 9

#define CAUSE_MAGIC 0x63617573

static struct {
    uint32_t magic;
    uint32_t cause;
} next_start __attribute__((section(".noinit")));

static bool started;

uint32_t reset_cause(void) {
    static uint32_t cause;
    if (cause == 0) {
        cause = next_start.magic == CAUSE_MAGIC ? next_start.cause : RESET_CAUSE_POWER_ON;
        next_start.magic = 0;
    }
    return cause;
}

_Noreturn void reset_machine(uint32_t cause) {
    next_start.magic = CAUSE_MAGIC;
    next_start.cause = cause;
    psci_system_reset();
}

void faults_reset_from_now_on(void) {
    started = true;
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

static _Noreturn void raise_fault(uint32_t address) {
    nlr_raise(fault_error(address));
}

static _Noreturn void raise_stack_overflow(uint32_t address) {
    (void)address;
    mp_raise_recursion_depth();
}

// The stack pointer of the innermost exception handler, or 0. What lies below
// it is given up when an exception is raised, so raising can start right there.
static uintptr_t handler_sp(void) {
    const nlr_buf_t *top = MP_STATE_THREAD(nlr_top);
    return top == NULL ? 0 : (uintptr_t)top->regs[NLR_REG_SP];
}

// Whether C code can be abandoned where it is: not in an interrupt handler, an
// atomic section or the collector, and with a handler that has stack to run on.
static bool can_raise(const fault_frame_t *frame) {
    uintptr_t sp = handler_sp();
    return (frame->cpsr & (CPSR_MODE | CPSR_I)) == MODE_SVC
           && !(MP_STATE_THREAD(gc_lock_depth) & GC_COLLECT_FLAG)
           && sp >= (uintptr_t)_stack_start + RAISE_STACK && sp < (uintptr_t)_stack_end;
}

static bool in_guard_page(uintptr_t address) {
    return address >= (uintptr_t)_guard_start && address < (uintptr_t)_stack_start;
}

static void continue_with(fault_frame_t *frame, void (*function)(uint32_t), uint32_t argument) {
    frame->r[0] = argument;
    frame->sp = handler_sp() & ~7u;
    frame->pc = (uintptr_t)function & ~1u;
    frame->cpsr = (frame->cpsr & ~CPSR_IT) | CPSR_T;
}

// Called by vectors.S, which goes on with the frame as it is on return.
void fault_handler(fault_frame_t *frame, unsigned kind) {
    if (kind == FAULT_UNDEFINED && frame->cpsr & CPSR_T) {
        frame->pc += 2;
    }
    if (kind != FAULT_DATA || !can_raise(frame)) {
        fatal(frame, kind);
    }
    uint32_t address = read_dfar();
    continue_with(frame, in_guard_page(address) ? raise_stack_overflow : raise_fault, address);
}
