// SPDX-License-Identifier: MIT
// vfs.rom_ioctl(): MicroPython's ROM filesystem has the second flash bank as its one segment.

#include "extmod/vfs.h"
#include "py/mperrno.h"
#include "py/objarray.h"
#include "py/runtime.h"

#include "flash.h"
#include "mpconfigboard.h"

// Later than MicroPython 1.25.
#define GET_BLOCK_SIZE 6

#define WORD sizeof(uint32_t)

static const MP_DEFINE_MEMORYVIEW_OBJ(rom, 'B', 0, BOARD_ROM_SIZE, (void *)BOARD_ROM_BASE);

static void check_range(size_t offset, size_t size, size_t unit) {
    if (offset % unit != 0 || offset > BOARD_ROM_SIZE || size > BOARD_ROM_SIZE - offset) {
        mp_raise_OSError(MP_EINVAL);
    }
}

// Success or an exception: those who call this do not look at a number.
static mp_obj_t done(bool well, size_t result) {
    if (!well) {
        mp_raise_OSError(MP_EROFS);
    }
    return MP_OBJ_NEW_SMALL_INT(result);
}

// (length) or, since MicroPython 1.26, (offset, length). Returns what is to be written at least.
static mp_obj_t prepare(size_t n_args, const mp_obj_t *args) {
    size_t offset = n_args == 1 ? 0 : mp_obj_get_int(args[0]);
    size_t size = mp_obj_get_int(args[n_args - 1]);
    check_range(offset, size, FLASH_BLOCK_SIZE);
    return done(flash_erase(offset, size), WORD);
}

static mp_obj_t write(size_t offset, mp_obj_t data) {
    mp_buffer_info_t from;
    mp_get_buffer_raise(data, &from, MP_BUFFER_READ);
    check_range(offset, from.len, WORD);
    if (from.len % WORD != 0) {
        mp_raise_OSError(MP_EINVAL);
    }
    return done(flash_program(offset, from.buf, from.len), 0);
}

mp_obj_t mp_vfs_rom_ioctl(size_t n_args, const mp_obj_t *args) {
    mp_int_t command = mp_obj_get_int(args[0]);
    bool there = flash_is_there();
    if (command == MP_VFS_ROM_IOCTL_GET_NUMBER_OF_SEGMENTS) {
        return MP_OBJ_NEW_SMALL_INT(there ? 1 : 0);
    }
    if (!there || n_args < 2 || mp_obj_get_int(args[1]) != 0) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
    if (command == MP_VFS_ROM_IOCTL_GET_SEGMENT) {
        return MP_OBJ_FROM_PTR(&rom);
    } else if (command == MP_VFS_ROM_IOCTL_WRITE_PREPARE && n_args > 2) {
        return prepare(n_args - 2, args + 2);
    } else if (command == MP_VFS_ROM_IOCTL_WRITE && n_args == 4) {
        return write(mp_obj_get_int(args[2]), args[3]);
    } else if (command == MP_VFS_ROM_IOCTL_WRITE_COMPLETE) {
        return MP_OBJ_NEW_SMALL_INT(0);
    } else if (command == GET_BLOCK_SIZE) {
        return MP_OBJ_NEW_SMALL_INT(FLASH_BLOCK_SIZE);
    }
    return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
}
