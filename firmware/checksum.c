// SPDX-License-Identifier: MIT
// The Internet's checksum (RFC 1071) for lwIP, whose own adds two bytes at a time: half of what a
// frame took was that.

#include <stdbool.h>
#include <stdint.h>

#include "arch/cc.h"

#define BLOCK 32

// The sum of so many blocks of aligned words, carries added at the end of each word.
static uint32_t sum_blocks(const uint8_t *data, uint32_t blocks) {
    #if defined(__arm__)
    uint32_t sum = 0;
    if (blocks != 0) {
        // The carry lives through the loop: teq leaves it alone.
        __asm volatile (
            "adds %[sum], %[sum], #0\n"
            "1: ldmia %[data]!, {r4-r6, r8}\n"
            "adcs %[sum], %[sum], r4\n"
            "adcs %[sum], %[sum], r5\n"
            "adcs %[sum], %[sum], r6\n"
            "adcs %[sum], %[sum], r8\n"
            "ldmia %[data]!, {r4-r6, r8}\n"
            "adcs %[sum], %[sum], r4\n"
            "adcs %[sum], %[sum], r5\n"
            "adcs %[sum], %[sum], r6\n"
            "adcs %[sum], %[sum], r8\n"
            "sub %[blocks], %[blocks], #1\n"
            "teq %[blocks], #0\n"
            "bne 1b\n"
            "adc %[sum], %[sum], #0\n"
            : [sum] "+r" (sum), [data] "+r" (data), [blocks] "+r" (blocks)
            : : "r4", "r5", "r6", "r8", "cc", "memory");
    }
    return sum;
    #else
    uint64_t sum = 0;
    for (const uint32_t *word = (const uint32_t *)data; blocks != 0; blocks--) {
        for (unsigned i = 0; i < BLOCK / sizeof(*word); i++) {
            sum += *word++;
        }
    }
    sum = (sum & 0xffffffff) + (sum >> 32);
    return (uint32_t)sum + (uint32_t)(sum >> 32);
    #endif
}

uint16_t lan_checksum(const void *start, int length) {
    const uint8_t *data = start;
    uint64_t sum = 0;
    // As if the data began one byte earlier; the sum's bytes are exchanged in the end.
    bool odd = (uintptr_t)data & 1 && length > 0;
    if (odd) {
        sum = *data++ << 8;
        length--;
    }
    if ((uintptr_t)data & 2 && length >= 2) {
        sum += *(const uint16_t *)data;
        data += 2;
        length -= 2;
    }
    if (length > 0) {
        uint32_t blocks = length / BLOCK;
        sum += sum_blocks(data, blocks);
        data += blocks * BLOCK;
        length -= blocks * BLOCK;
    }
    for (; length >= 2; length -= 2, data += 2) {
        sum += *(const uint16_t *)data;
    }
    if (length > 0) {
        sum += *data;
    }
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return odd ? (sum & 0xff) << 8 | sum >> 8 : sum;
}
