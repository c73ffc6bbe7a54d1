// SPDX-License-Identifier: MIT
// littlefs, which notes what it has in a cache before it was read. After a read that failed it
// takes the cache for that block from then on, so here it forgets what it has.

#include <stddef.h>

#include "extmod/vfs.h"
#include "lib/littlefs/lfs1.h"
#include "lib/littlefs/lfs2.h"
#include "py/runtime.h"

static int mp_vfs_lfs1_read_done(const struct lfs1_config *config, int status);
static int mp_vfs_lfs2_read_done(const struct lfs2_config *config, int status);

#define mp_vfs_blockdev_read_ext(...) \
    MP_VFS_LFSx(read_done)(c, (mp_vfs_blockdev_read_ext)(__VA_ARGS__))

// Nor does MicroPython look whether a folder could be read, and goes on to list it for ever.
static int raise_failed(int result) {
    if (result < 0) {
        mp_raise_OSError(-result);
    }
    return result;
}
#define lfs1_dir_read(...) raise_failed(lfs1_dir_read(__VA_ARGS__))
#define lfs2_dir_read(...) raise_failed(lfs2_dir_read(__VA_ARGS__))

#include "extmod/vfs_lfs.c"

#define NO_BLOCK 0xffffffff

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
