// SPDX-License-Identifier: MIT
// FAT, where MicroPython and FatFs go on after a disk's error as if there had been none.

#include "extmod/vfs.h"
#include "extmod/vfs_fat.h"
#include "lib/oofatfs/ff.h"
#include "py/mperrno.h"
#include "py/runtime.h"

#define NOT_COUNTED 0xffffffff

static FRESULT raise_failed(FRESULT result) {
    if (result != FR_OK) {
        mp_raise_OSError(fresult_to_errno_table[result]);
    }
    return result;
}

// MicroPython takes a folder that cannot be read for one that has no more in it.
#define f_readdir(...) raise_failed(f_readdir(__VA_ARGS__))

// FatFs keeps what it has counted up to the error, and says ENOSPC from then on.
static FRESULT count_free(FATFS *filesystem, DWORD *free) {
    FRESULT result = f_getfree(filesystem, free);
    if (result != FR_OK) {
        filesystem->free_clst = NOT_COUNTED;
    }
    return result;
}
#define f_getfree count_free

#include "extmod/vfs_fat.c"
