// SPDX-License-Identifier: MIT
// A native module as others write them: integers, floats, a loop, a buffer.

#include "py/dynruntime.h"

static mp_obj_t mean(mp_obj_t numbers) {
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(numbers, &buffer, MP_BUFFER_READ);
    const float *number = buffer.buf;
    size_t count = buffer.len / sizeof(float);
    float sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += number[i];
    }
    return mp_obj_new_float_from_f(sum / count);
}
static MP_DEFINE_CONST_FUN_OBJ_1(mean_obj, mean);

// VMAXNM where the compiler takes the processor for one that has it.
static mp_obj_t largest(mp_obj_t numbers) {
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(numbers, &buffer, MP_BUFFER_READ);
    const float *number = buffer.buf;
    float result = number[0];
    for (size_t i = 1; i < buffer.len / sizeof(float); i++) {
        result = __builtin_fmaxf(result, number[i]);
    }
    return mp_obj_new_float_from_f(result);
}
static MP_DEFINE_CONST_FUN_OBJ_1(largest_obj, largest);

static mp_obj_t factorial(mp_obj_t n_obj) {
    mp_int_t product = 1;
    for (mp_int_t n = mp_obj_get_int(n_obj); n > 1; n--) {
        product *= n;
    }
    return mp_obj_new_int(product);
}
static MP_DEFINE_CONST_FUN_OBJ_1(factorial_obj, factorial);

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    mp_store_global(MP_QSTR_mean, MP_OBJ_FROM_PTR(&mean_obj));
    mp_store_global(MP_QSTR_largest, MP_OBJ_FROM_PTR(&largest_obj));
    mp_store_global(MP_QSTR_factorial, MP_OBJ_FROM_PTR(&factorial_obj));
    MP_DYNRUNTIME_INIT_EXIT
}
