// SPDX-License-Identifier: MIT
// From reset to main(): entered in ARM state, in supervisor or hypervisor mode, MMU and caches
// off, either at the link address (QEMU loaded the ELF file), at the start of flash (the CPU came
// out of reset there), or anywhere (QEMU loaded the binary as it does Linux, the device tree in r2).

#include "mpconfigboard.h"
#include "psci.h"
#include "vectors.h"

    .syntax unified
    .arch_extension virt
    .arm

    .section .text.start, "ax"
    .global _start
    .type _start, %function
_start:
    mov     r7, r2
    mrs     r0, cpsr
    and     r0, r0, #0x1f
    cmp     r0, #MODE_HYP
    bne     1f
    mov     r0, #0                  // nothing is trapped, and the counters are everybody's
    mcr     p15, 4, r0, c1, c1, 0   // HCR
    mcr     p15, 4, r0, c1, c1, 2   // HCPTR
    mcr     p15, 4, r0, c1, c1, 3   // HSTR
    mcrr    p15, 4, r0, r0, c14     // CNTVOFF
    mov     r0, #3
    mcr     p15, 4, r0, c14, c1, 0  // CNTHCTL
    mrc     p15, 0, r0, c0, c0, 0
    mcr     p15, 4, r0, c0, c0, 0   // VPIDR
    mrc     p15, 0, r0, c0, c0, 5
    mcr     p15, 4, r0, c0, c0, 5   // VMPIDR
    mov     r0, #(0x1c0 | MODE_SVC)
    msr     spsr_cxsf, r0
    adr     r0, 1f
    msr     elr_hyp, r0
    eret
1:  cpsid   aif, #MODE_SVC

    // Is there as much RAM as the firmware takes? Where there is none, reading is an abort, or
    // what was written does not stay.
    adr     r0, no_ram_vectors
    mcr     p15, 0, r0, c12, c0, 0  // VBAR
    isb
    ldr     r0, =_heap_start + 0xffffc // and a MiB of heap
    str     r0, [r0]
    dsb
    ldr     r1, [r0]
    cmp     r0, r1
    bne     no_ram

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

    mov     r0, r7
    bl      fdt_take
    bl      mmu_init
    bl      main
4:  wfi
    b       4b

    .size _start, . - _start

    // Runs wherever it is, without memory.
    .balign 32
no_ram_vectors:
    .rept   8
    b       no_ram
    .endr
no_ram:
    adr     r0, no_ram_text
    ldr     r1, =BOARD_UART_BASE
5:  ldrb    r2, [r0], #1
    cmp     r2, #0
    strne   r2, [r1]
    bne     5b
    ldr     r0, =PSCI_SYSTEM_OFF
    hvc     #0
6:  wfi
    b       6b
    .ltorg
no_ram_text:
    .asciz  "\r\nThis machine has too little RAM: start it with -m 12M or more.\r\n"
    .balign 4
