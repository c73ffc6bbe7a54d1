// SPDX-License-Identifier: MIT
// littlefs, which notes what it has in a cache before it was read. After a read that failed it
// takes the cache for that block from then on, so here it forgets what it has.

#include <stddef.h>

#include "extmod/vfs.h"
#include "lib/littlefs/lfs1.h"
#include "lib/littlefs/lfs2.h"
#include "py/runtime.h"

#include "vfs_blockdev.h"

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

// Where the disk fails in the middle of an operation, littlefs may be ahead of it in memory: a folder
// has moved to other blocks, and what says so on the disk was not written. All that is written to
// those is lost with the next mount. So the next operation begins with one, unless files are open.
static int mp_vfs_lfs1_begin(struct lfs1 *lfs);
static int mp_vfs_lfs2_begin(struct lfs2 *lfs);
#define BEGUN(n, function, lfs, ...) (mp_vfs_lfs##n##_begin(lfs) ?: function(lfs, __VA_ARGS__))
#define lfs1_file_opencfg(...) BEGUN(1, (lfs1_file_opencfg), __VA_ARGS__)
#define lfs1_dir_open(...) BEGUN(1, (lfs1_dir_open), __VA_ARGS__)
#define lfs1_mkdir(...) BEGUN(1, (lfs1_mkdir), __VA_ARGS__)
#define lfs1_remove(...) BEGUN(1, (lfs1_remove), __VA_ARGS__)
#define lfs1_rename(...) BEGUN(1, (lfs1_rename), __VA_ARGS__)
#define lfs1_stat(...) BEGUN(1, (lfs1_stat), __VA_ARGS__)
#define lfs2_file_opencfg(...) BEGUN(2, (lfs2_file_opencfg), __VA_ARGS__)
#define lfs2_dir_open(...) BEGUN(2, (lfs2_dir_open), __VA_ARGS__)
#define lfs2_mkdir(...) BEGUN(2, (lfs2_mkdir), __VA_ARGS__)
#define lfs2_remove(...) BEGUN(2, (lfs2_remove), __VA_ARGS__)
#define lfs2_rename(...) BEGUN(2, (lfs2_rename), __VA_ARGS__)
#define lfs2_stat(...) BEGUN(2, (lfs2_stat), __VA_ARGS__)

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

static int mp_vfs_lfs1_begin(struct lfs1 *lfs) {
    mp_obj_vfs_lfs1_t *self = (void *)((char *)lfs - offsetof(mp_obj_vfs_lfs1_t, lfs));
    if (!(self->blockdev.flags & VFS_BLOCKDEV_FAILED) || lfs->files != NULL || lfs->dirs != NULL) {
        return 0;
    }
    lfs1_unmount(lfs);
    self->blockdev.flags &= ~VFS_BLOCKDEV_FAILED;
    int status = lfs1_mount(lfs, &self->config);
    self->blockdev.flags |= status != 0 ? VFS_BLOCKDEV_FAILED : 0;
    return status;
}

static int mp_vfs_lfs2_begin(struct lfs2 *lfs) {
    mp_obj_vfs_lfs2_t *self = (void *)((char *)lfs - offsetof(mp_obj_vfs_lfs2_t, lfs));
    if (!(self->blockdev.flags & VFS_BLOCKDEV_FAILED) || lfs->mlist != NULL) {
        return 0;
    }
    lfs2_unmount(lfs);
    self->blockdev.flags &= ~VFS_BLOCKDEV_FAILED;
    int status = lfs2_mount(lfs, &self->config);
    self->blockdev.flags |= status != 0 ? VFS_BLOCKDEV_FAILED : 0;
    return status;
}
