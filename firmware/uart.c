// SPDX-License-Identifier: MIT
// The console: a PL011, received by interrupt into a ring, sent by polling.

#include "py/runtime.h"
#include "shared/runtime/interrupt_char.h"

#include "cpu.h"
#include "ctrl_c.h"
#include "gic.h"
#include "mpconfigboard.h"
#include "uart.h"

#define UARTDR (BOARD_UART_BASE + 0x000)
#define UARTFR (BOARD_UART_BASE + 0x018)
#define UARTLCR_H (BOARD_UART_BASE + 0x02c)
#define UARTCR (BOARD_UART_BASE + 0x030)
#define UARTIMSC (BOARD_UART_BASE + 0x038)

#define FR_RXFE (1u << 4)
#define FR_TXFF (1u << 5)
#define LCR_H_FEN (1u << 4)
#define LCR_H_8BIT (3u << 5)
#define CR_UARTEN (1u << 0)
#define CR_TXE (1u << 8)
#define CR_RXE (1u << 9)
#define INT_RX (1u << 4)
#define INT_RX_TIMEOUT (1u << 6)

// A Ctrl-C is seen when it leaves the FIFO: what may be typed ahead of it without being read has
// to have room in here.
#define RING_SIZE (512 * 1024)

static uint8_t ring[RING_SIZE];
static volatile uint32_t received; // so far, without the Ctrl-C
static volatile uint32_t taken; // of that

static bool ring_is_full(void) {
    return received - taken == RING_SIZE;
}

// When the ring is full the rest stays in the UART's FIFO and the interrupt is
// masked until a reader makes room: the sender is held up, nothing is lost.
static void uart_interrupt(uint32_t intid) {
    (void)intid;
    while (!(mmio_read(UARTFR) & FR_RXFE)) {
        if (ring_is_full()) {
            mmio_write(UARTIMSC, 0);
            return;
        }
        uint8_t c = mmio_read(UARTDR);
        if (c == mp_interrupt_char) {
            taken = received; // as terminals do: it was typed for what ends now
            ctrl_c_pressed();
        } else {
            ring[received % RING_SIZE] = c;
            received++;
        }
    }
}

static void uart_accept(void) {
    mmio_write(UARTIMSC, INT_RX | INT_RX_TIMEOUT);
}

void uart_init(void) {
    mmio_write(UARTLCR_H, LCR_H_FEN | LCR_H_8BIT);
    mmio_write(UARTCR, CR_UARTEN | CR_TXE | CR_RXE);
    gic_enable(BOARD_UART_INTID, uart_interrupt);
    uart_accept();
}

void uart_write(const char *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        while (mmio_read(UARTFR) & FR_TXFF) {
        }
        mmio_write(UARTDR, (uint8_t)data[i]);
    }
}

int uart_read(void) {
    // The interrupt handler tests for a full ring and masks itself: this must
    // not happen between taking a character and unmasking.
    uint32_t state = irq_disable();
    bool was_full = ring_is_full();
    int c = -1;
    if (uart_readable()) {
        c = ring[taken % RING_SIZE];
        taken++;
    }
    if (was_full) {
        uart_accept();
    }
    irq_restore(state);
    return c;
}

bool uart_readable(void) {
    return received != taken;
}
