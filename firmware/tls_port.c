// SPDX-License-Identifier: MIT
// What mbedTLS asks of a port: the time, and random bytes, which are the entropy device's.

#include <string.h>

#include "py/mphal.h"
#include "py/runtime.h"

#include "entropy.h"
#include "mbedtls/entropy.h"
#include "mbedtls/platform_time.h"
#include "mbedtls_config_port.h"
#include "rtc.h"
#include "shared/timeutils/timeutils.h"

time_t tls_seconds(time_t *seconds) {
    time_t now = rtc_time_s();
    if (seconds != NULL) {
        *seconds = now;
    }
    return now;
}

mbedtls_ms_time_t mbedtls_ms_time(void) {
    return timer_us() / 1000;
}

// A certificate's dates are compared with this. Newlib's would ask for a time zone.
struct tm *gmtime(const time_t *seconds) {
    static struct tm tm;
    timeutils_struct_time_t fields;
    timeutils_seconds_since_epoch_to_struct_time(*seconds, &fields);
    tm.tm_sec = fields.tm_sec;
    tm.tm_min = fields.tm_min;
    tm.tm_hour = fields.tm_hour;
    tm.tm_mday = fields.tm_mday;
    tm.tm_mon = fields.tm_mon - 1;
    tm.tm_year = fields.tm_year - 1900;
    return &tm;
}

// Called by the handshake, outside lwIP. Without a device it fails, and so does the handshake:
// weak keys are worse than none.
int mbedtls_hardware_poll(void *data, unsigned char *output, size_t len, size_t *olen) {
    (void)data;
    *olen = 0;
    if (!entropy_read(output, len)) {
        return MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
    }
    *olen = len;
    return 0;
}
