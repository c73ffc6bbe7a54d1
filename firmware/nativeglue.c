// SPDX-License-Identifier: MIT
// py/nativeglue.c, where what native code asks for most calls nothing (see vm.c); with py/objrange.c,
// for the commonest iterator.

#include <stdarg.h>

#include "py/objfun.h"
#include "py/runtime.h"
#include "py/smallint.h"

#include "cstack_look.h"

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
        if (MP_OBJ_TYPE_HAS_SLOT(self->base.type, call)) {
            return MP_OBJ_TYPE_GET_SLOT(self->base.type, call)(function, n_args, n_kw, args);
        }
    }
    return mp_call_function_n_kw(function, n_args, n_kw, args);
}

#define mp_call_function_n_kw(function, n_args, n_kw, args) quick_call(function, n_args, n_kw, args)
#define mp_iternext(iterator) quick_iternext(iterator)
#define mp_obj_get_int_truncated(object) quick_get_int_truncated(object)
#define mp_obj_new_int(value) quick_new_int(value)
#define mp_obj_new_int_from_uint(value) quick_new_int_from_uint(value)
#include "py/nativeglue.c"
