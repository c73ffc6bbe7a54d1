// SPDX-License-Identifier: MIT
// CFI flash with Intel's command set (JEDEC JESD68 and JEP137): two chips of 16 bits side by side,
// so that each command and each status stands in a word twice. While a command runs, the bank
// reads as its status; therefore no interrupt comes in between, which may run code that lies there.

#include <string.h>

#include "cpu.h"
#include "flash.h"
#include "mmu.h"
#include "mpconfigboard.h"

#define BOTH(value) ((value) << 16 | (value))

#define READ_ARRAY BOTH(0xffu)
#define CFI_QUERY BOTH(0x98u)
#define CLEAR_STATUS BOTH(0x50u)
#define ERASE BOTH(0x20u)
#define WRITE_TO_BUFFER BOTH(0xe8u)
#define CONFIRM BOTH(0xd0u)

#define READY BOTH(0x80u)
#define ERASE_ERROR BOTH(0x20u)
#define PROGRAM_ERROR BOTH(0x10u)
#define LOCKED BOTH(0x02u)

// Where the answer to a CFI query says "QRY", in words.
#define CFI_QRY 0x10

#define WORD sizeof(uint32_t)
#define BUFFER_SIZE 2048

static uint32_t begin(void) {
    uint32_t irq = irq_disable();
    mmu_open_rom();
    return irq;
}

static void end(uint32_t irq) {
    mmio_write(BOARD_ROM_BASE, READ_ARRAY);
    mmu_close_rom();
    irq_restore(irq);
}

// Wait for the end of a command; false if it failed.
static bool succeeds(uintptr_t address) {
    uint32_t status;
    do {
        status = mmio_read(address);
    } while ((status & READY) != READY);
    mmio_write(address, CLEAR_STATUS);
    return !(status & (ERASE_ERROR | PROGRAM_ERROR | LOCKED));
}

bool flash_is_there(void) {
    uint32_t irq = begin();
    mmio_write(BOARD_ROM_BASE + 0x55 * WORD, CFI_QUERY);
    const uintptr_t answer = BOARD_ROM_BASE + CFI_QRY * WORD;
    bool there = mmio_read(answer) == BOTH((uint32_t)'Q')
        && mmio_read(answer + WORD) == BOTH((uint32_t)'R')
        && mmio_read(answer + 2 * WORD) == BOTH((uint32_t)'Y');
    end(irq);
    return there;
}

static bool erase_block(uintptr_t address) {
    uint32_t irq = begin();
    mmio_write(address, CLEAR_STATUS);
    mmio_write(address, ERASE);
    mmio_write(address, CONFIRM);
    bool done = succeeds(address);
    end(irq);
    return done;
}

// What goes through the chips' buffer at once, which lies at a multiple of its size.
static bool program_buffer(uintptr_t address, const uint8_t *data, size_t size) {
    uint32_t irq = begin();
    mmio_write(address, CLEAR_STATUS);
    mmio_write(address, WRITE_TO_BUFFER);
    mmio_write(address, BOTH((uint32_t)(size / WORD - 1)));
    for (size_t at = 0; at < size; at += WORD) {
        uint32_t word;
        memcpy(&word, data + at, WORD);
        mmio_write(address + at, word);
    }
    mmio_write(address, CONFIRM);
    bool done = succeeds(address);
    end(irq);
    return done;
}

bool flash_erase(size_t offset, size_t size) {
    for (size_t at = offset; at < offset + size; at += FLASH_BLOCK_SIZE) {
        if (!erase_block(BOARD_ROM_BASE + at)) {
            return false;
        }
    }
    return true;
}

bool flash_program(size_t offset, const void *data, size_t size) {
    const uint8_t *from = data;
    while (size > 0) {
        size_t now = BUFFER_SIZE - offset % BUFFER_SIZE;
        now = size < now ? size : now;
        if (!program_buffer(BOARD_ROM_BASE + offset, from, now)) {
            return false;
        }
        offset += now;
        from += now;
        size -= now;
    }
    return true;
}
