// SPDX-License-Identifier: MIT
// py/vm.c, where what programs do most calls nothing. To an emulator a call through a pointer, a
// return or a jump to another page is as much as fifteen other instructions: it has to look up
// the code that it made of what is there.

#include "py/objgenerator.h"
#include "py/objlist.h"
#include "py/runtime.h"

#define INLINE static inline __attribute__((always_inline))

// Small integers are 2 n + 1, so they compare as they are. Each three bits belong to an
// operation, and tell whether it holds for less, equal and more.
#define HOLDS(op, less, equal, more) (((less) | (equal) << 1 | (more) << 2) << (3 * (op)))
#define COMPARISONS ( \
    HOLDS(MP_BINARY_OP_LESS, 1u, 0u, 0u) | HOLDS(MP_BINARY_OP_MORE, 0u, 0u, 1u) \
    | HOLDS(MP_BINARY_OP_EQUAL, 0u, 1u, 0u) | HOLDS(MP_BINARY_OP_NOT_EQUAL, 1u, 0u, 1u) \
    | HOLDS(MP_BINARY_OP_LESS_EQUAL, 1u, 1u, 0u) | HOLDS(MP_BINARY_OP_MORE_EQUAL, 0u, 1u, 1u))

INLINE mp_obj_t small_int_op(unsigned op, mp_int_t lhs, mp_int_t rhs) {
    mp_int_t result;
    if (op <= MP_BINARY_OP_NOT_EQUAL) {
        int order = (lhs > rhs) - (lhs < rhs);
        return mp_obj_new_bool(COMPARISONS >> (3 * op + 1 + order) & 1);
    }
    if (op >= MP_BINARY_OP_INPLACE_OR && op <= MP_BINARY_OP_INPLACE_POWER) {
        op += MP_BINARY_OP_OR - MP_BINARY_OP_INPLACE_OR;
    }
    if (op == MP_BINARY_OP_ADD) {
        if (!__builtin_add_overflow(lhs, rhs - 1, &result)) {
            return (mp_obj_t)result;
        }
    } else if (op == MP_BINARY_OP_SUBTRACT) {
        if (!__builtin_sub_overflow(lhs, rhs - 1, &result)) {
            return (mp_obj_t)result;
        }
    } else if (op == MP_BINARY_OP_AND) {
        return (mp_obj_t)(lhs & rhs);
    } else if (op == MP_BINARY_OP_MULTIPLY) {
        if (!__builtin_mul_overflow(lhs - 1, rhs >> 1, &result)) {
            return (mp_obj_t)(result + 1);
        }
    } else if (op == MP_BINARY_OP_XOR) {
        return (mp_obj_t)((lhs ^ rhs) | 1);
    } else if (op == MP_BINARY_OP_OR) {
        return (mp_obj_t)(lhs | rhs);
    } else if (op == MP_BINARY_OP_RSHIFT) {
        if ((mp_uint_t)rhs >> 1 < 31) {
            return (mp_obj_t)(lhs >> (rhs >> 1) | 1);
        }
    }
    return MP_OBJ_NULL;
}

static __attribute__((noinline)) mp_obj_t float_op(unsigned op, mp_float_t lhs, mp_float_t rhs) {
    if (op >= MP_BINARY_OP_INPLACE_OR && op <= MP_BINARY_OP_INPLACE_POWER) {
        op += MP_BINARY_OP_OR - MP_BINARY_OP_INPLACE_OR;
    }
    if (op == MP_BINARY_OP_ADD) {
        lhs += rhs;
    } else if (op == MP_BINARY_OP_MULTIPLY) {
        lhs *= rhs;
    } else if (op == MP_BINARY_OP_SUBTRACT) {
        lhs -= rhs;
    } else if (op == MP_BINARY_OP_LESS) {
        return mp_obj_new_bool(lhs < rhs);
    } else if (op == MP_BINARY_OP_MORE) {
        return mp_obj_new_bool(lhs > rhs);
    } else if (op == MP_BINARY_OP_TRUE_DIVIDE && rhs != 0) {
        lhs /= rhs;
    } else {
        return MP_OBJ_NULL;
    }
    return mp_obj_new_float(lhs);
}

INLINE mp_obj_t quick_binary_op(unsigned op, mp_obj_t lhs, mp_obj_t rhs) {
    if ((mp_uint_t)lhs & (mp_uint_t)rhs & 1) {
        mp_obj_t result = small_int_op(op, (mp_int_t)lhs, (mp_int_t)rhs);
        if (result != MP_OBJ_NULL) {
            return result;
        }
    } else if (mp_obj_is_float(lhs) && mp_obj_is_float(rhs)) {
        mp_obj_t result = float_op(op, mp_obj_float_get(lhs), mp_obj_float_get(rhs));
        if (result != MP_OBJ_NULL) {
            return result;
        }
    }
    return mp_binary_op(op, lhs, rhs);
}

INLINE bool quick_is_true(mp_obj_t object) {
    if (object == mp_const_true) {
        return true;
    }
    if (object == mp_const_false) {
        return false;
    }
    return mp_obj_is_true(object);
}

// The items of a list or a tuple, with room for the index, or NULL.
INLINE mp_obj_t *item(mp_obj_t base, mp_obj_t index, const mp_obj_type_t *type) {
    if (!mp_obj_is_small_int(index) || !mp_obj_is_exact_type(base, type)) {
        return NULL;
    }
    mp_obj_list_t *list = MP_OBJ_TO_PTR(base);
    size_t n = MP_OBJ_SMALL_INT_VALUE(index);
    return n < list->len ? &list->items[n] : NULL;
}

INLINE mp_obj_t quick_subscr(mp_obj_t base, mp_obj_t index, mp_obj_t value) {
    mp_obj_t *place = item(base, index, &mp_type_list);
    if (place == NULL || value == MP_OBJ_NULL) {
        return mp_obj_subscr(base, index, value);
    }
    if (value == MP_OBJ_SENTINEL) {
        return *place;
    }
    *place = value;
    return mp_const_none;
}

INLINE mp_map_elem_t *quick_map_lookup(mp_map_t *map, mp_obj_t index, mp_map_lookup_kind_t kind) {
    size_t n = MP_STATE_VM(map_lookup_cache)[((uintptr_t)index >> 2) % MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE];
    if (n < map->alloc && map->table[n].key == index) {
        return &map->table[n];
    }
    return mp_map_lookup(map, index, kind);
}

INLINE mp_obj_t quick_load_global(qstr name) {
    mp_map_t *map = &mp_globals_get()->map;
    mp_obj_t index = MP_OBJ_NEW_QSTR(name);
    size_t n = MP_STATE_VM(map_lookup_cache)[((uintptr_t)index >> 2) % MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE];
    if (n < map->alloc && map->table[n].key == index) {
        return map->table[n].value;
    }
    return mp_load_global(name);
}

INLINE mp_obj_t quick_iternext(mp_obj_t iterator) {
    const mp_obj_type_t *type = mp_obj_get_type(iterator);
    unsigned kind = type->flags & (MP_TYPE_FLAG_ITER_IS_ITERNEXT | MP_TYPE_FLAG_ITER_IS_CUSTOM);
    if (kind == MP_TYPE_FLAG_ITER_IS_ITERNEXT) {
        MP_STATE_THREAD(stop_iteration_arg) = MP_OBJ_NULL;
        return ((mp_fun_1_t)MP_OBJ_TYPE_GET_SLOT(type, iter))(iterator);
    }
    return mp_iternext_allow_raise(iterator);
}

INLINE const mp_obj_type_t *quick_get_type(mp_const_obj_t object) {
    return mp_obj_is_obj(object) ? ((mp_obj_base_t *)MP_OBJ_TO_PTR(object))->type : mp_obj_get_type(object);
}

INLINE mp_vm_return_kind_t quick_resume(mp_obj_t self, mp_obj_t sent, mp_obj_t thrown, mp_obj_t *result) {
    if (mp_obj_is_exact_type(self, &mp_type_gen_instance)) {
        return mp_obj_gen_resume(self, sent, thrown, result);
    }
    return mp_resume(self, sent, thrown, result);
}

INLINE void quick_nlr_pop(void) {
    MP_STATE_THREAD(nlr_top) = MP_STATE_THREAD(nlr_top)->prev;
}

#define mp_binary_op quick_binary_op
#define mp_obj_is_true quick_is_true
#define mp_obj_subscr quick_subscr
#define mp_map_lookup quick_map_lookup
#define mp_load_global quick_load_global
#define mp_iternext_allow_raise quick_iternext
#define mp_obj_get_type quick_get_type
#define mp_resume quick_resume
#define nlr_pop quick_nlr_pop
#include "py/vm.c"
