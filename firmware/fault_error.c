// SPDX-License-Identifier: MIT
// What code is told that accessed an address where nothing is. Where the heap is locked or full it
// is an exception kept for that, the same each time: a MemoryError would say nothing of the fault.

#include "py/mperrno.h"
#include "py/objexcept.h"
#include "py/objstr.h"
#include "py/runtime.h"

#include "fault_error.h"

#define TEXT_SIZE sizeof("0x00000000")

static char kept_text[TEXT_SIZE];
static const mp_obj_str_t kept_str = {
    { &mp_type_str }, 0, TEXT_SIZE - 1, (const byte *)kept_text,
};
static const mp_rom_obj_tuple_t kept_args = {
    { &mp_type_tuple }, 2, { MP_ROM_INT(MP_EFAULT), MP_ROM_PTR(&kept_str) },
};

static void print_address(char *text, uint32_t address) {
    vstr_t vstr;
    vstr_init_fixed_buf(&vstr, TEXT_SIZE, text);
    vstr_printf(&vstr, "0x%08x", (unsigned)address);
}

static mp_obj_t new_error(uint32_t address) {
    char text[TEXT_SIZE];
    print_address(text, address);
    mp_obj_t args[] = { MP_OBJ_NEW_SMALL_INT(MP_EFAULT), mp_obj_new_str(text, TEXT_SIZE - 1) };
    return mp_obj_exception_make_new(&mp_type_OSError, MP_ARRAY_SIZE(args), 0, args);
}

static mp_obj_t kept_error(uint32_t address) {
    mp_obj_exception_t *error = &MP_STATE_VM(fault_error_kept);
    print_address(kept_text, address);
    error->base.type = &mp_type_OSError;
    error->args = (mp_obj_tuple_t *)&kept_args;
    mp_obj_exception_clear_traceback(MP_OBJ_FROM_PTR(error));
    return MP_OBJ_FROM_PTR(error);
}

mp_obj_t fault_error(uint32_t address) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        return kept_error(address); // for a MemoryError
    }
    mp_obj_t error = new_error(address);
    nlr_pop();
    // The interpreter's own reserve has no room for the arguments.
    return mp_obj_exception_get_value(error) == mp_const_none ? kept_error(address) : error;
}

// It has a traceback, which is on the heap.
MP_REGISTER_ROOT_POINTER(mp_obj_exception_t fault_error_kept);
