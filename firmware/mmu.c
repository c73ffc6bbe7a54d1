// SPDX-License-Identifier: MIT
// The memory map: identity, one set of tables for the whole run. What is not
// mapped here faults. (ARMv7-A short descriptors, ARM ARM chapter B3.)

#include <stdint.h>

#include "linker.h"
#include "mmu.h"
#include "mpconfigboard.h"

#define SECTION_SHIFT 20
#define SECTION_SIZE (1u << SECTION_SHIFT)
#define PAGE_SHIFT 12
#define PAGE_SIZE (1u << PAGE_SHIFT)
#define PAGES_PER_TABLE (SECTION_SIZE / PAGE_SIZE)

// Rights and memory type, in the terms of this file; the two descriptor
// formats scatter the same bits differently.
#define READ_ONLY (1u << 0)
#define NO_EXECUTE (1u << 1)
#define DEVICE (1u << 2)

// The firmware's own pages: as many tables as the linker script asserts.
#define IMAGE_TABLES 8

static uint32_t sections[4096] __attribute__((aligned(16384)));
static uint32_t image_pages[IMAGE_TABLES * PAGES_PER_TABLE] __attribute__((aligned(1024)));
static uint32_t flash_pages[PAGES_PER_TABLE] __attribute__((aligned(1024)));

// AP[1:0] = 01 is access for privileged code only, AP[2] takes writing away.
// Normal memory is write-back, write-allocate and shareable (TEX = 001, C, B):
// virtio devices are coherent with it. Devices are TEX = 000, B.

static uint32_t section_bits(unsigned rights) {
    uint32_t bits = 2u | 1u << 10;
    bits |= rights & READ_ONLY ? 1u << 15 : 0;
    bits |= rights & NO_EXECUTE ? 1u << 4 : 0;
    bits |= rights & DEVICE ? 1u << 2 : 1u << 16 | 1u << 12 | 1u << 3 | 1u << 2;
    return bits;
}

static uint32_t page_bits(unsigned rights) {
    uint32_t bits = 2u | 1u << 4;
    bits |= rights & READ_ONLY ? 1u << 9 : 0;
    bits |= rights & NO_EXECUTE ? 1u << 0 : 0;
    bits |= rights & DEVICE ? 1u << 2 : 1u << 10 | 1u << 6 | 1u << 3 | 1u << 2;
    return bits;
}

static void map_sections(uintptr_t start, uintptr_t end, unsigned rights) {
    for (uintptr_t a = start; a != end; a += SECTION_SIZE) {
        sections[a >> SECTION_SHIFT] = a | section_bits(rights);
    }
}

static void map_pages(uint32_t *table, uintptr_t base, uintptr_t start, uintptr_t end, unsigned rights) {
    for (uintptr_t a = start; a != end; a += PAGE_SIZE) {
        table[(a - base) >> PAGE_SHIFT] = a | page_bits(rights);
    }
}

static void use_page_table(uintptr_t address, uint32_t *table) {
    sections[address >> SECTION_SHIFT] = (uintptr_t)table | 1;
}

static void map_flash(void) {
    // The first page stays unmapped: a null pointer shall not read flash.
    use_page_table(BOARD_FLASH_BASE, flash_pages);
    map_pages(flash_pages, BOARD_FLASH_BASE, BOARD_FLASH_BASE + PAGE_SIZE,
        BOARD_FLASH_BASE + SECTION_SIZE, READ_ONLY | NO_EXECUTE);
    map_sections(BOARD_FLASH_BASE + SECTION_SIZE, BOARD_FLASH_BASE + BOARD_FLASH_SIZE, READ_ONLY | NO_EXECUTE);
}

static void map_devices(void) {
    static const uintptr_t regions[] = { BOARD_GIC_REGION, BOARD_PERIPHERAL_REGION, BOARD_VIRTIO_REGION };
    for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
        map_sections(regions[i], regions[i] + SECTION_SIZE, DEVICE | NO_EXECUTE);
    }
}

static void map_image(void) {
    uintptr_t base = (uintptr_t)_image_start;
    for (uintptr_t a = base; a < (uintptr_t)_dma_start; a += SECTION_SIZE) {
        use_page_table(a, image_pages + ((a - base) >> PAGE_SHIFT));
    }
    map_pages(image_pages, base, base, (uintptr_t)_text_end, READ_ONLY);
    map_pages(image_pages, base, (uintptr_t)_text_end, (uintptr_t)_rodata_end, READ_ONLY | NO_EXECUTE);
    // The guards below the stacks are left out, to catch an overflow.
    map_pages(image_pages, base, (uintptr_t)_rodata_end, (uintptr_t)_irq_guard_start, NO_EXECUTE);
    map_pages(image_pages, base, (uintptr_t)_irq_stack_start, (uintptr_t)_irq_stack_end, NO_EXECUTE);
    map_pages(image_pages, base, (uintptr_t)_stack_start, (uintptr_t)_dma_start, NO_EXECUTE);
    map_sections((uintptr_t)_dma_start, (uintptr_t)_dma_end, NO_EXECUTE);
}

void mmu_init(void) {
    map_flash();
    map_devices();
    map_sections(BOARD_FDT_BASE, (uintptr_t)_image_start, READ_ONLY | NO_EXECUTE);
    map_image();

    uint32_t ttbr0 = (uintptr_t)sections | 0x4a; // walks: shareable, write-back
    uint32_t sctlr;
    __asm volatile (
        "mcr p15, 0, %[zero], c8, c7, 0 \n" // TLBIALL
        "mcr p15, 0, %[zero], c7, c5, 0 \n" // ICIALLU
        "mcr p15, 0, %[zero], c7, c5, 6 \n" // BPIALL
        "mcr p15, 0, %[zero], c2, c0, 2 \n" // TTBCR: short descriptors, TTBR0 only
        "mcr p15, 0, %[ttbr0], c2, c0, 0\n"
        "mcr p15, 0, %[one], c3, c0, 0  \n" // DACR: domain 0 checks rights
        "dsb                            \n"
        "isb                            \n"
        "mrc p15, 0, %[sctlr], c1, c0, 0\n"
        "bic %[sctlr], %[sctlr], #2     \n" // A: unaligned accesses are allowed
        "orr %[sctlr], %[sctlr], #0x1000\n" // I
        "orr %[sctlr], %[sctlr], #0x800 \n" // Z
        "orr %[sctlr], %[sctlr], #5     \n" // C and M
        "bic %[sctlr], %[sctlr], #0x40000000\n" // TE: exceptions in ARM state
        "bic %[sctlr], %[sctlr], #0x30000000\n" // AFE, TRE
        "mcr p15, 0, %[sctlr], c1, c0, 0\n"
        "isb                            \n"
        : [sctlr] "=&r" (sctlr)
        : [zero] "r" (0), [one] "r" (1), [ttbr0] "r" (ttbr0)
        : "memory");
}

void mmu_map_ram(size_t size) {
    // Native code lives on the heap, so RAM stays executable.
    map_sections((uintptr_t)_dma_end, BOARD_RAM_BASE + (size & ~(SECTION_SIZE - 1)), 0);
    // Entries that were invalid are not cached; the table walk must see them.
    __asm volatile ("dsb\n isb" : : : "memory");
}

void mmu_map_window(uintptr_t start, uint64_t physical) {
    // A supersection: its descriptor stands in all the sixteen places, bits 32 to 39 of the
    // address where a section has zeros and its domain.
    uint32_t low = physical;
    uint32_t high = physical >> 32;
    uint32_t descriptor = (low & 0xff000000) | (high & 0xf) << 20 | (high >> 4 & 0xf) << 5
        | 1u << 18 | section_bits(DEVICE | NO_EXECUTE);
    for (unsigned i = 0; i < 16; i++) {
        sections[(start >> SECTION_SHIFT) + i] = descriptor;
    }
    __asm volatile ("dsb\n isb" : : : "memory");
}

void mmu_map_reserve(uintptr_t start, uintptr_t end) {
    map_pages(image_pages, (uintptr_t)_image_start, start, end, NO_EXECUTE);
    __asm volatile ("dsb\n isb" : : : "memory");
}

void mmu_unmap_reserve(uintptr_t start, uintptr_t end) {
    for (uintptr_t a = start; a != end; a += PAGE_SIZE) {
        image_pages[(a - (uintptr_t)_image_start) >> PAGE_SHIFT] = 0;
        __asm volatile ("dsb\n mcr p15, 0, %0, c8, c7, 1" : : "r" (a) : "memory"); // TLBIMVA
    }
    __asm volatile ("dsb\n isb" : : : "memory");
}

// In their place are the old entries, which may be cached.
static void map_rom(unsigned rights) {
    map_sections(BOARD_ROM_BASE, BOARD_ROM_BASE + BOARD_ROM_SIZE, rights);
    __asm volatile (
        "dsb                           \n"
        "mcr p15, 0, %0, c8, c7, 0     \n" // TLBIALL
        "dsb                           \n"
        "isb                           \n"
        : : "r" (0) : "memory");
}

void mmu_open_rom(void) {
    map_rom(DEVICE | NO_EXECUTE);
}

void mmu_close_rom(void) {
    map_rom(READ_ONLY | NO_EXECUTE);
}

void mmu_sync_code(const void *code, size_t len) {
    // 32 bytes is no more than the line length of any ARMv7-A cache.
    const uintptr_t line = 32;
    uintptr_t start = (uintptr_t)code & ~(line - 1);
    uintptr_t end = (uintptr_t)code + len;
    for (uintptr_t a = start; a < end; a += line) {
        __asm volatile ("mcr p15, 0, %0, c7, c11, 1" : : "r" (a) : "memory"); // DCCMVAU
    }
    __asm volatile ("dsb" : : : "memory");
    for (uintptr_t a = start; a < end; a += line) {
        __asm volatile ("mcr p15, 0, %0, c7, c5, 1" : : "r" (a) : "memory"); // ICIMVAU
    }
    __asm volatile (
        "mcr p15, 0, %0, c7, c5, 6 \n" // BPIALL
        "dsb                       \n"
        "isb                       \n"
        : : "r" (0) : "memory");
}
