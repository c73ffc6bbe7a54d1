// SPDX-License-Identifier: MIT
// Mounts, which end for good, and what import may not take for a file that is not there.

#include "extmod/vfs.h"
#include "py/gc.h"
#include "py/runtime.h"

#include "vfs_blockdev.h"

static void load_method(mp_obj_t filesystem, qstr name, mp_obj_t *method);

#define mp_load_method load_method
#define mp_vfs_import_stat import_stat_or_none
// Where MicroPython looks which filesystem a device holds, the flags are what the stack held.
#define mp_vfs_blockdev_init(self, device) ((self)->flags = 0, mp_vfs_blockdev_init(self, device))

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" // in a header of MicroPython's

#include "extmod/vfs.c"

#pragma GCC diagnostic pop

#undef mp_load_method
#undef mp_vfs_import_stat
#undef mp_vfs_blockdev_init

// Called before a filesystem's method is.
static void load_method(mp_obj_t filesystem, qstr name, mp_obj_t *method) {
    mp_load_method(filesystem, name, method);
    if (name == MP_QSTR_umount) {
        // What the program has dropped is still closed here, and not in whatever comes next.
        if (!gc_is_locked()) {
            gc_collect();
        }
        vfs_blockdev_set_mounted(filesystem, false);
    } else if (name == MP_QSTR_mount) {
        vfs_blockdev_set_mounted(filesystem, true);
    }
}

// MicroPython's own takes Ctrl-C, or no memory, in a filesystem that is written in Python for its
// word that there is no such file.
mp_import_stat_t mp_vfs_import_stat(const char *path) {
    const char *within;
    mp_vfs_mount_t *vfs = mp_vfs_lookup_path(path, &within);
    if (vfs == MP_VFS_NONE || vfs == MP_VFS_ROOT || MP_OBJ_TYPE_HAS_SLOT(mp_obj_get_type(vfs->obj), protocol)) {
        return import_stat_or_none(path);
    }
    mp_obj_t argument = mp_obj_new_str_from_cstr(within);
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        if (!mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(mp_obj_get_type(MP_OBJ_FROM_PTR(nlr.ret_val))), MP_OBJ_FROM_PTR(&mp_type_OSError))) {
            nlr_jump(nlr.ret_val);
        }
        return MP_IMPORT_STAT_NO_EXIST;
    }
    mp_obj_t *items;
    mp_obj_get_array_fixed_n(mp_vfs_proxy_call(vfs, MP_QSTR_stat, 1, &argument), 10, &items);
    nlr_pop();
    return mp_obj_get_int(items[0]) & MP_S_IFDIR ? MP_IMPORT_STAT_DIR : MP_IMPORT_STAT_FILE;
}
