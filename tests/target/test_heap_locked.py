"""Filesystems while nothing can be allocated, as when the collector closes a file."""

import gc
import os

import micropython
import pytest
import vfs
import virtio
from disk0 import Disk, pattern
from virtio import Partition
from virtio.storage.cache import Cache


SYNC, ERASE = 3, 6


def locked(function, *args):
    """Call the function with the heap locked, without having called it before."""
    micropython.heap_lock()
    try:
        return function(*args)
    finally:
        micropython.heap_unlock()


def mounts(disk):
    """Make a filesystem and mount it at /m, in all ways, one after the other."""
    part = Partition(disk, 64, 8192)
    pages = Partition(disk, 64, 8192, block_size=4096)
    whole = {"readsize": 512, "progsize": 512}
    for kind, device, how in (
        ("FAT", disk, None),
        ("littlefs", disk, None),
        (vfs.VfsFat, disk, {}),
        (vfs.VfsLfs2, disk, {}),
        (vfs.VfsLfs2, disk, whole),
        (vfs.VfsLfs1, disk, {}),
        (vfs.VfsLfs2, pages, {}),
        (vfs.VfsFat, part, {}),
        (vfs.VfsFat, Cache(disk), {}),
        (vfs.VfsLfs2, Cache(disk, 4096, littlefs=True), whole),
    ):
        if how is None:
            virtio.format(device, kind, confirm="erase")
            virtio.mount(device, "/m")
        else:
            kind.mkfs(device, **how)
            vfs.mount(kind(device, **how), "/m")
        try:
            yield kind, device
        finally:
            vfs.umount("/m")


def test_files_are_written_read_synced_and_closed():
    with Disk() as disk:
        data, small, back = b"data" * 5000, b"s" * 700, bytearray(20700)
        for kind, device in mounts(disk):
            for name in ("/m/a", "/m/b", "/m/c"):
                file = open(name, "wb")
                locked(file.write, data)
                locked(file.flush)
                locked(file.seek, 1000)
                locked(file.write, small)
                locked(file.seek, 0, 2)
                locked(file.write, small)
                locked(file.close)
            file = open("/m/b", "rb")
            assert locked(file.readinto, back) == 20700
            locked(file.seek, 3)
            assert locked(file.readinto, memoryview(back)[3:700]) == 697
            locked(file.close)
            assert back == data[:1000] + small + data[1700:] + small, (kind, device)
            locked(os.sync)
        for n in range(0, 16384, 64):
            disk.writeblocks(n, pattern(n, 64))


@pytest.mark.timeout(300)
def test_files_that_were_dropped_are_closed_whenever_a_collection_comes():
    """As many as a program drops in some minutes."""
    with Disk() as disk:
        # FatFs does not bear a file that is open twice, so all are closed before names come again.
        for kind, names, count in (("littlefs", 40, 3000), ("FAT", 200, 1000)):
            virtio.format(disk, kind, confirm="erase")
            virtio.mount(disk, "/m")
            threshold = gc.threshold()
            gc.threshold(500_000)
            for n in range(count):
                if kind == "FAT" and n % names == 0:
                    deep(20, gc.collect)
                open("/m/f%d" % (n % names), "w").write("%d " % n * (500 + n % 700))
            gc.threshold(threshold)
            deep(20, gc.collect)
            vfs.umount("/m")
            virtio.mount(disk, "/m")
            try:
                assert len(os.listdir("/m")) == names
                for n in range(names):
                    with open("/m/f%d" % n) as file:
                        content = file.read()
                    turn = int(content.split(" ")[0])
                    assert turn % names == n, (kind, n, turn)
                    assert content == "%d " % turn * (500 + turn % 700), (kind, n)
                with open("/m/after", "wb") as file:
                    file.write(b"after" * 1000)
                assert open("/m/after", "rb").read() == b"after" * 1000
            finally:
                vfs.umount("/m")


def deep(levels, function):
    """Call the function where nothing of the caller's is left on the stack."""
    return deep(levels - 1, function) if levels else function()


def test_parts_of_blocks_and_many_blocks():
    with Disk() as disk:
        part = Partition(disk, 100, 8000, block_size=4096)
        buf, large = bytearray(1300), bytearray(40960)
        for device, block in ((disk, 4000), (part, 300), (Partition(part, 2, 900), 77)):
            for function in (device.readblocks, device.writeblocks):
                for offset in (0, 1, 511, 512, 700, 5000):
                    locked(function, block, buf, offset)
                locked(function, block, large)
                locked(function, block, large, 512)
                locked(function, block, large, 77)
            locked(device.ioctl, SYNC, 0)
            locked(device.ioctl, ERASE, block)
            locked(device.flush)


def test_a_cache_that_has_to_send_parts_and_to_lay_them_over_what_it_reads():
    with Disk() as disk:
        for littlefs in (False, True):
            cache, one, four = Cache(disk, littlefs=littlefs), bytearray(512), bytearray(2048)
            for n in range(3):
                locked(cache.writeblocks, 100 + n, one)
            locked(cache.ioctl, ERASE, 0)
            locked(cache.writeblocks, 103, one)
            locked(cache.readblocks, 98, four)
            locked(cache.readblocks, 102, four)
            locked(cache.readblocks, 106, four)
            locked(cache.readblocks, 10, one, 7)
            locked(cache.ioctl, SYNC, 0)
            for n in range(0, 1000, 4):
                locked(cache.readblocks, n, four)
            for n in range(0, 400, 4):
                locked(cache.writeblocks, n, four)
            locked(cache.writeblocks, 1000, bytearray(65536) if n < 0 else four)
            locked(cache.flush)
        for n in range(1010):
            disk.writeblocks(n, pattern(n))
