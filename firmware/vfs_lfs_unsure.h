// SPDX-License-Identifier: MIT
// After an operation that failed in the middle littlefs and the disk may be of two minds: a folder has
// moved to other blocks, and what says so was not written; or the change was written whole, and littlefs
// does not know it, since reading it back has failed. What is written from then on would be lost
// with the next mount, or be taken for another file's. So the next operation begins with a new mount.
// Open files and listings would not survive one: until they are closed nothing is changed, EROFS, as
// Linux has it where a disk has failed, or what the disk says if it still fails.
//
// Included for each littlefs, with LFS_VERSION, LFS(name) and LFS_FLAG(NAME).

static bool LFS(is_open)(LFS(t) *lfs) {
    #if LFS_VERSION == 1
    return lfs->files != NULL || lfs->dirs != NULL;
    #else
    return lfs->mlist != NULL;
    #endif
}

// A sum over where the root and all that is open are taken to lie, and what is to be moved.
static uint32_t LFS(sum)(LFS(t) *lfs) {
    uint32_t sum = sum_of_pair(0, lfs->root);
    #if LFS_VERSION == 1
    for (lfs1_file_t *file = lfs->files; file != NULL; file = file->next) {
        sum = sum_of_pair(sum, file->pair);
    }
    for (lfs1_dir_t *dir = lfs->dirs; dir != NULL; dir = dir->next) {
        sum = sum_of_pair(sum, dir->pair);
    }
    #else
    for (struct lfs2_mlist *open = lfs->mlist; open != NULL; open = open->next) {
        sum = sum_of_pair(sum, open->m.pair);
    }
    const lfs2_gstate_t states[] = { lfs->gstate, lfs->gdisk, lfs->gdelta };
    for (size_t i = 0; i < MP_ARRAY_SIZE(states); i++) {
        sum = sum_of_pair(sum * 33 + states[i].tag, states[i].pair);
    }
    #endif
    return sum;
}

// Begin an operation, which may change nothing. A new mount is tried each time until one succeeds.
static int LFS(begin)(LFS(t) *lfs) {
    mp_vfs_blockdev_t *disk = lfs->cfg->context;
    if (!(disk->flags & UNSURE) || LFS(is_open)(lfs)) {
        return 0;
    }
    LFS(unmount)(lfs);
    disk->flags &= ~UNSURE;
    int status = LFS(mount)(lfs, lfs->cfg);
    disk->flags |= status != 0 ? UNSURE : 0;
    return status;
}

static int LFS(refuse)(LFS(t) *lfs) {
    int status = lfs->cfg->sync(lfs->cfg);
    return status != 0 ? status : -MP_EROFS;
}

static int LFS(begin_change)(LFS(t) *lfs) {
    mp_vfs_blockdev_t *disk = lfs->cfg->context;
    if (disk->flags & UNSURE && !gc_is_locked()) {
        gc_collect();  // closes what nobody has any more
    }
    int status = LFS(begin)(lfs);
    if (status == 0 && disk->flags & UNSURE) {
        status = LFS(refuse)(lfs);
    }
    disk->flags &= ~(VFS_BLOCKDEV_FAILED | ERASED);
    return status;
}

static int LFS(end_change)(LFS(t) *lfs, uint32_t sum_before, bool unsure, int status) {
    if (status < 0) {
        lfs->pcache.block = NO_BLOCK;  // what was not written is not to be read
        if (unsure || LFS(sum)(lfs) != sum_before) {
            mp_vfs_blockdev_t *disk = lfs->cfg->context;
            disk->flags |= UNSURE;
        }
    }
    return status;
}

// A change of names, after which files may have other numbers in their folder.
#define CHANGE(lfs, call) \
    int refused = LFS(begin_change)(lfs); \
    if (refused != 0) { \
        return refused; \
    } \
    uint32_t sum_before = LFS(sum)(lfs); \
    int status = call; \
    return LFS(end_change)(lfs, sum_before, has_failed(lfs->cfg->context), status)

static int LFS(checked_mkdir)(LFS(t) *lfs, const char *path) {
    CHANGE(lfs, LFS(mkdir)(lfs, path));
}

static int LFS(checked_remove)(LFS(t) *lfs, const char *path) {
    CHANGE(lfs, LFS(remove)(lfs, path));
}

static int LFS(checked_rename)(LFS(t) *lfs, const char *from, const char *to) {
    CHANGE(lfs, LFS(rename)(lfs, from, to));
}

static int LFS(checked_file_opencfg)(LFS(t) *lfs, LFS(file_t) *file, const char *path, int flags,
    const struct LFS(file_config) *config) {
    if (!(flags & LFS_FLAG(O_WRONLY))) {
        int status = LFS(begin)(lfs);
        return status != 0 ? status : LFS(file_opencfg)(lfs, file, path, flags, config);
    }
    CHANGE(lfs, LFS(file_opencfg)(lfs, file, path, flags, config));
}

// Whether a file has what the disk has not, which it may not have any more.
static bool LFS(is_stuck)(LFS(t) *lfs, LFS(file_t) *file) {
    mp_vfs_blockdev_t *disk = lfs->cfg->context;
    return disk->flags & UNSURE && file->flags & (LFS_FLAG(F_DIRTY) | LFS_FLAG(F_WRITING));
}

static LFS(ssize_t) LFS(checked_file_read)(LFS(t) *lfs, LFS(file_t) *file, void *buf, LFS(size_t) size) {
    return LFS(is_stuck)(lfs, file) ? LFS(refuse)(lfs) : LFS(file_read)(lfs, file, buf, size);
}

static LFS(ssize_t) LFS(checked_file_write)(LFS(t) *lfs, LFS(file_t) *file, const void *buf,
    LFS(size_t) size) {
    mp_vfs_blockdev_t *disk = lfs->cfg->context;
    return disk->flags & UNSURE ? LFS(refuse)(lfs) : LFS(file_write)(lfs, file, buf, size);
}

static LFS(soff_t) LFS(checked_file_seek)(LFS(t) *lfs, LFS(file_t) *file, LFS(soff_t) offset, int whence) {
    return LFS(is_stuck)(lfs, file) ? LFS(refuse)(lfs) : LFS(file_seek)(lfs, file, offset, whence);
}

// What is written of a file leaves all others where they are, unless its folder is written anew.
static int LFS(checked_file_sync)(LFS(t) *lfs, LFS(file_t) *file) {
    if (LFS(is_stuck)(lfs, file)) {
        return LFS(refuse)(lfs);
    }
    mp_vfs_blockdev_t *disk = lfs->cfg->context;
    disk->flags &= ~(VFS_BLOCKDEV_FAILED | ERASED);
    uint32_t sum_before = LFS(sum)(lfs);
    int status = LFS(file_sync)(lfs, file);
    return LFS(end_change)(lfs, sum_before, has_failed(disk) && disk->flags & ERASED, status);
}

static int LFS(checked_file_close)(LFS(t) *lfs, LFS(file_t) *file) {
    int status = LFS(checked_file_sync)(lfs, file);
    if (status < 0) {
        file->flags |= LFS_FLAG(F_ERRED);  // so it is closed without another attempt
    }
    int closed = LFS(file_close)(lfs, file);
    return status < 0 ? status : closed;
}

static int LFS(checked_dir_open)(LFS(t) *lfs, LFS(dir_t) *dir, const char *path) {
    int status = LFS(begin)(lfs);
    return status != 0 ? status : LFS(dir_open)(lfs, dir, path);
}

// MicroPython does not look whether a folder could be read, and goes on to list it for ever.
static int LFS(checked_dir_read)(LFS(t) *lfs, LFS(dir_t) *dir, struct LFS(info) *info) {
    int status = LFS(dir_read)(lfs, dir, info);
    if (status < 0) {
        mp_raise_OSError(-status);
    }
    return status;
}

static int LFS(checked_stat)(LFS(t) *lfs, const char *path, struct LFS(info) *info) {
    int status = LFS(begin)(lfs);
    return status != 0 ? status : LFS(stat)(lfs, path, info);
}

#undef CHANGE
