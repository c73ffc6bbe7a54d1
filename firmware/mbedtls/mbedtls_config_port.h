// SPDX-License-Identifier: MIT
// mbedTLS's configuration: MicroPython's own choice, on this port's clock, heap and entropy.
#pragma once

#include <time.h>

time_t tls_seconds(time_t *seconds);
#define MBEDTLS_PLATFORM_TIME_MACRO tls_seconds
#define MBEDTLS_PLATFORM_MS_TIME_ALT mbedtls_ms_time

#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_CIPHER_MODE_CTR // cryptolib has it

// Certificates and keys as text too.
#define MBEDTLS_PEM_PARSE_C
#define MBEDTLS_BASE64_C

#define MICROPY_MBEDTLS_CONFIG_BARE_METAL (1)

#include "extmod/mbedtls/mbedtls_config_common.h"
