// SPDX-License-Identifier: MIT
// The Internet's checksum (RFC 1071) for lwIP, whose own adds two bytes at a time: half of what a
// frame took was that.

#include <stdbool.h>
#include <stdint.h>

#include "arch/cc.h"

#define BLOCK 32

// The sum of so many blocks of aligned words.
static uint64_t sum_blocks(const uint8_t *data, uint32_t blocks) {
    uint64_t sum = 0;
    #if defined(__ARM_NEON)
    if (blocks != 0) {
        __asm volatile (
            "vmov.i32 q8, #0\n"
            "vmov.i32 q9, #0\n"
            "1: vld1.32 {d0-d3}, [%[data]]!\n"
            "subs %[blocks], %[blocks], #1\n"
            "vpadal.u32 q8, q0\n"
            "vpadal.u32 q9, q1\n"
            "bne 1b\n"
            "vadd.i64 q8, q8, q9\n"
            "vadd.i64 d16, d16, d17\n"
            "vmov %Q[sum], %R[sum], d16\n"
            : [sum] "=r" (sum), [data] "+r" (data), [blocks] "+r" (blocks)
            : : "d0", "d1", "d2", "d3", "d16", "d17", "d18", "d19", "cc", "memory");
    }
    #else
    for (const uint32_t *word = (const uint32_t *)data; blocks != 0; blocks--) {
        for (unsigned i = 0; i < BLOCK / sizeof(*word); i++) {
            sum += *word++;
        }
    }
    #endif
    return sum;
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
        for (; length >= 4; length -= 4, data += 4) {
            sum += *(const uint32_t *)data;
        }
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
