// SPDX-License-Identifier: MIT
// FAT, where MicroPython and FatFs go on after a disk's error as if there had been none.

#include "extmod/vfs.h"
#include "extmod/vfs_fat.h"
#include "lib/oofatfs/ff.h"
#include "py/mperrno.h"
#include "py/runtime.h"

#define NOT_COUNTED 0xffffffff

// MicroPython takes a folder that cannot be read for one that has no more in it. One that was read
// to its end has been closed, and is at its end for good.
static FRESULT read_folder(FF_DIR *folder, FILINFO *entry) {
    FRESULT result = f_readdir(folder, entry);
    if (result != FR_OK && folder->obj.fs != NULL) {
        mp_raise_OSError(fresult_to_errno_table[result]);
    }
    return result;
}
#define f_readdir read_folder

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
