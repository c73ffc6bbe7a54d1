// SPDX-License-Identifier: MIT
// os.sync(), by way of the module's attributes: MicroPython's own flushes native FAT objects
// only, and no filesystem that is written in Python.

#include "extmod/vfs.h"
#include "extmod/vfs_fat.h"
#include "lib/oofatfs/diskio.h"
#include "py/mperrno.h"
#include "py/runtime.h"

extern const mp_obj_module_t mp_module_os;

static void sync_one(mp_obj_t filesystem) {
    if (mp_obj_is_type(filesystem, &mp_fat_vfs_type)) {
        if (disk_ioctl(MP_OBJ_TO_PTR(filesystem), CTRL_SYNC, NULL) != RES_OK) {
            mp_raise_OSError(MP_EIO);
        }
        return;
    }
    mp_obj_t method[2];
    mp_load_method_maybe(filesystem, MP_QSTR_sync, method);
    if (method[0] != MP_OBJ_NULL) {
        mp_call_method_n_kw(0, 0, method);
    }
}

// sync(): has every mounted filesystem that can do so flush its disk.
static mp_obj_t os_sync(void) {
    for (mp_vfs_mount_t *vfs = MP_STATE_VM(vfs_mount_table); vfs != NULL; vfs = vfs->next) {
        sync_one(vfs->obj);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(os_sync_obj, os_sync);

void os_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    (void)self_in;
    if (attr == MP_QSTR_sync && dest[0] == MP_OBJ_NULL) {
        dest[0] = MP_OBJ_FROM_PTR(&os_sync_obj);
    }
}

MP_REGISTER_MODULE_DELEGATION(mp_module_os, os_attr);
