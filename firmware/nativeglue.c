// SPDX-License-Identifier: MIT
// py/nativeglue.c, where what native code asks for most calls nothing (see vm.c); with py/objrange.c,
// for the commonest iterator.

#include <stdarg.h>

#include "py/objarray.h"
#include "py/objfun.h"
#include "py/objlist.h"
#include "py/objtuple.h"
#include "py/objtype.h"
#include "py/runtime.h"
#include "py/smallint.h"

#include "cstack_look.h"
#include "quick_load_global.h"

#include "py/objrange.c"

#define INLINE static inline __attribute__((always_inline))

INLINE mp_int_t quick_get_int_truncated(mp_const_obj_t object) {
    return mp_obj_is_small_int(object) ? MP_OBJ_SMALL_INT_VALUE(object) : mp_obj_get_int_truncated(object);
}

INLINE mp_obj_t quick_new_int(mp_int_t value) {
    return MP_SMALL_INT_FITS(value) ? MP_OBJ_NEW_SMALL_INT(value) : mp_obj_new_int(value);
}

INLINE mp_obj_t quick_new_int_from_uint(mp_uint_t value) {
    return (value & ~MP_SMALL_INT_POSITIVE_MASK) == 0 ? MP_OBJ_NEW_SMALL_INT(value) : mp_obj_new_int_from_uint(value);
}

INLINE mp_obj_t quick_iternext(mp_obj_t iterator) {
    if (mp_obj_is_obj(iterator) && CSTACK_HAS_ROOM()) {
        const mp_obj_type_t *type = ((mp_obj_base_t *)MP_OBJ_TO_PTR(iterator))->type;
        if (type == &mp_type_range_it) {
            return range_it_iternext(iterator);
        }
        unsigned kind = type->flags & (MP_TYPE_FLAG_ITER_IS_ITERNEXT | MP_TYPE_FLAG_ITER_IS_CUSTOM);
        if (kind == MP_TYPE_FLAG_ITER_IS_ITERNEXT) {
            MP_STATE_THREAD(stop_iteration_arg) = MP_OBJ_NULL;
            return ((mp_fun_1_t)MP_OBJ_TYPE_GET_SLOT(type, iter))(iterator);
        }
    }
    return mp_iternext(iterator);
}

INLINE mp_obj_t quick_call(mp_obj_t function, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    if (mp_obj_is_obj(function)) {
        mp_obj_fun_bc_t *self = MP_OBJ_TO_PTR(function);
        if (self->base.type == &mp_type_fun_viper && CSTACK_HAS_ROOM()) {
            mp_call_fun_t code = MICROPY_MAKE_POINTER_CALLABLE((void *)self->bytecode);
            return code(function, n_args, n_kw, args);
        }
        if (self->base.type == &mp_type_fun_builtin_1 && n_args == 1 && n_kw == 0) {
            return ((mp_obj_fun_builtin_fixed_t *)self)->fun._1(args[0]);
        }
        if (MP_OBJ_TYPE_HAS_SLOT(self->base.type, call)) {
            return MP_OBJ_TYPE_GET_SLOT(self->base.type, call)(function, n_args, n_kw, args);
        }
    }
    return mp_call_function_n_kw(function, n_args, n_kw, args);
}

// Of what it tells, only the address is asked for.
INLINE bool quick_get_buffer(mp_obj_t object, mp_buffer_info_t *buffer, mp_uint_t flags) {
    if (mp_obj_is_obj(object)) {
        mp_obj_array_t *array = MP_OBJ_TO_PTR(object);
        if (array->base.type == &mp_type_array || array->base.type == &mp_type_bytearray) {
            buffer->buf = array->items;
            return true;
        }
    }
    return mp_get_buffer(object, buffer, flags);
}

// What an instance itself has by a name, before its class is asked, or NULL.
INLINE mp_obj_t member(mp_obj_t base, qstr name) {
    if (mp_obj_is_obj(base)) {
        mp_obj_instance_t *instance = MP_OBJ_TO_PTR(base);
        if (mp_obj_is_instance_type(instance->base.type)) {
            mp_map_t *map = &instance->members;
            mp_obj_t index = MP_OBJ_NEW_QSTR(name);
            size_t n = MP_STATE_VM(map_lookup_cache)[((uintptr_t)index >> 2) % MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE];
            if (n < map->alloc && map->table[n].key == index) {
                return map->table[n].value;
            }
        }
    }
    return MP_OBJ_NULL;
}

static mp_obj_t quick_load_attr(mp_obj_t base, qstr name) {
    mp_obj_t value = member(base, name);
    return value != MP_OBJ_NULL ? value : mp_load_attr(base, name);
}

static void quick_load_method(mp_obj_t base, qstr name, mp_obj_t *method) {
    method[0] = member(base, name);
    method[1] = MP_OBJ_NULL;
    if (method[0] == MP_OBJ_NULL) {
        mp_load_method(base, name, method);
    }
}

static mp_obj_t quick_call_method(size_t n_args, size_t n_kw, const mp_obj_t *args) {
    size_t self = args[1] != MP_OBJ_NULL;
    return quick_call(args[0], n_args + self, n_kw, args + 2 - self);
}

static mp_obj_t quick_subscr(mp_obj_t base, mp_obj_t index, mp_obj_t value) {
    if (value != MP_OBJ_NULL && mp_obj_is_obj(base) && mp_obj_is_small_int(index)) {
        const mp_obj_type_t *type = ((mp_obj_base_t *)MP_OBJ_TO_PTR(base))->type;
        size_t n = MP_OBJ_SMALL_INT_VALUE(index);
        if (type == &mp_type_list) {
            mp_obj_list_t *list = MP_OBJ_TO_PTR(base);
            if (n < list->len) {
                if (value == MP_OBJ_SENTINEL) {
                    return list->items[n];
                }
                list->items[n] = value;
                return mp_const_none;
            }
        } else if (type == &mp_type_array && value != MP_OBJ_SENTINEL) {
            mp_obj_array_t *array = MP_OBJ_TO_PTR(base);
            if (array->typecode == 'O' && n < array->len) {
                ((mp_obj_t *)array->items)[n] = value;
                return mp_const_none;
            }
        } else if (type == &mp_type_tuple && value == MP_OBJ_SENTINEL) {
            mp_obj_tuple_t *tuple = MP_OBJ_TO_PTR(base);
            if (n < tuple->len) {
                return tuple->items[n];
            }
        }
    }
    return mp_obj_subscr(base, index, value);
}

#define mp_call_function_n_kw(function, n_args, n_kw, args) quick_call(function, n_args, n_kw, args)
#define mp_call_method_n_kw quick_call_method
#define mp_get_buffer(object, buffer, flags) quick_get_buffer(object, buffer, flags)
#define mp_iternext(iterator) quick_iternext(iterator)
#define mp_obj_get_int_truncated(object) quick_get_int_truncated(object)
#define mp_load_attr quick_load_attr
#define mp_load_global quick_load_global
#define mp_load_method quick_load_method
#define mp_obj_new_int(value) quick_new_int(value)
#define mp_obj_new_int_from_uint(value) quick_new_int_from_uint(value)
#define mp_obj_subscr quick_subscr
#include "py/nativeglue.c"
