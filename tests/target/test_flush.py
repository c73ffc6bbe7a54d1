"""Which of a program's calls make the filesystems flush the disk."""

import os

import virtio
import vfs
from virtio import Partition


class Counted(Partition):
    """A disk that counts its flushes, and the blocks written since the last one."""

    flushes = 0
    dirty = 0
    written = 0

    def writeblocks(self, block_num, buf, offset=None):
        self.dirty += 1
        self.written += len(buf) // self.block_size
        return super().writeblocks(block_num, buf, offset)

    def flush(self):
        super().flush()
        self.flushes += 1
        self.dirty = 0


class Mounted:
    """A filesystem of that kind at /x, with nothing in it, for the length of a test."""

    def __init__(self, kind):
        self.kind = kind

    def __enter__(self):
        self.disk = virtio.Block(0)
        virtio.format(self.disk, self.kind, confirm="erase")
        counted = Counted(self.disk)
        virtio.mount(counted, "/x")
        return counted

    def __exit__(self, *_):
        if "/x" in [point for _, point in vfs.mount()]:
            vfs.umount("/x")
        self.disk.deinit()


def test_what_a_program_has_done_is_flushed_before_the_call_returns():
    for kind in ("FAT", "littlefs"):
        with Mounted(kind) as counted:
            file = open("/x/file", "wb")
            file.write(bytes(3000))
            for done in (
                file.flush,
                lambda: (file.write(bytes(3000)), file.close()),
                lambda: os.mkdir("/x/folder"),
                lambda: os.rename("/x/file", "/x/folder/file"),
                lambda: os.remove("/x/folder/file"),
                lambda: os.rmdir("/x/folder"),
            ):
                before = counted.flushes
                done()
                assert counted.flushes > before and counted.dirty == 0, (kind, done)


def with_an_open_file(action):
    """Whether all was flushed by an action, on each kind of filesystem with a file being written."""
    for kind in ("FAT", "littlefs"):
        with Mounted(kind) as counted:
            file = open("/x/file", "wb")
            file.write(bytes(9000))
            before = counted.flushes
            action()
            assert counted.flushes > before and counted.dirty == 0, kind
            assert counted.written >= 9000 // counted.block_size, kind


def test_umount_sends_and_flushes_what_was_written():
    with_an_open_file(lambda: vfs.umount("/x"))


def test_sync_sends_and_flushes_what_was_written():
    with_an_open_file(os.sync)


def test_a_flush_is_a_request_of_the_device():
    disk = virtio.Block(0)
    try:
        before = repr(disk.queues[0])
        disk.ioctl(3, 0)
        assert repr(disk.queues[0]) != before
    finally:
        disk.deinit()


def test_sync_flushes_what_was_mounted_by_hand_with_FAT():
    disk = virtio.Block(0)
    virtio.format(disk, "FAT", confirm="erase")
    counted = Counted(disk)
    vfs.mount(counted, "/x")
    try:
        before = counted.flushes
        os.sync()
        assert counted.flushes == before + 1
    finally:
        vfs.umount("/x")
        disk.deinit()
