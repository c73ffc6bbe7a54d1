// SPDX-License-Identifier: MIT
// mbedTLS's configuration: MicroPython's own choice, on this port's clock, heap and entropy.
#pragma once

#include <time.h>

time_t tls_seconds(time_t *seconds);
#define MBEDTLS_PLATFORM_TIME_MACRO tls_seconds
#define MBEDTLS_PLATFORM_MS_TIME_ALT mbedtls_ms_time

#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_CIPHER_MODE_CTR // cryptolib has it

// Large numbers by the processor's own multiplications.
#define MBEDTLS_HAVE_ASM
#define MBEDTLS_GCM_LARGE_TABLE

// Certificates and keys as text too.
#define MBEDTLS_PEM_PARSE_C
#define MBEDTLS_BASE64_C

// TLS 1.3, whose keys are the PSA's, and those are of the entropy device without a generator between.
#define MBEDTLS_SSL_PROTO_TLS1_3
#define MBEDTLS_SSL_TLS1_3_COMPATIBILITY_MODE
#define MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ENABLED
#define MBEDTLS_SSL_KEEP_PEER_CERTIFICATE
#define MBEDTLS_PSA_CRYPTO_C
#define MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG
#define MBEDTLS_PSA_KEY_STORE_DYNAMIC
#define MBEDTLS_HKDF_C
#define MBEDTLS_PKCS1_V21
#define MBEDTLS_X509_RSASSA_PSS_SUPPORT
#define MBEDTLS_ECP_DP_CURVE25519_ENABLED

#define MICROPY_MBEDTLS_CONFIG_BARE_METAL (1)

#include "extmod/mbedtls/mbedtls_config_common.h"
