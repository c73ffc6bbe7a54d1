// SPDX-License-Identifier: MIT
// The time stamp of files on a FAT filesystem.

#include <stdbool.h>

#include "lib/oofatfs/ff.h"
#include "shared/timeutils/timeutils.h"

#include "rtc.h"

#define FIRST_YEAR 1980
#define LAST_YEAR 2107

static DWORD date(unsigned year, unsigned month, unsigned day) {
    return (year - FIRST_YEAR) << 25 | month << 21 | day << 16;
}

// What FAT cannot write, years before its first and after its last one, becomes the nearest it can.
DWORD get_fattime(void) {
    timeutils_struct_time_t tm;
    timeutils_seconds_since_epoch_to_struct_time(rtc_time_s(), &tm);
    if (tm.tm_year < FIRST_YEAR) {
        return date(FIRST_YEAR, 1, 1);
    }
    if (tm.tm_year > LAST_YEAR) {
        return date(LAST_YEAR, 12, 31);
    }
    return date(tm.tm_year, tm.tm_mon, tm.tm_mday) | tm.tm_hour << 11 | tm.tm_min << 5 | tm.tm_sec / 2;
}
