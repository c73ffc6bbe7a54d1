// SPDX-License-Identifier: MIT
// Comes before mbedTLS's ssl_tls12_client.c, of which 3.6.6 refuses a TLS 1.2 server's signature by
// RSA-PSS, though it offers that: most servers with an RSA key choose it. (Mbed-TLS/mbedtls#10674)
#pragma once

#include "common.h"
#include "ssl_misc.h"

static inline int sig_alg_is_known(const mbedtls_ssl_context *ssl, uint16_t sig_alg) {
    return sig_alg == MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA256
           || sig_alg == MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA384
           || sig_alg == MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA512
           || mbedtls_ssl_sig_alg_is_supported(ssl, sig_alg);
}

#define mbedtls_ssl_sig_alg_is_supported sig_alg_is_known
