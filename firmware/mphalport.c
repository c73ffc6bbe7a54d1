// SPDX-License-Identifier: MIT
// MicroPython's hardware interface: console, time, waiting.

#include "py/mphal.h"
#include "py/ringbuf.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "extmod/misc.h"
#include "shared/runtime/pyexec.h"

#include "port_terminal.h"
#include "rtc.h"
#include "uart.h"
#include "wait.h"

// What os.dupterm_notify() has read ahead, to see a Ctrl-C while a program runs.
static uint8_t read_ahead[16 * 1024];
ringbuf_t stdin_ringbuf = { read_ahead, sizeof(read_ahead), 0, 0 };

int dupterm_read_ahead(void) {
    return ringbuf_free(&stdin_ringbuf) == 0 ? -1 : mp_os_dupterm_rx_chr();
}

uintptr_t mp_hal_stdio_poll(uintptr_t poll_flags) {
    uintptr_t ready = poll_flags & MP_STREAM_POLL_WR;
    if (uart_readable() || ringbuf_avail(&stdin_ringbuf) != 0) {
        ready |= poll_flags & MP_STREAM_POLL_RD;
    }
    return ready | mp_os_dupterm_poll(poll_flags);
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        int c = uart_read();
        if (c >= 0) {
            port_terminal_asked = false;
        } else {
            c = ringbuf_get(&stdin_ringbuf);
        }
        if (c < 0) {
            c = mp_os_dupterm_rx_chr();
        }
        if (c >= 0) {
            return c;
        }
        mp_event_wait_indefinite();
    }
}

mp_uint_t mp_hal_stdout_tx_strn(const char *str, size_t len) {
    // A program at the raw REPL of the port gets its answers at the port's speed.
    if (!port_terminal_asked || pyexec_mode_kind != PYEXEC_MODE_RAW_REPL) {
        uart_write(str, len);
    }
    mp_os_dupterm_tx_strn(str, len);
    return len;
}

void mp_hal_wait_for_event(int32_t timeout_ms) {
    wait_for_event(timer_deadline_ms(timeout_ms));
}

static void delay_until(uint64_t deadline) {
    mp_event_handle_nowait();
    while (timer_ticks() < deadline) {
        wait_for_event(deadline);
        mp_event_handle_nowait();
    }
}

void mp_hal_delay_us(mp_uint_t us) {
    delay_until(timer_ticks() + timer_ticks_from_us(us));
}

void mp_hal_delay_ms(mp_uint_t ms) {
    delay_until(timer_ticks() + timer_ticks_from_us((uint64_t)ms * 1000));
}

mp_uint_t mp_hal_ticks_us(void) {
    return timer_us();
}

mp_uint_t mp_hal_ticks_ms(void) {
    return timer_ms();
}

uint64_t mp_hal_time_ns(void) {
    return rtc_time_ns();
}
