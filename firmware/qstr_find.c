// SPDX-License-Identifier: MIT
// The search for a string among the interned ones, as qstr_find_strn() of py/qstr.c has it. That
// one halves the firmware's names, a comparison of two strings each time, and looks at all others
// one after the other. Here the firmware's are found by their hashes, and of the others eight are
// looked at at once.

#include <arm_neon.h>
#include <string.h>

#include "py/mpprint.h"
#include "py/mpstate.h"
#include "py/qstr.h"

#include "psci.h"

#ifdef MICROPY_QSTR_EXTRA_POOL
#define FIRMWARE_POOL MICROPY_QSTR_EXTRA_POOL
#else
#define FIRMWARE_POOL mp_qstr_const_pool
#endif
extern const qstr_pool_t FIRMWARE_POOL;

_Static_assert(sizeof(qstr_hash_t) == sizeof(uint16_t), "eight hashes are to be 16 bytes");

// Each name of the firmware in the first free place from the one that its hash says.
#define PLACES 8192
static uint16_t places[PLACES];

static bool is_at(const qstr_pool_t *pool, size_t at, size_t hash, const char *str, size_t len) {
    return pool->hashes[at] == hash && pool->lengths[at] == len && memcmp(pool->qstrs[at], str, len) == 0;
}

static void note_firmware_names(void) {
    // A search ends at an empty place.
    if (FIRMWARE_POOL.total_prev_len + FIRMWARE_POOL.len >= PLACES) {
        mp_printf(&mp_plat_print, "FATAL: more names than PLACES in qstr_find.c\n");
        psci_system_off();
    }
    for (const qstr_pool_t *pool = &FIRMWARE_POOL; pool != NULL; pool = pool->prev) {
        for (size_t at = 0; at < pool->len; at++) {
            size_t place = pool->hashes[at] % PLACES;
            while (places[place] != 0) {
                place = (place + 1) % PLACES;
            }
            places[place] = pool->total_prev_len + at;
        }
    }
}

static qstr find_in_firmware(size_t hash, const char *str, size_t len) {
    static bool noted;
    if (!noted) {
        note_firmware_names();
        noted = true;
    }
    for (size_t place = hash % PLACES; places[place] != 0; place = (place + 1) % PLACES) {
        const qstr_pool_t *pool = &FIRMWARE_POOL;
        while (places[place] < pool->total_prev_len) {
            pool = pool->prev;
        }
        if (is_at(pool, places[place] - pool->total_prev_len, hash, str, len)) {
            return places[place];
        }
    }
    return MP_QSTRnull;
}

static qstr find_in_pool(const qstr_pool_t *pool, size_t hash, const char *str, size_t len) {
    size_t at = 0;
    for (; at + 8 <= pool->len; at += 8) {
        uint16x8_t equal = vceqq_u16(vld1q_u16(pool->hashes + at), vdupq_n_u16(hash));
        if (vget_lane_u64(vreinterpret_u64_u8(vmovn_u16(equal)), 0) == 0) {
            continue;
        }
        for (size_t i = at; i < at + 8; i++) {
            if (is_at(pool, i, hash, str, len)) {
                return pool->total_prev_len + i;
            }
        }
    }
    for (; at < pool->len; at++) {
        if (is_at(pool, at, hash, str, len)) {
            return pool->total_prev_len + at;
        }
    }
    return MP_QSTRnull;
}

qstr qstr_find_strn(const char *str, size_t len) {
    if (len == 0) {
        return MP_QSTR_;
    }
    size_t hash = qstr_compute_hash((const byte *)str, len);
    qstr found = find_in_firmware(hash, str, len);
    for (const qstr_pool_t *pool = MP_STATE_VM(last_pool); found == MP_QSTRnull && pool != &FIRMWARE_POOL; pool = pool->prev) {
        found = find_in_pool(pool, hash, str, len);
    }
    return found;
}
