// SPDX-License-Identifier: MIT
#pragma once

#include "py/runtime.h"

// The value of a global name, which the cache of map lookups mostly knows the place of.
static inline __attribute__((always_inline)) mp_obj_t quick_load_global(qstr name) {
    mp_map_t *map = &mp_globals_get()->map;
    mp_obj_t index = MP_OBJ_NEW_QSTR(name);
    size_t n = MP_STATE_VM(map_lookup_cache)[((uintptr_t)index >> 2) % MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE];
    if (n < map->alloc && map->table[n].key == index) {
        return map->table[n].value;
    }
    return mp_load_global(name);
}
