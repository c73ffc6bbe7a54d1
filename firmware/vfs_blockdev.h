// SPDX-License-Identifier: MIT
// Block devices, as FatFs and littlefs call them.
#pragma once

#include <stdbool.h>

#include "py/obj.h"

// Beside MicroPython's own flags of a block device: an operation has failed.
#define VFS_BLOCKDEV_FAILED 0x4000

// What is mounted, as a list: of MicroPython's own filesystems the block devices, of what is
// written in Python the objects.
mp_obj_t vfs_blockdev_mounted(void);

// Whether one of MicroPython's own filesystem objects is mounted. From when it is not, until it is
// again, its block device says ENODEV: files may be open still, and the disk somebody else's.
void vfs_blockdev_set_mounted(mp_obj_t filesystem, bool mounted);

// The number by which C knows what Python raised.
int vfs_blockdev_errno(mp_obj_t exception);
