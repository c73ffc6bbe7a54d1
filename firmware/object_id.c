// SPDX-License-Identifier: MIT
// id() of an object is its address. MicroPython's own puts addresses below 0x80000000 into a small
// integer, which has a bit less. (Its select keeps to that one: what it needs is a number that
// costs no memory.)

#include "py/runtime.h"

mp_obj_t object_id(mp_obj_t object);

mp_obj_t object_id(mp_obj_t object) {
    return mp_obj_is_obj(object) ? mp_obj_new_int_from_uint((uintptr_t)object) : mp_obj_id(object);
}
