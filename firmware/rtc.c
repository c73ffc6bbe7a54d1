// SPDX-License-Identifier: MIT
// Time of day: whole seconds from the PL031, the fraction from the counter.

#include "cpu.h"
#include "mpconfigboard.h"
#include "rtc.h"
#include "timer.h"

#define RTCDR (BOARD_RTC_BASE + 0x000)
#define RTCLR (BOARD_RTC_BASE + 0x008)

#define NS_PER_S 1000000000ull

// The sum of offset and counter is kept within the second that the RTC shows.
// Each correction brings the offset nearer to the RTC's true phase, and a host
// that was suspended, or a clock that was set, is followed.
static uint64_t offset;

uint64_t rtc_time_ns(void) {
    uint64_t elapsed = timer_us() * 1000;
    uint64_t second = mmio_read(RTCDR) * NS_PER_S;
    uint64_t now = offset + elapsed;
    if (now < second) {
        now = second;
    } else if (now >= second + NS_PER_S) {
        now = second + NS_PER_S - 1;
    }
    offset = now - elapsed;
    return now;
}

void rtc_set(uint32_t seconds) {
    mmio_write(RTCLR, seconds);
    offset = seconds * NS_PER_S - timer_us() * 1000;
}
