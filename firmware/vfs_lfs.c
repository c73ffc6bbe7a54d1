// SPDX-License-Identifier: MIT
// littlefs, as MicroPython has it, on disks that fail (vfs_lfs_unsure.h).

#include <stddef.h>

#include "extmod/vfs.h"
#include "lib/littlefs/lfs1.h"
#include "lib/littlefs/lfs2.h"
#include "py/gc.h"
#include "py/mperrno.h"
#include "py/runtime.h"

#include "vfs_blockdev.h"

#define NO_BLOCK 0xffffffff

// As VFS_BLOCKDEV_FAILED is: a block was erased; littlefs may not know what is on the disk.
#define ERASED 0x1000
#define UNSURE 0x2000

static bool has_failed(const mp_vfs_blockdev_t *disk) {
    return disk->flags & VFS_BLOCKDEV_FAILED;
}

// Of which two blocks a pair consists, whichever is first.
static uint32_t sum_of_pair(uint32_t sum, const uint32_t *pair) {
    return (sum * 33 + (pair[0] + pair[1])) * 33 + pair[0] * pair[1];
}

#define LFS_VERSION 1
#define LFS(name) lfs1_##name
#define LFS_FLAG(name) LFS1_##name
#include "vfs_lfs_unsure.h"
#undef LFS_VERSION
#undef LFS
#undef LFS_FLAG

#define LFS_VERSION 2
#define LFS(name) lfs2_##name
#define LFS_FLAG(name) LFS2_##name
#include "vfs_lfs_unsure.h"
#undef LFS_VERSION
#undef LFS
#undef LFS_FLAG

#define lfs1_mkdir lfs1_checked_mkdir
#define lfs1_remove lfs1_checked_remove
#define lfs1_rename lfs1_checked_rename
#define lfs1_file_opencfg lfs1_checked_file_opencfg
#define lfs1_file_read lfs1_checked_file_read
#define lfs1_file_write lfs1_checked_file_write
#define lfs1_file_seek lfs1_checked_file_seek
#define lfs1_file_sync lfs1_checked_file_sync
#define lfs1_file_close lfs1_checked_file_close
#define lfs1_dir_open lfs1_checked_dir_open
#define lfs1_dir_read lfs1_checked_dir_read
#define lfs1_stat lfs1_checked_stat

#define lfs2_mkdir lfs2_checked_mkdir
#define lfs2_remove lfs2_checked_remove
#define lfs2_rename lfs2_checked_rename
#define lfs2_file_opencfg lfs2_checked_file_opencfg
#define lfs2_file_read lfs2_checked_file_read
#define lfs2_file_write lfs2_checked_file_write
#define lfs2_file_seek lfs2_checked_file_seek
#define lfs2_file_sync lfs2_checked_file_sync
#define lfs2_file_close lfs2_checked_file_close
#define lfs2_dir_open lfs2_checked_dir_open
#define lfs2_dir_read lfs2_checked_dir_read
#define lfs2_stat lfs2_checked_stat

// littlefs notes what it has in a cache before it was read. After a read that failed it takes the
// cache for that block from then on, so here it forgets what it has.
static int mp_vfs_lfs1_read_done(const struct lfs1_config *config, int status);
static int mp_vfs_lfs2_read_done(const struct lfs2_config *config, int status);
#define mp_vfs_blockdev_read_ext(...) \
    MP_VFS_LFSx(read_done)(c, (mp_vfs_blockdev_read_ext)(__VA_ARGS__))

static mp_obj_t lfs_ioctl(mp_vfs_blockdev_t *disk, uintptr_t cmd, uintptr_t arg) {
    disk->flags |= cmd == MP_BLOCKDEV_IOCTL_BLOCK_ERASE ? ERASED : 0;
    return mp_vfs_blockdev_ioctl(disk, cmd, arg);
}
#define mp_vfs_blockdev_ioctl lfs_ioctl

#include "extmod/vfs_lfs.c"

static int mp_vfs_lfs1_read_done(const struct lfs1_config *config, int status) {
    if (status != 0) {
        mp_obj_vfs_lfs1_t *self = (void *)((char *)config - offsetof(mp_obj_vfs_lfs1_t, config));
        self->lfs.rcache.block = NO_BLOCK;
        for (lfs1_file_t *file = self->lfs.files; file != NULL; file = file->next) {
            if (!(file->flags & LFS1_F_WRITING)) {
                file->cache.block = NO_BLOCK;
            }
        }
    }
    return status;
}

static int mp_vfs_lfs2_read_done(const struct lfs2_config *config, int status) {
    if (status != 0) {
        mp_obj_vfs_lfs2_t *self = (void *)((char *)config - offsetof(mp_obj_vfs_lfs2_t, config));
        self->lfs.rcache.block = NO_BLOCK;
        for (struct lfs2_mlist *open = self->lfs.mlist; open != NULL; open = open->next) {
            lfs2_file_t *file = (lfs2_file_t *)open;
            if (open->type == LFS2_TYPE_REG && !(file->flags & (LFS2_F_WRITING | LFS2_F_INLINE))) {
                file->cache.block = NO_BLOCK;
            }
        }
    }
    return status;
}
