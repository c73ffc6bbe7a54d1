// SPDX-License-Identifier: MIT
// What mbedTLS asks of a port: the time, and random bytes, which are the entropy device's.

#include <string.h>

#include "py/mphal.h"
#include "py/runtime.h"

#include "entropy.h"
#include "mbedtls/entropy.h"
#include "mbedtls/platform_time.h"
#include "mbedtls/ssl.h"
#include "mbedtls_config_port.h"
#include "psa/crypto.h"
#include "rtc.h"
#include "shared/timeutils/timeutils.h"
#include "tls_port.h"

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

// The same for TLS 1.3, whose keys are the PSA's.
psa_status_t mbedtls_psa_external_get_random(mbedtls_psa_external_random_context_t *context, uint8_t *output, size_t size, size_t *length) {
    (void)context;
    return mbedtls_hardware_poll(NULL, output, size, length) == 0 ? PSA_SUCCESS : PSA_ERROR_INSUFFICIENT_ENTROPY;
}

// For SSLContext.set_ciphers(). A version without a cipher is not offered: the peer would choose it,
// and find none.
void tls_conf_ciphersuites(mbedtls_ssl_config *conf, const int *suites) {
    bool older = false;
    bool newer = false;
    for (const int *suite = suites; *suite != 0; suite++) {
        if (*suite >> 8 == 0x13) {
            newer = true;
        } else {
            older = true;
        }
    }
    mbedtls_ssl_conf_ciphersuites(conf, suites);
    mbedtls_ssl_conf_min_tls_version(conf, older ? MBEDTLS_SSL_VERSION_TLS1_2 : MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_max_tls_version(conf, newer ? MBEDTLS_SSL_VERSION_TLS1_3 : MBEDTLS_SSL_VERSION_TLS1_2);
}

// Its keys lie in the heap of a life of the interpreter, and end with it.
void tls_deinit(void) {
    mbedtls_psa_crypto_free();
}
