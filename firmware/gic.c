// SPDX-License-Identifier: MIT
// GICv2 with one priority level, one CPU and a table of handlers.

#include <stdbool.h>
#include <stddef.h>

#include "cpu.h"
#include "gic.h"
#include "mpconfigboard.h"

#define GICD_CTLR (BOARD_GICD_BASE + 0x000)
#define GICD_ISENABLER (BOARD_GICD_BASE + 0x100)
#define GICD_ICENABLER (BOARD_GICD_BASE + 0x180)
#define GICD_ISPENDR (BOARD_GICD_BASE + 0x200)
#define GICD_ITARGETSR (BOARD_GICD_BASE + 0x800)
#define GICD_ICFGR (BOARD_GICD_BASE + 0xc00)

#define GICC_CTLR (BOARD_GICC_BASE + 0x00)
#define GICC_PMR (BOARD_GICC_BASE + 0x04)
#define GICC_IAR (BOARD_GICC_BASE + 0x0c)
#define GICC_EOIR (BOARD_GICC_BASE + 0x10)

static gic_handler_t handlers[GIC_INTID_COUNT];
static volatile uint32_t taken;

void gic_init(void) {
    mmio_write(GICD_CTLR, 1);
    mmio_write(GICC_PMR, 0xff);
    mmio_write(GICC_CTLR, 1);
    irq_restore(0);
}

void gic_enable(uint32_t intid, gic_handler_t handler) {
    handlers[intid] = handler;
    if (intid >= GIC_SPI_FIRST) {
        *(volatile uint8_t *)(GICD_ITARGETSR + intid) = 1; // CPU 0
    }
    gic_unmask(intid);
}

void gic_disable(uint32_t intid) {
    gic_mask(intid);
    handlers[intid] = NULL;
}

gic_handler_t gic_handler(uint32_t intid) {
    return handlers[intid];
}

void gic_mask(uint32_t intid) {
    mmio_write(GICD_ICENABLER + intid / 32 * 4, 1u << (intid % 32));
}

void gic_unmask(uint32_t intid) {
    mmio_write(GICD_ISENABLER + intid / 32 * 4, 1u << (intid % 32));
}

void gic_set_pending(uint32_t intid) {
    mmio_write(GICD_ISPENDR + intid / 32 * 4, 1u << (intid % 32));
}

void gic_set_edge(uint32_t intid, bool edge) {
    uintptr_t address = GICD_ICFGR + intid / 16 * 4;
    uint32_t bit = 2u << (intid % 16 * 2);
    uint32_t others = mmio_read(address) & ~bit;
    mmio_write(address, edge ? others | bit : others);
}

uint32_t gic_taken(void) {
    return taken;
}

void gic_dispatch(void) {
    uint32_t iar = mmio_read(GICC_IAR);
    uint32_t intid = iar & 0x3ff;
    if (intid >= GIC_INTID_COUNT) {
        return; // spurious: the line was withdrawn before we acknowledged it
    }
    if (handlers[intid] != NULL) {
        handlers[intid](intid);
    }
    mmio_write(GICC_EOIR, iar);
    taken++;
}
