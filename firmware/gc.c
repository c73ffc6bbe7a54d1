// SPDX-License-Identifier: MIT
// py/gc.c, with a quicker way to room for an object: sixteen blocks are looked at at once, and what
// the collector remembers for objects of one block, namely where the search can begin, is
// remembered for larger ones too. (A complex number has two, and each search began at the start.)

#include <stdint.h>

#include "py/mpstate.h"

#define gc_alloc alloc_any
#define gc_free free_only
#define gc_realloc realloc_only
#define gc_collect_end collect_end_only
#define gc_sweep_all sweep_all_only
#define gc_init init_only
#include "py/gc.c"
#undef gc_alloc
#undef gc_free
#undef gc_realloc
#undef gc_collect_end
#undef gc_sweep_all
#undef gc_init

void *m_malloc_any(size_t size);

#define MOST_BLOCKS 64
#define NOT_FOUND SIZE_MAX

// Before this there are no n free blocks in a row. For a single block it is the collector that
// remembers it.
typedef struct {
    size_t n;
    mp_state_mem_area_t *area;
    size_t table_index;
} place_t;

// For 2, 3 and 4 blocks, for 5 to 8, 9 to 16 and so on.
static place_t places[7];

static place_t *place_for(size_t n) {
    return &places[n <= 4 ? n - 2 : 32 - (size_t)__builtin_clz(n - 1)];
}

static void search_everywhere(void) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(places); i++) {
        places[i] = (place_t) { 0, &MP_STATE_MEM(area), 0 };
    }
}

static bool comes_before(const mp_state_mem_area_t *area, const mp_state_mem_area_t *other) {
    while (area != NULL && area != other) {
        area = area->next;
    }
    return area != NULL;
}

// What is freed may be the first room, together with free blocks before it.
static void search_from_here(const void *freed) {
    if (freed == NULL) {
        return;
    }
    mp_state_mem_area_t *area = gc_get_ptr_area(freed);
    size_t block = BLOCK_FROM_PTR(area, freed);
    for (size_t i = 0; i < MP_ARRAY_SIZE(places); i++) {
        place_t *from = &places[i];
        size_t index = (block > from->n ? block - from->n : 0) / BLOCKS_PER_ATB;
        if (area == from->area ? index < from->table_index : comes_before(area, from->area)) {
            from->area = area;
            from->table_index = index;
        }
    }
}

// The first of n free blocks in a row.
static inline __attribute__((always_inline)) size_t find(const mp_state_mem_area_t *area, size_t index, size_t n) {
    const size_t blocks = sizeof(uint32_t) * BLOCKS_PER_ATB;
    size_t length = area->gc_alloc_table_byte_len;
    const byte *table = area->gc_alloc_table_start;
    size_t row = 0; // free blocks that end here
    for (; index + sizeof(uint32_t) <= length; index += sizeof(uint32_t)) {
        uint32_t kinds; // two bits each
        memcpy(&kinds, table + index, sizeof(kinds));
        uint32_t used = (kinds | kinds >> 1) & 0x55555555;
        if (used == 0x55555555) {
            row = 0;
            continue;
        }
        size_t here = used == 0 ? blocks : (size_t)__builtin_ctz(used) / 2;
        if (row + here >= n) {
            return index * BLOCKS_PER_ATB - row;
        }
        if (used == 0) {
            row += blocks;
            continue;
        }
        if (n < blocks) {
            uint32_t starts = ~used & 0x55555555;
            for (size_t i = 1; i < n; i++) {
                starts &= starts >> 2;
            }
            if (starts != 0) {
                return index * BLOCKS_PER_ATB + __builtin_ctz(starts) / 2;
            }
        }
        row = __builtin_clz(used) / 2;
    }
    return NOT_FOUND;
}

static inline __attribute__((always_inline)) size_t find_one(mp_state_mem_area_t **area) {
    *area = MP_STATE_MEM(gc_last_free_area);
    size_t block = find(*area, (*area)->gc_last_free_atb_index, 1);
    if (block != NOT_FOUND) {
        (*area)->gc_last_free_atb_index = (block + 1) / BLOCKS_PER_ATB;
    }
    return block;
}

static __attribute__((noinline)) size_t find_row(mp_state_mem_area_t **area, size_t n) {
    place_t *from = place_for(n);
    if (n < from->n) {
        *from = (place_t) { n, &MP_STATE_MEM(area), 0 };
    }
    from->n = n;
    for (;;) {
        size_t block = find(from->area, from->table_index, n);
        if (block != NOT_FOUND) {
            *area = from->area;
            from->table_index = block / BLOCKS_PER_ATB;
            return block;
        }
        size_t length = from->area->gc_alloc_table_byte_len;
        from->table_index = MAX(from->table_index, length - MIN(length, 2 * n));
        if (from->area->next == NULL) {
            return NOT_FOUND;
        }
        from->area = from->area->next;
        from->table_index = 0;
    }
}

// NULL where that is not all there is to it.
static inline __attribute__((always_inline)) void *alloc_quickly(size_t size, unsigned int flags) {
    size_t n = (size + BYTES_PER_BLOCK - 1) / BYTES_PER_BLOCK;
    mp_state_mem_area_t *area;
    size_t block;
    if (n - 1 >= MOST_BLOCKS || MP_STATE_THREAD(gc_lock_depth) > 0
        || MP_STATE_MEM(gc_alloc_amount) >= MP_STATE_MEM(gc_alloc_threshold)
        || (block = n == 1 ? find_one(&area) : find_row(&area, n)) == NOT_FOUND) {
        return NULL;
    }
    MP_STATE_MEM(gc_alloc_amount) += n;
    area->gc_last_used_block = MAX(area->gc_last_used_block, block + n - 1);
    ATB_FREE_TO_HEAD(area, block);
    void *object = (void *)PTR_FROM_BLOCK(area, block);
    memset(object, 0, BYTES_PER_BLOCK);
    for (size_t i = 1; i < n; i++) {
        ATB_FREE_TO_TAIL(area, block + i);
        memset((byte *)object + i * BYTES_PER_BLOCK, 0, BYTES_PER_BLOCK);
    }
    if (flags & GC_ALLOC_FLAG_HAS_FINALISER) {
        FTB_SET(area, block);
    }
    return object;
}

void *gc_alloc(size_t size, unsigned int flags) {
    void *object = alloc_quickly(size, flags);
    return object != NULL ? object : alloc_any(size, flags);
}

// malloc.c has the whole of it.
void *m_malloc(size_t size) {
    void *object = alloc_quickly(size, 0);
    if (object == NULL) {
        return m_malloc_any(size);
    }
    size_t bytes = MP_STATE_MEM(current_bytes_allocated) + size;
    MP_STATE_MEM(current_bytes_allocated) = bytes;
    MP_STATE_MEM(total_bytes_allocated) += size;
    MP_STATE_MEM(peak_bytes_allocated) = MAX(MP_STATE_MEM(peak_bytes_allocated), bytes);
    return object;
}

void gc_free(void *object) {
    search_from_here(object);
    free_only(object);
}

void *gc_realloc(void *object, size_t size, bool may_move) {
    search_from_here(object);
    void *resized = realloc_only(object, size, false);
    if (resized != NULL || !may_move || object == NULL || size == 0 || MP_STATE_THREAD(gc_lock_depth) > 0) {
        return resized;
    }
    const mp_state_mem_area_t *area = gc_get_ptr_area(object);
    unsigned int flags = FTB_GET(area, BLOCK_FROM_PTR(area, object)) ? GC_ALLOC_FLAG_HAS_FINALISER : 0;
    void *moved = gc_alloc(size, flags);
    if (moved != NULL) {
        memcpy(moved, object, gc_nbytes(object)); // it grows
        gc_free(object);
    }
    return moved;
}

void gc_collect_end(void) {
    collect_end_only();
    search_everywhere();
}

void gc_sweep_all(void) {
    sweep_all_only();
    search_everywhere();
}

void gc_init(void *start, void *end) {
    init_only(start, end);
    search_everywhere();
}
