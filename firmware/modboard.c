// SPDX-License-Identifier: MIT
// The board module: what lies under lib/virtio on this machine.

#include "py/obj.h"
#include "py/objarray.h"
#include "py/runtime.h"

#include "ctrl_c.h"
#include "fdt.h"
#include "guard.h"
#include "interrupt.h"
#include "linker.h"
#include "psci.h"
#include "vfs_blockdev.h"

// dma(): the static DMA region, a writable memoryview.
static mp_obj_t board_dma(void) {
    return mp_obj_new_memoryview('B' | MP_OBJ_ARRAY_TYPECODE_FLAG_RW, _dma_end - _dma_start, _dma_start);
}
static MP_DEFINE_CONST_FUN_OBJ_0(board_dma_obj, board_dma);

// devices(compatible): a list of (address, size, intid), ordered by address.
static mp_obj_t board_devices(mp_obj_t compatible) {
    mp_obj_t list = mp_obj_new_list(0, NULL);
    const uint32_t *cursor = NULL;
    fdt_device_t device;
    while (fdt_next_device(mp_obj_str_get_str(compatible), &cursor, &device)) {
        mp_obj_t fields[] = {
            mp_obj_new_int_from_uint(device.address),
            mp_obj_new_int_from_uint(device.size),
            mp_obj_new_int_from_uint(device.intid),
        };
        mp_obj_list_append(list, mp_obj_new_tuple(MP_ARRAY_SIZE(fields), fields));
    }
    mp_obj_list_sort(1, &list, (mp_map_t *)&mp_const_empty_map);
    return list;
}
static MP_DEFINE_CONST_FUN_OBJ_1(board_devices_obj, board_devices);

// mounted(): the block devices of FAT and littlefs, and other filesystems themselves.
static MP_DEFINE_CONST_FUN_OBJ_0(board_mounted_obj, vfs_blockdev_mounted);

// undisturbed(function, argument): calls it without Ctrl-C, scheduled functions or a collection in
// between.
static MP_DEFINE_CONST_FUN_OBJ_2(board_undisturbed_obj, guard_call);

// check_wait(): for what waits without an Interrupt, as Interrupt.wait() does by itself.
static mp_obj_t board_check_wait(void) {
    guard_check_wait();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(board_check_wait_obj, board_check_wait);

// uninterrupted(function, *args): call it; a Ctrl-C that comes meanwhile is raised behind it.
static mp_obj_t board_uninterrupted(size_t n_args, const mp_obj_t *args) {
    nlr_buf_t nlr;
    ctrl_c_hold();
    if (nlr_push(&nlr) == 0) {
        mp_obj_t result = mp_call_function_n_kw(args[0], n_args - 1, 0, args + 1);
        nlr_pop();
        ctrl_c_release();
        return result;
    }
    ctrl_c_release();
    nlr_jump(nlr.ret_val);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR(board_uninterrupted_obj, 1, board_uninterrupted);

static mp_obj_t board_poweroff(void) {
    psci_system_off();
}
static MP_DEFINE_CONST_FUN_OBJ_0(board_poweroff_obj, board_poweroff);

static const mp_rom_map_elem_t board_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_board) },
    { MP_ROM_QSTR(MP_QSTR_dma), MP_ROM_PTR(&board_dma_obj) },
    { MP_ROM_QSTR(MP_QSTR_devices), MP_ROM_PTR(&board_devices_obj) },
    { MP_ROM_QSTR(MP_QSTR_mounted), MP_ROM_PTR(&board_mounted_obj) },
    { MP_ROM_QSTR(MP_QSTR_undisturbed), MP_ROM_PTR(&board_undisturbed_obj) },
    { MP_ROM_QSTR(MP_QSTR_check_wait), MP_ROM_PTR(&board_check_wait_obj) },
    { MP_ROM_QSTR(MP_QSTR_Interrupt), MP_ROM_PTR(&interrupt_type) },
    { MP_ROM_QSTR(MP_QSTR_uninterrupted), MP_ROM_PTR(&board_uninterrupted_obj) },
    { MP_ROM_QSTR(MP_QSTR_poweroff), MP_ROM_PTR(&board_poweroff_obj) },
};
static MP_DEFINE_CONST_DICT(board_globals, board_globals_table);

const mp_obj_module_t board_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&board_globals,
};

MP_REGISTER_MODULE(MP_QSTR_board, board_module);
