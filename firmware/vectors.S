// SPDX-License-Identifier: MIT
// The exception vectors and the assembler part of their handlers.

#define MODE_ABT 0x17
#define MODE_SVC 0x13
#define MODE_UND 0x1b

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

// IRQs run in supervisor mode on the interrupted code's own stack, so that a
// handler may be Python and the stack check holds for it. C code may use the
// VFP, hence its caller-saved registers are kept too.
irq_entry:
    sub     lr, lr, #4
    srsdb   sp!, #MODE_SVC
    cps     #MODE_SVC
    push    {r0-r3, r12, lr}
    and     r1, sp, #4              // the ABI wants 8-byte alignment
    sub     sp, sp, r1
    vpush   {d0-d7}
    vpush   {d16-d31}
    vmrs    r0, fpscr
    push    {r0, r1}
    bl      gic_dispatch
    pop     {r0, r1}
    vmsr    fpscr, r0
    vpop    {d16-d31}
    vpop    {d0-d7}
    add     sp, sp, r1
    pop     {r0-r3, r12, lr}
    clrex
    rfeia   sp!

// Faults: build a struct fault_frame (exceptions.h) on the fault stack and
// continue with whatever fault_handler() left in it.
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
    str     r0, [sp, #52]
    str     r1, [sp, #56]
    mov     r0, sp
    mov     r1, #\kind
    mov     r4, sp
    bic     sp, sp, #7
    bl      fault_handler
    mov     sp, r4
    ldr     r0, [sp, #52]
    ldr     r1, [sp, #56]
    cps     #MODE_SVC
    mov     sp, r0
    mov     lr, r1
    cps     #\mode
    pop     {r0-r12}
    add     sp, sp, #8
    rfeia   sp!
.endm

    // The adjustment makes pc the address of the faulting instruction. (After an
    // undefined Thumb instruction it is two bytes short; fault_handler() knows.)
    FAULT_ENTRY undefined_entry, MODE_UND, 4, 0
    FAULT_ENTRY prefetch_entry, MODE_ABT, 4, 1
    FAULT_ENTRY data_entry, MODE_ABT, 8, 2

    // Nothing uses SVC. One that is executed by mistake is reported; being taken
    // from supervisor mode itself, it has already overwritten lr.
    FAULT_ENTRY svc_entry, MODE_SVC, 4, 3
