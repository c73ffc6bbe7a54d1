"""The block device, QEMU's and a fake one that errs."""

import struct
from array import array

import fake
import pytest
import virtio
from check import allocates_nothing, raises
from disk0 import SECTORS, Disk, pattern
from virtio import AlreadyUsed, DeviceFault, InvalidParam, IoError, Timeout, Unsupported

F_SIZE_MAX = 1 << 1
F_RO, F_BLK_SIZE, F_FLUSH = 1 << 5, 1 << 6, 1 << 9
F_DISCARD, F_WRITE_ZEROES = 1 << 13, 1 << 14
OK, IOERR, UNSUPP = 0, 1, 2


def test_a_disk_says_what_it_is():
    with Disk() as disk:
        assert (disk.capacity, disk.block_size, disk.block_count) == (SECTORS, 512, SECTORS)
        assert not disk.read_only
        assert "16384 sectors of 512" in repr(disk)


def test_sectors_are_read():
    with Disk() as disk:
        for first, count in ((0, 1), (1, 1), (7, 8), (SECTORS - 1, 1), (100, 2048)):
            buf = bytearray(512 * count)
            disk.readblocks(first, buf)
            assert buf == pattern(first, count), (first, count)


def test_sectors_are_written_and_their_neighbours_not():
    with Disk() as disk:
        for first, count in ((20, 1), (30, 8), (SECTORS - 1, 1), (1000, 1024)):
            data = bytes([(first + i) & 0xFF for i in range(512)]) * count
            disk.writeblocks(first, data)
            buf = bytearray(512 * count)
            disk.readblocks(first, buf)
            assert buf == data
            disk.writeblocks(first, pattern(first, count))
        buf = bytearray(512 * 3)
        disk.writeblocks(51, bytes(512))
        disk.readblocks(50, buf)
        assert buf == pattern(50) + bytes(512) + pattern(52)


def test_any_buffer_of_whole_blocks_will_do():
    class Mine(bytearray):
        pass

    with Disk() as disk:
        mine = Mine(1024)
        disk.readblocks(3, mine)
        assert bytes(mine) == pattern(3, 2)
        disk.writeblocks(3, mine)
        words = array("I", bytes(1024))
        disk.readblocks(5, words)
        assert bytes(words) == pattern(5, 2)
        part = bytearray(2000)
        disk.readblocks(9, memoryview(part)[100:612])
        assert part == bytes(100) + pattern(9) + bytes(2000 - 612)


def test_an_offset_reads_any_range():
    with Disk() as disk:
        everything = pattern(10, 5)
        for offset, length in ((0, 32), (1, 1), (500, 30), (511, 1026), (0, 1024), (3, 2047)):
            buf = bytearray(length)
            disk.readblocks(10, buf, offset)
            assert buf == everything[offset : offset + length], (offset, length)
        buf = bytearray(8)
        disk.readblocks(10, buf, 512 + 4)
        assert buf == pattern(11)[4:12]


def test_an_offset_writes_any_range_and_nothing_beside_it():
    with Disk() as disk:
        for offset, length in ((0, 32), (1, 1), (500, 30), (511, 1026), (3, 2047)):
            expected = bytearray(pattern(200, 5))
            data = bytes([i * 7 & 0xFF for i in range(length)])
            expected[offset : offset + length] = data
            disk.writeblocks(200, pattern(200, 5))
            disk.writeblocks(200, data, offset)
            buf = bytearray(5 * 512)
            disk.readblocks(200, buf)
            assert buf == expected, (offset, length)


def test_what_is_out_of_range_is_a_ValueError_and_not_sent():
    with Disk() as disk:
        sent = repr(disk.queues[0])
        for block, length in (
            (SECTORS, 512),
            (SECTORS - 1, 1024),
            (-1, 512),
            (1 << 40, 512),
            (5 - (1 << 40), 512),
            (0, 0),
            (0, 100),
            (0, 513),
        ):
            raises(ValueError, disk.readblocks, block, bytearray(length))
            raises(ValueError, disk.writeblocks, block, bytes(length))
            raises(ValueError, disk.readmany, [(block, bytearray(length))])
        for block, length, offset in (
            (SECTORS - 1, 2, 511),
            (SECTORS, 1, 0),
            (0, 1, -1),
            (0, 0, 0),
            (0, 1, SECTORS * 512),
        ):
            raises(ValueError, disk.readblocks, block, bytearray(length), offset)
            raises(ValueError, disk.writeblocks, block, bytes(length), offset)
        assert repr(disk.queues[0]) == sent


def test_what_is_refused_or_done_is_not_kept():
    with Disk() as disk:
        short = bytearray(100)
        for block, buf in ((0, short), (0, memoryview(short)), (SECTORS, bytearray(512))):
            raises(ValueError, disk.readblocks, block, buf)
            raises(ValueError, disk.writeblocks, block, buf)
            assert disk.queues[0].record[6] is None
        for buf in (5, b"fixed", [bytearray(512)]):
            raises(TypeError, disk.readblocks, 0, buf)
            assert disk.queues[0].record[6] is None
        disk.readblocks(0, bytearray(512))
        assert disk.queues[0].record[6] is None


def test_what_is_no_buffer_is_a_TypeError():
    with Disk() as disk:
        raises(TypeError, disk.readblocks, 0, 7)
        raises(TypeError, disk.readblocks, 0, bytes(512))
        raises(TypeError, disk.readblocks, 0, bytes(8), 3)
        raises(TypeError, disk.writeblocks, 0, None)
        buf = bytearray(512)
        disk.readblocks(1, buf)
        assert buf == pattern(1)


def test_the_operations_of_AbstractBlockDev():
    with Disk() as disk:
        assert disk.ioctl(1, 0) == 0
        assert disk.ioctl(2, 0) == 0
        assert disk.ioctl(3, 0) == 0
        assert disk.ioctl(4, 0) == SECTORS
        assert disk.ioctl(5, 0) == 512
        assert disk.ioctl(6, 7) == 0
        assert disk.ioctl(99, 0) is None


def test_a_read_only_disk_refuses_to_write():
    import asyncio

    with Disk(2) as disk:
        assert disk.read_only and "read-only" in repr(disk)
        sent = repr(disk.queues[0])
        block = bytes(512)
        for write, *arguments in (
            (disk.writeblocks, 0, block),
            (disk.writeblocks, 0, bytes(1), 0),
            (disk.writev, 0, [block]),
            (disk.writemany, [(0, block)]),
            (disk.discard, 0, 1),
            (disk.write_zeroes, 0, 1),
            (lambda: asyncio.run(disk.awrite(0, block)),),
            (lambda: asyncio.run(disk.awritemany([(0, block)])),),
        ):
            raises(OSError, write, *arguments, errno=30)
        assert repr(disk.queues[0]) == sent
        buf = bytearray(512)
        disk.readblocks(0, buf)
        assert buf == bytes(512)
        assert disk.ioctl(3, 0) == 0


def test_a_disk_is_opened_once():
    with Disk() as disk:
        raises(AlreadyUsed, virtio.Block, 0, errno=16)
        raises(AlreadyUsed, virtio.Block, disk.transport, errno=16)
        assert disk in virtio.opened()
    with Disk():
        pass


def test_the_disk_mounted_at_boot_is_open():
    raises(AlreadyUsed, virtio.Block, 1)
    with open("/hello.txt", "rb") as file:
        assert file.read() == b"Hello from the host.\n"


def test_FAT_and_littlefs_mount_on_it():
    import os
    import vfs

    for kind in (vfs.VfsFat, vfs.VfsLfs1, vfs.VfsLfs2):
        with Disk() as disk:
            kind.mkfs(disk)
            data = bytes(range(256)) * 333
            for _ in range(2):
                vfs.mount(kind(disk), "/mnt")
                if _ == 0:
                    with open("/mnt/file", "wb") as file:
                        file.write(data)
                with open("/mnt/file", "rb") as file:
                    assert file.read() == data
                assert os.listdir("/mnt") == ["file"]
                vfs.umount("/mnt")


def test_a_request_allocates_nothing():
    with Disk() as disk:
        buf = bytearray(4096)
        view, frozen, part = memoryview(buf), bytes(512), bytearray(1050)

        def cycle():
            disk.readblocks(8, buf)
            disk.readblocks(8, view)
            disk.writeblocks(8, buf)
            disk.writeblocks(8, frozen)
            disk.flush()
            for offset in (0, 512):
                disk.readblocks(8, buf, offset)
                disk.writeblocks(8, buf, offset)

        def parts():
            # The end of a block, whole ones, the beginning of a block.
            disk.readblocks(8, part, 500)
            disk.writeblocks(8, part, 500)

        allocates_nothing(cycle)
        allocates_nothing(parts)


@pytest.mark.timeout(400)
def test_70000_requests_wrap_the_ring_indices():
    with Disk() as disk:
        disk.writeblocks(0, pattern(0, 10000))
        buf = bytearray(512)
        expected = bytearray(512)
        for n in range(70000 - 1):
            sector = n * 37 % 10000
            disk.readblocks(sector, buf)
            if n % 16 == 0:
                struct.pack_into("<I", expected, 0, sector)
                assert buf[:4] == expected[:4] and buf[508:] == expected[:4], n
        queue = repr(disk.queues[0])
        assert "avail=%d, used=%d" % (70000 & 0xFFFF, 70000 & 0xFFFF) in queue, queue


# A fake disk, for what QEMU's does not do.


class FakeDisk:
    def __init__(self, version=2, features=F_FLUSH, config=struct.pack("<Q12xI", 64, 512)):
        if version == 2:
            features |= fake.VERSION_1
        self.transport = fake.FakeTransport(2, version, features, (16,), config)
        self.status = OK
        self.requests = []
        self.transport.device.on_notify = self.work

    def open(self):
        disk = virtio.Block(self.transport)
        self.queue = fake.FakeQueue(self.transport)
        return disk

    def work(self, idx):
        head, buffers = self.queue.pop()
        readable = fake.readable(buffers)
        kind, _, sector = struct.unpack("<IIQ", readable[:16])
        self.requests.append((kind, sector, len(readable) - 16, [n for _, n, w in buffers if w]))
        self.written = readable[16:]
        address, length, writable = buffers[-1]
        assert writable and length == 1
        if self.status is not None:
            fake.mem8[address] = self.status
        self.queue.use(head, 1)


def test_requests_have_the_format_of_section_5_2_6():
    for version in (1, 2):
        device = FakeDisk(version)
        disk = device.open()
        disk.readblocks(3, bytearray(1024))
        disk.writeblocks(5, bytes(512))
        disk.flush()
        assert device.requests == [(0, 3, 0, [1024, 1]), (1, 5, 512, [1]), (4, 0, 0, [1])]
        disk.deinit()


def test_clearing_has_the_format_of_section_5_2_6():
    config = bytearray(60)
    struct.pack_into("<Q12xI", config, 0, 1024, 4096)
    struct.pack_into("<II", config, 36, 1000, 1)
    struct.pack_into("<II", config, 48, 1000, 1)
    for version in (1, 2):
        device = FakeDisk(version, F_BLK_SIZE | F_DISCARD | F_WRITE_ZEROES, config)
        disk = device.open()
        for function, args, kind, flags in (
            (disk.discard, (2, 3), 11, 0),
            (disk.write_zeroes, (2, 3), 13, 0),
            (disk.write_zeroes, (2, 3, False), 13, 0),
            (disk.write_zeroes, (2, 3, True), 13, 1),
        ):
            function(*args)
            assert device.requests.pop() == (kind, 0, 16, [1])
            assert device.written == struct.pack("<QII", 16, 24, flags)
        disk.deinit()


def test_the_serial_has_the_format_of_section_5_2_6():
    device = FakeDisk()
    disk = device.open()
    assert disk.serial == ""
    assert device.requests == [(8, 0, 0, [20, 1])]
    disk.deinit()


def test_positions_are_in_sectors_whatever_the_block_size():
    device = FakeDisk(features=F_BLK_SIZE, config=struct.pack("<Q12xI", 64, 4096))
    disk = device.open()
    assert (disk.block_size, disk.block_count, disk.capacity) == (4096, 8, 64)
    disk.readblocks(2, bytearray(4096))
    raises(InvalidParam, disk.readblocks, 2, bytearray(512))
    raises(InvalidParam, disk.readblocks, 8, bytearray(4096))
    assert device.requests == [(0, 16, 0, [4096, 1])]
    disk.deinit()


def test_positions_have_64_bits():
    for block_size in (512, 4096, 1 << 20):
        config = struct.pack("<Q12xI", 1 << 60, block_size)
        for features in (F_BLK_SIZE, F_BLK_SIZE | F_SIZE_MAX):
            if features & F_SIZE_MAX:
                config = config[:8] + struct.pack("<I", 2 * block_size) + config[12:]
            device = FakeDisk(features=features, config=config)
            disk = device.open()
            buf = bytearray(block_size)
            for block in (
                1,
                (1 << 28) + 3,
                (1 << 29) - 1,
                1 << 29,
                (1 << 30) - 1,
                1 << 30,
                1 << 31,
            ):
                for n in (block, block + 5, (1 << 32) - 1 - block, (1 << 35) + block):
                    device.requests.clear()
                    disk.readblocks(n, buf)
                    disk.writeblocks(n, b"x", 1)
                    disk.readmany([(n, buf)])
                    sector = n * (block_size // 512)
                    assert [request[1] for request in device.requests] == [sector] * 4, (n, device)
            last = disk.block_count - 1
            disk.readblocks(last, buf)
            for beyond in (last + 1, last + (1 << 32), -1, -(1 << 32) + 1, -(1 << 40)):
                raises(InvalidParam, disk.readblocks, beyond, buf)
                raises(InvalidParam, disk.readblocks, beyond, buf, 1)
            disk.deinit()


def test_a_block_size_that_cannot_be_is_a_fault():
    for size in (0, 256, 513, 1000):
        device = FakeDisk(features=F_BLK_SIZE, config=struct.pack("<Q12xI", 64, size))
        raises(DeviceFault, virtio.Block, device.transport)


def test_a_disk_without_the_flush_command_is_not_asked_to():
    device = FakeDisk(features=0)
    disk = device.open()
    disk.flush()
    assert device.requests == []
    disk.deinit()


def test_the_status_of_a_request_becomes_its_error():
    for status, kind, errno in (
        (IOERR, IoError, 5),
        (UNSUPP, Unsupported, 95),
    ):
        device = FakeDisk()
        disk = device.open()
        device.status = status
        raises(kind, disk.readblocks, 0, bytearray(512), errno=errno)
        raises(kind, disk.writeblocks, 0, bytes(512), errno=errno)
        raises(kind, disk.writeblocks, 0, bytes(7), 3, errno=errno)
        raises(kind, disk.flush, errno=errno)
        device.status = OK
        disk.readblocks(0, bytearray(512))
        disk.deinit()


def test_a_status_that_does_not_exist_or_never_came_is_a_fault():
    for status in (3, 0xFF, None):
        device = FakeDisk()
        disk = device.open()
        device.status = status
        raises(DeviceFault, disk.readblocks, 0, bytearray(512), errno=71)
        raises(DeviceFault, disk.readblocks, 0, bytearray(512))
        device.status = OK
        disk.reset()
        device.queue = fake.FakeQueue(device.transport)
        disk.readblocks(0, bytearray(512))
        disk.deinit()


def test_after_a_timeout_the_disk_goes_on_with_other_buffers():
    device = FakeDisk()
    disk = device.open()
    disk.timeout_ms = 10
    device.transport.device.on_notify = None
    late = bytearray(512)
    raises(Timeout, disk.readblocks, 0, late, errno=110)
    raises(Timeout, disk.readblocks, 0, bytearray(3), 1)
    disk.timeout_ms = 1000
    device.transport.device.on_notify = work_all(device)
    buf = bytearray(3)
    disk.readblocks(1, buf, 1)
    # The two late requests and this one, each with its own header and status.
    assert [request[1] for request in device.requests] == [0, 0, 1]
    assert disk.queues[0].available_desc() == 16
    disk.deinit()


def work_all(device):
    def work(idx):
        while device.queue.seen != device.queue.avail_idx:
            device.work(idx)

    return work
