// SPDX-License-Identifier: MIT
// Block devices, as FatFs and littlefs call them.
#pragma once

#include "py/obj.h"

// What is mounted, as a list: of MicroPython's own filesystems the block devices, of what is
// written in Python the objects.
mp_obj_t vfs_blockdev_mounted(void);
