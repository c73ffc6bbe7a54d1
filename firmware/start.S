// SPDX-License-Identifier: MIT
// From reset to main(): entered in ARM state, supervisor mode, MMU and caches
// off, either at the link address (QEMU loaded the ELF file) or at the start
// of flash (the CPU came out of reset there).

#include "vectors.h"

    .syntax unified
    .arch_extension virt
    .arm

    .section .text.start, "ax"
    .global _start
    .type _start, %function
_start:
    cpsid   aif, #MODE_SVC

    // Copy the image to where it is linked unless it runs there already.
    adr     r0, _start
    ldr     r1, =_image_start
    cmp     r0, r1
    beq     2f
    ldr     r2, =_image_end
1:  ldmia   r0!, {r3-r6}            // _image_end is 16-byte aligned
    stmia   r1!, {r3-r6}
    cmp     r1, r2
    blo     1b
    dsb
    isb
    ldr     pc, =2f

2:  ldr     r0, =vectors
    mcr     p15, 0, r0, c12, c0, 0  // VBAR

    // Aborts and undefined instructions have one small stack between them: a
    // second fault while the first is dealt with is fatal anyway. IRQ mode gets
    // a place for two words (see vectors.S), and FIQs do not occur.
    ldr     r0, =_fault_stack_end
    cps     #MODE_ABT
    mov     sp, r0
    cps     #MODE_UND
    mov     sp, r0
    ldr     r0, =irq_scratch
    cps     #MODE_IRQ
    mov     sp, r0
    cps     #MODE_SVC
    ldr     sp, =_stack_end

    // VFP and NEON on: access for CP10 and CP11, then the enable bit.
    mrc     p15, 0, r0, c1, c0, 2   // CPACR
    orr     r0, r0, #(0xf << 20)
    mcr     p15, 0, r0, c1, c0, 2
    isb
    mov     r0, #(1 << 30)
    vmsr    fpexc, r0

    ldr     r0, =_bss_start
    ldr     r1, =_bss_end
    mov     r2, #0
    mov     r3, #0
    mov     r4, #0
    mov     r5, #0
3:  cmp     r0, r1
    stmialo r0!, {r2-r5}
    blo     3b

    bl      mmu_init
    bl      main
4:  wfi
    b       4b

    .size _start, . - _start
