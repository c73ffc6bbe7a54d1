// SPDX-License-Identifier: MIT
// Block devices, as FatFs and littlefs call them: no exception jumps over their C code, which would
// take a buffer that was never read for a sector, or keep a pointer to a stack that is gone; and
// nothing that the interpreter lets in comes back into the same filesystem.

#include "extmod/vfs.h"
#include "py/mperrno.h"
#include "py/runtime.h"

#include "guard.h"
#include "vfs_blockdev.h"

#include "extmod/vfs_lfs.h"
#if MICROPY_VFS_FAT
#include "extmod/vfs_fat.h"
#include "lib/oofatfs/diskio.h"
#endif

#define mp_vfs_blockdev_read unguarded_read
#define mp_vfs_blockdev_read_ext unguarded_read_ext
#define mp_vfs_blockdev_write unguarded_write
#define mp_vfs_blockdev_write_ext unguarded_write_ext
#define mp_vfs_blockdev_ioctl unguarded_ioctl
// The number of a block can be an object on the heap, 2^30 and beyond.
#undef MP_OBJ_NEW_SMALL_INT
#define MP_OBJ_NEW_SMALL_INT(n) mp_obj_new_int_from_uint(n)

#include "extmod/vfs_blockdev.c"

#undef mp_vfs_blockdev_read
#undef mp_vfs_blockdev_read_ext
#undef mp_vfs_blockdev_write
#undef mp_vfs_blockdev_write_ext
#undef mp_vfs_blockdev_ioctl

int vfs_blockdev_errno(mp_obj_t exception) {
    const mp_obj_type_t *type = mp_obj_get_type(exception);
    mp_const_obj_t fast = MP_OBJ_FROM_PTR(type);
    if (mp_obj_is_subclass_fast(fast, MP_OBJ_FROM_PTR(&mp_type_OSError))) {
        mp_obj_t number = mp_obj_exception_get_value(exception);
        bool valid = mp_obj_is_small_int(number) && MP_OBJ_SMALL_INT_VALUE(number) > 0;
        return valid ? MP_OBJ_SMALL_INT_VALUE(number) : MP_EIO;
    }
    if (mp_obj_is_subclass_fast(fast, MP_OBJ_FROM_PTR(&mp_type_ValueError))) {
        return MP_EINVAL;
    }
    if (mp_obj_is_subclass_fast(fast, MP_OBJ_FROM_PTR(&mp_type_MemoryError))) {
        return MP_ENOMEM;
    }
    if (mp_obj_is_subclass_fast(fast, MP_OBJ_FROM_PTR(&mp_type_KeyboardInterrupt))) {
        return MP_EINTR;
    }
    return MP_EIO;
}

// As VFS_BLOCKDEV_FAILED is.
#define UNMOUNTED 0x8000

// The body of a function that returns what the call does, or a negative errno.
#define RETURN_GUARDED(call) \
    if (self->flags & UNMOUNTED) { \
        return -MP_ENODEV; \
    } \
    guard_t guard; \
    guard_enter(&guard); \
    int result; \
    nlr_buf_t nlr; \
    if (nlr_push(&nlr) == 0) { \
        result = call; \
        nlr_pop(); \
    } else { \
        result = -vfs_blockdev_errno(MP_OBJ_FROM_PTR(nlr.ret_val)); \
    } \
    guard_leave(&guard); \
    self->flags |= result < 0 ? VFS_BLOCKDEV_FAILED : 0; \
    return result

int mp_vfs_blockdev_read(mp_vfs_blockdev_t *self, size_t block, size_t count, uint8_t *buf) {
    RETURN_GUARDED(unguarded_read(self, block, count, buf));
}

int mp_vfs_blockdev_read_ext(mp_vfs_blockdev_t *self, size_t block, size_t offset, size_t length, uint8_t *buf) {
    RETURN_GUARDED(unguarded_read_ext(self, block, offset, length, buf));
}

int mp_vfs_blockdev_write(mp_vfs_blockdev_t *self, size_t block, size_t count, const uint8_t *buf) {
    RETURN_GUARDED(unguarded_write(self, block, count, buf));
}

int mp_vfs_blockdev_write_ext(mp_vfs_blockdev_t *self, size_t block, size_t offset, size_t length, const uint8_t *buf) {
    RETURN_GUARDED(unguarded_write_ext(self, block, offset, length, buf));
}

static int status_of(mp_obj_t value) {
    if (value == mp_const_none || value == mp_const_true) {
        return 0;
    }
    if (value == mp_const_false) {
        return -MP_EIO;
    }
    mp_int_t status = mp_obj_get_int(value);
    return status > 0 ? -MP_EINVAL : status;
}

// A sync, an erase: what is done in the middle of an operation.
static int act(mp_vfs_blockdev_t *self, uintptr_t cmd, uintptr_t arg) {
    RETURN_GUARDED(status_of(unguarded_ioctl(self, cmd, arg)));
}

// What is asked while mounting. Nothing of the filesystem's is half done then, so the caller may
// get the exception itself.
static mp_obj_t ask(mp_vfs_blockdev_t *self, uintptr_t cmd, uintptr_t arg) {
    guard_t guard;
    guard_enter(&guard);
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        guard_leave(&guard);
        nlr_jump(nlr.ret_val);
    }
    mp_obj_t value = unguarded_ioctl(self, cmd, arg);
    nlr_pop();
    guard_leave(&guard);
    return value;
}

mp_obj_t mp_vfs_blockdev_ioctl(mp_vfs_blockdev_t *self, uintptr_t cmd, uintptr_t arg) {
    if (cmd == MP_BLOCKDEV_IOCTL_SYNC || cmd == MP_BLOCKDEV_IOCTL_BLOCK_ERASE) {
        return mp_obj_new_int(act(self, cmd, arg));
    }
    return ask(self, cmd, arg);
}

// How MicroPython's own filesystem objects begin.
typedef struct {
    mp_obj_base_t base;
    mp_vfs_blockdev_t blockdev;
} filesystem_t;

static bool is_own(mp_obj_t filesystem) {
    return mp_obj_is_type(filesystem, &mp_fat_vfs_type) || mp_obj_is_type(filesystem, &mp_type_vfs_lfs1)
           || mp_obj_is_type(filesystem, &mp_type_vfs_lfs2);
}

void vfs_blockdev_set_mounted(mp_obj_t filesystem, bool mounted) {
    if (is_own(filesystem)) {
        mp_vfs_blockdev_t *blockdev = &((filesystem_t *)MP_OBJ_TO_PTR(filesystem))->blockdev;
        blockdev->flags = mounted ? blockdev->flags & ~UNMOUNTED : blockdev->flags | UNMOUNTED;
    }
}

mp_obj_t vfs_blockdev_mounted(void) {
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (mp_vfs_mount_t *vfs = MP_STATE_VM(vfs_mount_table); vfs != NULL; vfs = vfs->next) {
        mp_obj_t item = vfs->obj;
        if (is_own(item)) {
            const mp_vfs_blockdev_t *blockdev = &((filesystem_t *)MP_OBJ_TO_PTR(item))->blockdev;
            item = blockdev->flags & MP_BLOCKDEV_FLAG_HAVE_IOCTL ? blockdev->u.ioctl[1] : MP_OBJ_NULL;
        }
        if (item != MP_OBJ_NULL) {
            mp_obj_list_append(list, item);
        }
    }
    return list;
}

#if MICROPY_VFS_FAT

// FatFs's syncs. MicroPython's own says that all of them succeed.
#define disk_ioctl unchecked_disk_ioctl
#include "extmod/vfs_fat_diskio.c"
#undef disk_ioctl

DRESULT disk_ioctl(void *drive, BYTE cmd, void *buf) {
    if (cmd == CTRL_SYNC) {
        fs_user_mount_t *filesystem = drive;
        return act(&filesystem->blockdev, MP_BLOCKDEV_IOCTL_SYNC, 0) == 0 ? RES_OK : RES_ERROR;
    }
    return unchecked_disk_ioctl(drive, cmd, buf);
}

#endif
