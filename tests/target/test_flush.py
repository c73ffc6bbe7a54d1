"""Which of a program's calls make the filesystems flush the disk."""

import os

import virtio
import vfs
from virtio import Partition


class Counted(Partition):
    """A disk that counts its flushes, and the blocks written since the last one."""

    flushes = 0
    dirty = 0

    def writeblocks(self, block_num, buf, offset=None):
        self.dirty += 1
        return super().writeblocks(block_num, buf, offset)

    def ioctl(self, op, arg):
        result = super().ioctl(op, arg)
        if op == 3:
            self.flushes += 1
            self.dirty = 0
        return result


def test_what_a_program_has_done_is_flushed_before_the_call_returns():
    for kind in ("FAT", "littlefs"):
        disk = virtio.Block(0)
        virtio.format(disk, kind, confirm="erase")
        counted = Counted(disk)
        virtio.mount(counted, "/x")
        try:
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
        finally:
            vfs.umount("/x")
            disk.deinit()
        assert counted.dirty == 0  # umount has left nothing behind


def test_a_flush_is_a_request_of_the_device():
    disk = virtio.Block(0)
    try:
        before = repr(disk.queues[0])
        disk.ioctl(3, 0)
        assert repr(disk.queues[0]) != before
    finally:
        disk.deinit()


def test_sync_flushes_what_is_mounted_with_FAT():
    disk = virtio.Block(0)
    virtio.format(disk, "FAT", confirm="erase")
    counted = Counted(disk)
    virtio.mount(counted, "/x")
    try:
        before = counted.flushes
        os.sync()
        assert counted.flushes == before + 1
    finally:
        vfs.umount("/x")
        disk.deinit()
