// SPDX-License-Identifier: MIT
// Time of day: whole seconds from the PL031, the fraction from the counter. (Its alarm is of no
// use to find out where a second begins: QEMU lets it ring whole seconds after it was set.)

#include <stdbool.h>

#include "py/mphal.h"

#include "cpu.h"
#include "mpconfigboard.h"
#include "rtc.h"
#include "timer.h"

#define RTCDR (BOARD_RTC_BASE + 0x000)
#define RTCLR (BOARD_RTC_BASE + 0x008)

#define NS_PER_S 1000000000ull

// A second's begin is known as well as this, or is waited for again.
#define PRECISION 400000

// Beyond this it is not the counter that is off: the host was suspended, or its clock was set.
#define DRIFT 20000000

// What the clock was set to beyond the hardware's seconds, which go on to begin when they did. It
// survives a reset as they do.
static struct {
    uint32_t magic;
    int64_t ns;
} fraction __attribute__((section(".noinit")));

#define FRACTION_MAGIC 0x66726163

static bool started; // offset is known
static uint64_t offset; // of the hardware's clock from the counter, in ns

static uint64_t counter_ns(void) {
    uint64_t ticks = timer_ticks();
    uint32_t frequency = timer_frequency();
    return ticks / frequency * NS_PER_S + ticks % frequency * NS_PER_S / frequency;
}

static int64_t set_fraction(void) {
    return fraction.magic == FRACTION_MAGIC ? fraction.ns : 0;
}

// Waits until a second begins. A host that was busy just then makes it another one, until what they
// say together is good enough.
static void find_offset(void) {
    uint64_t least = 0;
    uint64_t most = UINT64_MAX;
    for (int tries = 5; tries != 0 && most - least > PRECISION; tries--) {
        uint64_t before, after = counter_ns();
        uint32_t last = mmio_read(RTCDR);
        uint32_t second;
        do {
            before = after;
            after = counter_ns();
            second = mmio_read(RTCDR);
        } while (second == last);
        after = counter_ns();
        least = MAX(least, second * NS_PER_S - after);
        most = MIN(most, second * NS_PER_S - before);
        if (most < least) {
            least = 0; // the clock was set meanwhile
            most = UINT64_MAX;
        }
    }
    offset = least + (most - least) / 2;
    started = true;
}

// The offset is mended by what the RTC shows. That never turns the clock back: no time was given
// out that lay beyond the RTC's second.
static uint64_t hardware_ns(void) {
    if (!started) {
        find_offset();
    }
    for (;;) {
        uint64_t before = offset + counter_ns();
        uint64_t second = mmio_read(RTCDR) * NS_PER_S;
        uint64_t after = offset + counter_ns();
        if (after + DRIFT < second || before >= second + NS_PER_S + DRIFT) {
            find_offset();
        } else if (after < second) {
            offset += second - after;
            return second;
        } else if (before >= second + NS_PER_S) {
            offset -= before - (second + NS_PER_S - 1);
            return second + NS_PER_S - 1;
        } else {
            return before < second ? second : before;
        }
    }
}

uint64_t rtc_time_ns(void) {
    return hardware_ns() + set_fraction();
}

uint32_t rtc_time_s(void) {
    if (!started && set_fraction() == 0) {
        return mmio_read(RTCDR);
    }
    return rtc_time_ns() / NS_PER_S;
}

void rtc_set(uint64_t ns) {
    uint64_t now = hardware_ns();
    uint32_t second = ns / NS_PER_S;
    mmio_write(RTCLR, second);
    offset += second * NS_PER_S - now / NS_PER_S * NS_PER_S;
    fraction.ns = (int64_t)(ns % NS_PER_S) - (int64_t)(now % NS_PER_S);
    fraction.magic = FRACTION_MAGIC;
}
