// SPDX-License-Identifier: MIT
// The exception vectors and the assembler part of their handlers.

#include "vectors.h"

    .syntax unified
    .arm

    .section .text.vectors, "ax"
    .balign 32
    .global vectors
vectors:
    b       _start
    b       undefined_entry
    b       svc_entry
    b       prefetch_entry
    b       data_entry
    b       .                       // hypervisor trap: not taken at this level
    b       irq_entry
    b       .                       // FIQ: nothing is routed there

// IRQs run in supervisor mode on a stack of their own: the interrupted code may be at the
// very end of its stack. That mode's lr may be in use, so it is kept. C code may use the VFP,
// hence its caller-saved registers are kept too.
irq_entry:
    sub     lr, lr, #4
    stm     sp, {r0, r1}            // IRQ mode's sp stays at irq_scratch
    ldr     r0, =_irq_stack_end
    cps     #MODE_SVC
    mov     r1, sp
    cmp     r1, r0                  // the lower stack is this one: a handler was interrupted
    movhi   sp, r0
    bic     sp, sp, #7              // the ABI wants 8-byte alignment
    push    {r1, lr}
    cps     #MODE_IRQ
    ldm     sp, {r0, r1}
    srsdb   sp!, #MODE_SVC
    cps     #MODE_SVC
    sub     sp, sp, #4
    push    {r0-r3, r12}
    vpush   {d0-d7}
    vpush   {d16-d31}
    vmrs    r0, fpscr
    push    {r0, r1}
    add     r0, sp, #8 + 24 * 8     // an interrupted_t (ctrl_c.h)
    bl      irq_handler
    cpsid   i                       // a handler may have let IRQs in
    pop     {r0, r1}
    vmsr    fpscr, r0
    vpop    {d16-d31}
    vpop    {d0-d7}
    mov     r0, sp                  // r0-r3, r12, padding, pc, cpsr, sp, lr
    ldr     lr, [r0, #36]
    ldr     sp, [r0, #32]
    cps     #MODE_IRQ
    ldr     lr, [r0, #24]
    ldr     r1, [r0, #28]
    msr     spsr_cxsf, r1
    clrex
    ldm     r0, {r0-r3, r12}
    movs    pc, lr

// Where a jump out of an overflowed stack lands: what nlr_push() is to return to lies with
// stack_landed(), and it returns 1.
    .global stack_landing
stack_landing:
    bl      stack_landed
    mov     lr, r0
    mov     r0, #1
    bx      lr

// Faults: build a fault_frame_t on the fault stack and continue with whatever
// fault_handler() left in it.
.macro FAULT_ENTRY name, mode, adjust, kind
\name:
    sub     lr, lr, #\adjust
    srsdb   sp!, #\mode             // pc, cpsr
    sub     sp, sp, #8              // supervisor sp, lr
    push    {r0-r12}
    cps     #MODE_SVC
    mov     r0, sp
    mov     r1, lr
    cps     #\mode
    str     r0, [sp, #FAULT_FRAME_SP]
    str     r1, [sp, #FAULT_FRAME_LR]
    mov     r0, sp
    mov     r1, #\kind
    mov     r4, sp
    bic     sp, sp, #7
    bl      fault_handler
    mov     sp, r4
    ldr     r0, [sp, #FAULT_FRAME_SP]
    ldr     r1, [sp, #FAULT_FRAME_LR]
    cps     #MODE_SVC
    mov     sp, r0
    mov     lr, r1
    cps     #\mode
    pop     {r0-r12}
    add     sp, sp, #FAULT_FRAME_PC - FAULT_FRAME_SP
    rfeia   sp!
.endm

    // The adjustment makes pc the address of the faulting instruction. (After an
    // undefined Thumb instruction it is two bytes short; fault_handler() knows.)
    FAULT_ENTRY undefined_entry, MODE_UND, 4, FAULT_UNDEFINED
    FAULT_ENTRY prefetch_entry, MODE_ABT, 4, FAULT_PREFETCH
    FAULT_ENTRY data_entry, MODE_ABT, 8, FAULT_DATA

    // Nothing uses SVC. One that is executed by mistake is reported; being taken
    // from supervisor mode itself, it has already overwritten lr.
    FAULT_ENTRY svc_entry, MODE_SVC, 4, FAULT_SVC

    .section .bss.irq_scratch, "aw", %nobits
    .balign 8
    .global irq_scratch
irq_scratch:
    .space  8
